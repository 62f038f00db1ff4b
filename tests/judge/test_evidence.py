"""A query has access to the tables that it declares and to nothing else."""

import threading
import time

import duckdb
import pytest

from reinduce import tables
from reinduce.judge import checks, evidence, query

PLAIN = "SELECT seed, value FROM trajectories"


def run_query(sql, root, reads, bindings=(), seeds=3):
    resolved = evidence.resolve_reads(reads, "paper", dict(bindings))
    arms = {name: range(seeds) for names in resolved.values() for name in names}
    return evidence.run_evidence_query(sql, dict(bindings), evidence.list_table_files(resolved, arms, root))


def test_a_value_per_seed_of_the_declared_arm(plant):
    plant("one", [0.7, 0.8, 0.9])
    root = plant("two", [0.1, None, 0.3])
    assert run_query(PLAIN + " ORDER BY seed DESC", root, {"trajectories": ["two"]}) == {0: 0.1, 1: None, 2: 0.3}
    assert run_query(PLAIN, root, {"trajectories": ["$arm"]}, {"arm": "one"}) == {0: 0.7, 1: 0.8, 2: 0.9}


def test_other_studies_arms(plant):
    plant("two", [0.1, 0.2, 0.3])
    root = plant("two", [0.7, 0.8, 0.9], study="other")
    assert run_query(PLAIN, root, {"trajectories": ["other/two"]}) == {0: 0.7, 1: 0.8, 2: 0.9}


def test_scores_are_those_of_the_schedule(plant):
    root = plant("two", [0.1, 0.2, 0.3])
    left_over = root / "paper/two/seed0/score/step00000015.parquet"
    left_over.write_bytes((left_over.parent / "step00000020.parquet").read_bytes())
    assert run_query("SELECT seed, count(*) AS value FROM scores GROUP BY seed", root, {"scores": ["two"]}) == {
        0: 3,
        1: 3,
        2: 3,
    }


def test_series_join_the_trajectories(plant):
    root = plant("two", [0.1, 0.2, 0.3])
    rows = [{"study": "paper", "arm": "two", "seed": k, "metric": "pca_turn_angle", "value": 9.0 + k} for k in range(3)]
    for row in rows:
        file = root / f"paper/series/words/two.seed{row['seed']}.parquet"
        tables.write_rows("trajectories", [row], file.with_suffix(".trajectories.parquet"))
        point = {"study": "paper", "arm": "two", "seed": row["seed"], "step": 0, "component": 1, "value": row["value"]}
        tables.write_rows("loss_components", [point], file)
    sql = "SELECT seed, sum(value) AS value FROM trajectories GROUP BY seed"
    assert run_query(sql, root, {"series_trajectories": ["two"]}) == {0: 9, 1: 10, 2: 11}
    both = {"series_trajectories": ["two"], "trajectories": ["two"]}
    assert run_query(sql, root, both) == {
        0: 9.1,
        1: 10.2,
        2: 11.3,
    }
    found = run_query("SELECT seed, value FROM loss_components", root, {"loss_components": ["two"]})
    assert found == {0: 9, 1: 10, 2: 11}


def test_values_that_are_not_finite_are_not_measured(plant):
    root = plant("two", [0.0, 0.2, 0.3])
    sql = "SELECT seed, CASE seed WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE ELSE value END AS value FROM "
    assert run_query(sql + "trajectories", root, {"trajectories": ["two"]}) == {0: None, 1: None, 2: 0.3}


@pytest.mark.parametrize("extra", ["SELECT 1 AS seed, 0.5::DOUBLE AS value", "SELECT NULL, 0.5"])
def test_a_seed_twice_or_no_seed_is_an_error(plant, extra):
    root = plant("two", [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="seed of its own; see seed (1|None)"):
        run_query(f"{PLAIN} UNION ALL {extra}", root, {"trajectories": ["two"]})


def test_a_million_rows_of_which_no_seed_is_trained_end_soon(plant):
    sql = "SELECT range // 2 AS seed, 0.5 AS value FROM range(1000000), (SELECT count(*) FROM trajectories)"
    started = time.process_time()
    with pytest.raises(ValueError, match="see seed 0, 1, 10, .* and 499992 more"):
        run_query(sql, plant("two", [0.1]), {"trajectories": ["two"]}, seeds=1)
    assert time.process_time() - started < 30


def test_hours_are_the_same_in_every_time_zone(plant, monkeypatch):
    root = plant("two", [0.1, 0.2, 0.3])
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        found = run_query(
            "SELECT seed, hour(to_timestamp(0)) AS value FROM trajectories", root, {"trajectories": ["two"]}
        )
        assert found == {0: 0, 1: 0, 2: 0}
    monkeypatch.undo()
    time.tzset()


def test_a_query_that_breaks_on_the_data_is_an_error(plant):
    root = plant("two", [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="evidence: Conversion Error"):
        run_query("SELECT seed, CAST(arm AS DOUBLE) AS value FROM trajectories", root, {"trajectories": ["two"]})


@pytest.mark.parametrize("table, file", [("scores", "score/step00000000"), ("ablations", "ablate/ablations")])
def test_a_missing_file_is_named_with_how_to_make_it(plant, table, file):
    root = plant("two", [0.1])
    with pytest.raises(FileNotFoundError) as raised:
        run_query(f"SELECT seed, value FROM {table}", root, {table: ["two"]}, seeds=2)
    seed = 1 if table == "scores" else 0
    path = root / f"paper/two/seed{seed}/{file}.parquet"
    assert str(raised.value).startswith(str(path))
    assert f"snakemake --cores all {path}" in str(raised.value)


def test_a_missing_arm_is_named(plant):
    with pytest.raises(FileNotFoundError, match="three/train.json"):
        run_query("SELECT seed, value FROM scores", plant("two", [0.1]), {"scores": ["three"]})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 0 AS seed, count(*) AS value FROM read_csv('{file}')",
        "SELECT 0 AS seed, count(*) AS value FROM '{file}'",
        "SELECT 0 AS seed, count(*) AS value FROM read_text('{file}')",
        "SELECT 0 AS seed, count(*) AS value FROM read_parquet('{root}/paper/one/seed0/score/trajectories.parquet')",
        "SELECT 0 AS seed, count(*) AS value FROM glob('{root}/*')",
        "SELECT seed, value FROM scores",
        "SELECT seed, value FROM found",
        "ATTACH '{root}/new.db'",
        "COPY trajectories TO '{root}/copy.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "DROP TABLE trajectories",
        "SELECT seed, value FROM trajectories; SELECT seed, value FROM trajectories",
    ],
)
def test_a_query_reaches_no_file_network_or_setting(plant, sql):
    root = plant("two", [0.1, 0.2, 0.3])
    plant("one", [0.1, 0.2, 0.3])
    (root / "secret.csv").write_text("a\n1\n")
    before = sorted(root.rglob("*"))
    sql = sql.format(file=root / "secret.csv", root=root)
    with pytest.raises(ValueError, match="evidence"):
        run_query(sql, root, {"trajectories": ["two"]})
    assert checks.check_query(sql, {"trajectories": ["two"]}, {})
    assert sorted(root.rglob("*")) == before


def test_the_lock_cannot_be_undone():
    with query.open_database({"runs": tables.schema("runs").empty_table()}) as database:
        for setting in ("enable_external_access = true", "threads = 2", "lock_configuration = false"):
            with pytest.raises(duckdb.Error, match="locked"):
                database.execute(f"SET {setting}")


def test_python_variables_are_not_tables():
    in_memory = tables.schema("runs").empty_table()
    with query.open_database({"runs": in_memory}) as database:
        assert database.execute("SELECT * FROM runs").fetchall() == in_memory.to_pylist()
        with pytest.raises(duckdb.CatalogException, match="in_memory does not exist"):
            database.execute("SELECT * FROM in_memory")


@pytest.mark.parametrize(
    "value",
    [
        "random()",
        "epoch(now())",
        "year(today())",
        "year(current_date)",
        "length(current_user)",
        "length(version())",
        "length(current_setting('threads'))",
        "list_sum(list_transform([1, 2], lambda x: random()))",
        "(SELECT count(*) FROM trajectories USING SAMPLE 1)",
        "(SELECT count(*) FROM trajectories TABLESAMPLE 50%)",
        "reservoir_quantile(value, 0.5) OVER ()",
        "(SELECT count(*) FROM duckdb_settings())",
        "(SELECT count(*) FROM information_schema.tables)",
        "(SELECT count(*) FROM (SHOW TABLES))",
        "pg_backend_pid()",
        "length(uuid()::VARCHAR)",
        "epoch(current_localtimestamp())",
        "epoch(current_localtime())",
        "(SELECT count(*) FROM duckdb_tables) + (WITH duckdb_tables AS (SELECT 1) SELECT count(*) FROM duckdb_tables)",
    ],
)
def test_a_query_that_need_not_come_out_again_is_refused(plant, value):
    sql = f"SELECT seed, {value} AS value FROM trajectories"
    root = plant("two", [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="again|each|only"):
        run_query(sql, root, {"trajectories": ["two"]})
    assert checks.check_query(sql, {"trajectories": ["two"]}, {}).startswith("evidence: ")


@pytest.mark.parametrize(
    "value",
    [
        "list_sum(list_transform([value, 1], lambda x: x + 1))",
        "quantile_cont(value, 0.5) OVER ()",
        "(SELECT sum(range) FROM range(3))",
        "nullif(value, 0)",
        "CASE WHEN regexp_matches(arm, 't.o') THEN 1 END",
        "(WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 5) SELECT count(*) FROM r)",
    ],
)
def test_a_query_that_comes_out_again_is_accepted(plant, value):
    found = run_query(
        f"SELECT seed, {value} AS value FROM trajectories", plant("two", [0.1, 0.2]), {"trajectories": ["two"]}, seeds=2
    )
    assert all(one is not None for one in found.values())


@pytest.mark.parametrize(
    "sql, complaint",
    [
        ("SELECT 0 AS seed, count(*) AS value FROM range(1000000) a, range(1000000) b, trajectories", "stopped after"),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT 0, count(*) FROM r",
            "stopped after",
        ),
        ("SELECT seed, length(repeat('x', 2000000000)) AS value FROM trajectories", "MB"),
        ("SELECT seed, len(range(1000000000)) AS value FROM trajectories", "MB"),
        ("SELECT 0, len(string_agg(repeat('x', 1000000), '')) FROM range(4000), trajectories", "MB"),
    ],
)
def test_a_query_without_end_or_measure_is_stopped(plant, monkeypatch, sql, complaint):
    monkeypatch.setattr(query, "SECONDS", 1.0)
    with pytest.raises(ValueError, match=complaint):
        run_query(sql, plant("two", [0.1, 0.2, 0.3]), {"trajectories": ["two"]})


def test_a_query_that_heeds_no_interruption_ends_its_process(monkeypatch, capsys):
    class Waits:
        """A database whose query goes on whatever it is told."""

        def interrupt(self):
            pass

        def execute(self, *_):
            assert ended.wait(10)
            raise duckdb.InterruptException("ended")

    ended = threading.Event()
    monkeypatch.setattr(query, "SECONDS", 0.1)
    monkeypatch.setattr(query, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(query.os, "_exit", lambda status: ended.set())
    with pytest.raises(ValueError, match="stopped after"):
        query.run_query(Waits(), query.parse_query("SELECT 1"), {})
    assert "could not be interrupted" in capsys.readouterr().err


READS = {"trajectories": ["$arm"]}
ARM = PLAIN + " WHERE arm = $arm"


@pytest.mark.parametrize(
    "sql, reads, bindings, complaint",
    [
        (ARM, {"trajectory": ["two"]}, {"arm": "two"}, "there is no table 'trajectory'"),
        (ARM, {"trajectories": ["two"]}, {}, "$arm: not bound"),
        (ARM, READS, {}, "every $name must be bound"),
        (ARM, READS, {"arm": 3}, "every $name must be bound"),
        (ARM, READS, {"arm": "two", "metric": "x"}, "$metric: bound by `with`, but not used"),
        (ARM, READS | {"runs": ["two"]}, {"arm": "two"}, "runs: declared under `reads`, but not read"),
        (ARM, {"series_trajectories": ["two"], "runs": ["two"]}, {"arm": "two"}, "runs: declared"),
        ("SELECT seed, step AS value FROM trajectories", READS, {"arm": "two"}, '"step" not found'),
        (
            "SELECT seed, loss AS value FROM train_log",
            READS,
            {"arm": "two"},
            "there is no table train_log; `reads` allows",
        ),
        (f"{PLAIN}, (SELECT count(*) FROM pg_settings)", READS, {"arm": "two"}, "there is no table pg_settings"),
        ("WITH trajectories AS (SELECT 0 AS seed, 1 AS value) " + PLAIN, READS, {"arm": "two"}, "but not read"),
        ("SELECT seed, arm, value FROM trajectories", READS, {"arm": "two"}, "columns must be seed, value"),
        ("SELECT value, seed FROM trajectories", READS, {"arm": "two"}, "columns must be seed, value"),
        ("SELECT seed, arm AS value FROM trajectories", READS, {"arm": "two"}, "value a number"),
        ("SELECT value AS seed, value FROM trajectories", READS, {"arm": "two"}, "seed must be a whole number"),
        ("SELECT seed value FRM trajectories", READS, {"arm": "two"}, "Parser Error"),
        ("", READS, {"arm": "two"}, "must be a single SELECT"),
    ],
)
def test_a_wrong_query_is_reported_without_results(sql, reads, bindings, complaint):
    problem = checks.check_query(sql, reads, bindings)
    assert complaint in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "reads", [READS, {"series_trajectories": ["other/one"]}, {"trajectories": ["two", "other/one"]}]
)
def test_a_correct_query_is_accepted(reads):
    assert checks.check_query(ARM + " AND value > $least; -- that is all", reads, {"arm": "two", "least": 1}) is None

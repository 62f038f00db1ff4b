"""Plant evidence for a claim: tables of a real run with other values, drawn until the verdict is the wanted one."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, read_spec
from reinduce.config.layout import bound_reads, run_table_files, schema_name
from reinduce.judge.criteria import Threshold, read_criterion
from reinduce.judge.statistics import min_seeds
from reinduce.judge.verdicts import apply_control, judge_seeds

TRIALS = 600
DRAWN = 6
"""Number of seeds with rows of their own; further seeds repeat these rows."""
MEASURED = ("value", "baseline", "loss")
SELECTIONS = {"induction", "previous_token", "random"}
INTERVENTIONS = {"zero", "mean", "resample", "ideal_previous_token", "ideal_induction", "norm_matched"}
DOWNSTREAM = {"recomputed", "frozen_patterns"}


class Planter:
    """Plants evidence for one claim: the tables that it and its control read, for as many seeds as are needed."""

    def __init__(self, results: Path, claim: Mapping):
        self.results, self.claim = results, claim
        # Opening a database takes longer than a query.
        self.database = duckdb.connect(":memory:", config={"threads": 1})
        self.criterion = criterion = read_criterion(claim["criterion"])
        needed = (min_seeds(criterion.law, one) for one in (criterion.holds, criterion.fails))
        # So few decide if all lie as far beyond as they can; those drawn do not.
        self.seeds = max(3 * DRAWN, *(3 * least for least in needed))
        self.own, self.other = claim["with"], claim["with"] | claim["control"]["with"]
        self.reads = {}
        for bindings in (self.own, self.other):
            for table, names in bound_reads(claim["reads"], claim["study"], bindings).items():
                self.reads[table] = list(dict.fromkeys([*self.reads.get(table, []), *names]))
        self.real = {table: self._rows(table, names) for table, names in self.reads.items()}

    def _files(self, table: str, name: str, results: Path, seed: int) -> list[Path]:
        arm = read_spec(ArmSpec, self.results / name / "train.json")
        return run_table_files(table, results / name / f"seed{seed}", arm)

    def _rows(self, table: str, names: list[str]) -> pa.Table:
        """The first seed's rows of some arms, repeated for each drawn seed."""
        schema = schema_name(table)
        paths = [path for name in names for path in self._files(table, name, self.results, 0)]
        read = tables.read_table(schema, paths)
        read = self._completed(read.filter(pc.equal(read["seed"], 0)))
        place = read.column_names.index("seed")
        return pa.concat_tables(
            read.set_column(place, "seed", pa.array([seed] * len(read), pa.int32())) for seed in range(DRAWN)
        )

    def _completed(self, rows: pa.Table) -> pa.Table:
        """The rows, with other rows in place of ablations of selections for which a small run has no heads."""
        if "selection" not in rows.column_names:
            return rows
        words = {*re.findall(r"'(\w+)'", self.claim["evidence"]), *map(str, (*self.own.values(), *self.other.values()))}
        columns = ("selection", "intervention", "downstream")
        present = set(zip(*(rows[column].to_pylist() for column in columns), strict=True))
        any_row = rows
        for column in (*columns, "heads", "replicate", "k", "source_head", "step"):
            cells, first = any_row[column], any_row[column][0]
            any_row = any_row.filter(pc.equal(cells, first) if first.is_valid else pc.is_null(cells))
        interventions, downstream = (
            sorted(known & words) or [default]
            for known, default in ((INTERVENTIONS, "zero"), (DOWNSTREAM, "recomputed"))
        )
        for cell in itertools.product(sorted(SELECTIONS & words), interventions, downstream):
            if cell not in present:
                for column, value in zip(columns, cell, strict=True):
                    place = any_row.column_names.index(column)
                    any_row = any_row.set_column(place, column, pa.array([value] * len(any_row), pa.string()))
                rows = pa.concat_tables([rows, any_row])
        return rows

    def draw(self, generator: np.random.Generator, alike: bool = True) -> dict[str, pa.Table]:
        """The tables with new random values; `alike`: equal in all seeds up to a thousandth."""
        found = {}
        for table, rows in self.real.items():
            each = len(rows) // DRAWN
            levels = self._levels(rows, each, generator)
            for column in MEASURED:
                if column in rows.column_names and len(rows):
                    shape = generator.uniform(0, 1, (1 if alike else DRAWN, each)) ** generator.choice([0.3, 1, 3])
                    drawn = np.broadcast_to(levels * shape, (DRAWN, each)).reshape(-1)
                    values = drawn * (1 + 1e-3 * generator.uniform(-1, 1, len(rows)))
                    if np.isfinite(self.criterion.law.value_range).any() and generator.random() < 0.5:
                        # Shares and correlations have ends, and criteria may lie close to them.
                        values = np.clip(values, *self.criterion.law.value_range)
                    place = rows.column_names.index(column)
                    rows = rows.set_column(place, column, pa.array(values, pa.float64()))
            found[table] = rows
        return found

    @staticmethod
    def _levels(rows: pa.Table, each: int, generator: np.random.Generator) -> np.ndarray:
        """For each row a magnitude that rows of one metric, and often of one arm, share."""
        # Some claims need arms or interventions that do not differ, others a change from the first to the last step.
        often = {"metric": 1.0, "arm": 0.7, "intervention": 0.7, "downstream": 0.7, "selection": 0.7, "step": 0.3}
        kinds = [name for name in often if name in rows.column_names and generator.random() < often[name]]
        keys = list(zip(*(rows[name][:each].to_pylist() for name in kinds), strict=True))
        size = {
            key: generator.choice([-1, 1, 1, 1]) * 10.0 ** generator.uniform(-1.5, 2.5) for key in dict.fromkeys(keys)
        }
        return np.array([size[key] for key in keys])

    def run_query(self, planted: Mapping[str, pa.Table], bindings: Mapping) -> dict:
        """Seed → the value of the claim's query on planted tables; empty if the query fails or a value is missing."""
        wanted = bound_reads(self.claim["reads"], self.claim["study"], bindings)
        united: dict[str, list[pa.Table]] = {}
        for table, names in wanted.items():
            arms = [name.split("/")[1] for name in names]
            rows = planted[table]
            united.setdefault(schema_name(table), []).append(rows.filter(pc.is_in(rows["arm"], pa.array(arms))))
        for table, parts in united.items():
            self.database.register(table, pa.concat_tables(parts))
        statement = duckdb.extract_statements(self.claim["evidence"])[0]
        used = {name: bindings[name] for name in statement.named_parameters}
        try:
            rows = self.database.execute(statement, used).fetchall()
        except duckdb.Error:
            return {}
        finally:
            for table in united:
                self.database.unregister(table)
        found = {seed: value for seed, value in rows if value is not None and np.isfinite(value)}
        return found if len(found) == len(rows) else {}

    def search(self, threshold: Threshold, unlike: bool = False, seed: int = 0) -> dict[str, pa.Table] | None:
        """Tables for which the claim is beyond a threshold and its control does not hold; None if none were found.

        `unlike`: whether each seed's rows are from another draw.
        """
        generator = np.random.default_rng(seed)
        for trial in range(1, TRIALS):
            # A claim that compares seeds needs seeds that differ.
            by_seed = unlike or trial % 50 == 0
            planted = self._draw_each_seed(threshold, generator) if by_seed else self.draw(generator)
            if planted is not None and self._gives_verdict(planted, threshold):
                return {table: self._for_all_seeds(rows) for table, rows in planted.items()}
        return None

    def _for_all_seeds(self, rows: pa.Table) -> pa.Table:
        place = rows.column_names.index("seed")
        copies = [
            rows.set_column(place, "seed", pc.add(rows["seed"], pa.scalar(first, pa.int32())))
            for first in range(0, self.seeds, DRAWN)
        ]
        united = pa.concat_tables(copies)
        return united.filter(pc.less(united["seed"], self.seeds))

    def _gives_verdict(self, planted: Mapping[str, pa.Table], threshold: Threshold) -> bool:
        def query_seeds(bindings: Mapping) -> dict[int, float | None]:
            values = self.run_query(planted, bindings)
            return {seed: values.get(seed % DRAWN) for seed in range(self.seeds)}

        wanted = "holds" if threshold == self.criterion.holds else "fails"
        own = query_seeds(self.own)
        try:
            judged = judge_seeds(own, own, self.criterion)
            if judged.verdict != wanted:
                return False
            other = query_seeds(self.other)
            control = judge_seeds(other, other, self.criterion)
        except ValueError:
            # Values outside of the criterion's range.
            return False
        return apply_control(judged, control, other.values(), self.criterion).verdict == wanted

    def _draw_each_seed(self, threshold: Threshold, generator: np.random.Generator) -> dict[str, pa.Table] | None:
        """Each seed's rows from another draw for which its value is beyond the threshold."""
        found: dict[int, dict[str, pa.Table]] = {}
        for _ in range(40):
            planted = self.draw(generator, alike=False)
            for seed, value in self.run_query(planted, self.own).items():
                if threshold.is_met_by(value) and seed not in found:
                    found[seed] = {table: rows.filter(pc.equal(rows["seed"], seed)) for table, rows in planted.items()}
        if len(found) < DRAWN:
            return None
        return {table: pa.concat_tables(found[seed][table] for seed in sorted(found)) for table in self.real}

    def write(self, planted: Mapping[str, pa.Table], results: Path) -> dict:
        """Write planted tables where a run would, and return the claim that reads them."""
        for table, names in self.reads.items():
            for name in names:
                settings = results / name / "train.json"
                if (self.results / name / "train.json").is_file() and not settings.is_file():
                    settings.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(self.results / name / "train.json", settings)
                for path, rows in self._parts(table, name, planted[table], results):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pq.write_table(rows, path)
        looks = [{name: list(range(self.seeds)) for name in self.claim["looks"][0]}]
        return json.loads(json.dumps(self.claim)) | {"looks": looks, "family_size": 1}

    def _parts(self, table: str, name: str, rows: pa.Table, results: Path) -> Iterator[tuple[Path, pa.Table]]:
        rows = rows.filter(pc.equal(rows["arm"], name.split("/")[1]))
        for seed in range(self.seeds):
            own = rows.filter(pc.equal(rows["seed"], seed))
            paths = self._files(table, name, results, seed)
            steps = sorted(set(own["step"].to_pylist())) if table == "scores" else []
            # A checkpoint's scores are a file of their own.
            parts = [own.filter(pc.equal(own["step"], step)) for step in steps] or [own]
            yield from zip(paths, parts, strict=True)

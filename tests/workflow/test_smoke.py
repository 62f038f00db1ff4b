"""The whole workflow at smoke scale: the files that a run makes, and which jobs run again after a change."""

import contextlib
import hashlib
import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from reinduce import tables
from reinduce.judge.verdicts import VERDICTS
from reinduce.model.checkpoint import load_checkpoint
from reinduce.model.transformer import token_losses
from reinduce.tasks.evaluation_sets import read_set

SMOKE = ("--config", "scale=smoke")


def rules(planned: dict[str, int], *prefixes: str) -> set[str]:
    return {rule for rule in planned if rule.startswith(prefixes)}


def read_rows(path) -> list[dict]:
    return pq.read_table(path).to_pylist()


@contextlib.contextmanager
def edited(path, text: str):
    """Append text to a file, and restore the file at the end of the block."""
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


class TestResults:
    def test_every_claim_has_a_row_with_all_columns(self, whole_run):
        rows = pq.read_table(whole_run.root / "results/smoke/ledger.parquet").to_pylist()
        for study in ("olsson2022", "review2026", "singh2024"):
            claims = yaml.safe_load((whole_run.root / f"workflow/studies/{study}/claims.yaml").read_text())
            assert {row["claim"] for row in rows if row["study"] == study} == {claim["id"] for claim in claims}
        assert {row["verdict"] for row in rows} <= set(VERDICTS)
        assert all(row["scale"] == "smoke" and row["criterion"] and row["control_verdict"] for row in rows)
        content = json.loads((whole_run.root / "results/smoke/ledger.json").read_text())
        assert content["n_claims"] == len(rows)

    def test_a_graft_equals_the_last_checkpoint_of_another_seed(self, whole_run):
        """The first layer of `graft-other`, seed 0, at every checkpoint is that of seed 1 at the end."""
        folder = whole_run.root / "results/smoke/singh2024"
        donor = load_checkpoint(max((folder / "one-head/seed1/train/checkpoints").iterdir())).model.blocks[0].attn
        for path in (folder / "graft-other/seed0/train/checkpoints").iterdir():
            found = load_checkpoint(path).model.blocks[0].attn
            assert torch.equal(found.W_QKV, donor.W_QKV) and torch.equal(found.W_O, donor.W_O)
        manifest = json.loads((folder / "graft-other/seed0/train/manifest.json").read_text())
        assert any("one-head/seed1/" in path for path in manifest["inputs"])

    def test_heads_are_judged_on_data_on_which_none_was_chosen(self, whole_run):
        results = whole_run.root / "results/smoke"
        run = results / "olsson2022/attn2/seed0"
        rows = read_rows(run / "ablate/ablations.parquet")
        heldout = read_set(results / "data/repeated_phrases", "heldout").tokens
        model = load_checkpoint(max((run / "train/checkpoints").iterdir())).model
        with torch.no_grad():
            expected = token_losses(model(heldout[-8:])[0], heldout[-8:]).mean().item()
        baselines = [row["baseline"] for row in rows if row["metric"] == "loss" and row["selection"] == "pair"]
        assert baselines == pytest.approx([expected] * len(baselines), abs=1e-5) and baselines
        scores = read_rows(max((run / "score").glob("step*.parquet")))
        n_items = {row["metric"]: row["n_items"] for row in scores}
        assert n_items["previous_token"] == 8, "the first documents"
        assert n_items["prefix_matching:first_half"] == 2
        assert {row["n_items"] for row in read_rows(run / "attribute/attributions.parquet")} == {2}
        own = read_rows(results / "singh2024/whole/seed0/ablate/ablations.parquet")
        assert {row["n_items"] for row in own} == {20}, "half of the sequences"

    def test_a_studys_own_variant_of_a_task_has_its_own_data(self, whole_run):
        folder = whole_run.root / "results/smoke/data"
        content = json.loads((folder / "singh2024.labels15/task.json").read_text())
        assert content["task"] == "singh2024.fewshot_classification" and content["spec"]["vocab_size"] == 15
        tokens = read_set(folder / "singh2024.labels15", "in_distribution").tokens
        assert tokens[:, [1, 3]].unique().numel() > 10

    def test_two_seeds_decide_no_claim(self, whole_run):
        rows = pq.read_table(whole_run.root / "results/smoke/ledger.parquet").to_pylist()
        few = [row["verdict"] for row in rows if row["n_seeds"] <= 2]
        assert len(few) > 70 and set(few) == {"inconclusive"}

    def test_every_table_has_its_declared_schema(self, whole_run):
        found = 0
        for pattern, table in {
            "*/seed*/train/run": "runs",
            "*/seed*/train/train_log": "train_log",
            "*/seed*/score/step*": "scores",
            "*/seed*/score/index_losses": "index_losses",
            "*/seed*/score/token_losses": "token_losses",
            "*/seed*/score/trajectories": "trajectories",
            "*/seed*/ablate/ablations": "ablations",
            "*/seed*/attribute/attributions": "attributions",
        }.items():
            files = list((whole_run.root / "results/smoke/olsson2022").glob(f"{pattern}.parquet"))
            assert files, pattern
            for path in files:
                assert pq.read_schema(path).equals(tables.schema(table)), path
            found += len(files)
        assert found > 100

    def test_each_checkpoint_has_scores_of_every_head(self, whole_run):
        for run in (whole_run.root / "results/smoke/olsson2022").glob("*/seed*"):
            checkpoints = {path.stem for path in (run / "train/checkpoints").iterdir()}
            scored = {path.stem for path in (run / "score").glob("step*.parquet")}
            assert checkpoints == scored != set()
        spec = json.loads((whole_run.root / "results/smoke/olsson2022/attn3/train.json").read_text())["model"]
        rows = pq.read_table(
            whole_run.root / "results/smoke/olsson2022/attn3/seed0/score/step00000030.parquet"
        ).to_pylist()
        for metric in ("prefix_matching", "copying", "previous_token", "ov_eigenvalues", "qk_trace"):
            heads = {(row["layer"], row["head"]) for row in rows if row["metric"] == metric}
            assert len(heads) == spec["n_layers"] * spec["n_heads"]
        unscored = {row["layer"] for row in rows if row["metric"] == "qk_trace" and row["value"] is None}
        assert unscored == {0}

    def test_manifests_have_the_hashes_of_the_files(self, whole_run):
        paths = sorted((whole_run.root / "results/smoke").rglob("*manifest.json"))
        assert len(paths) > 100
        for path in paths[::7]:
            manifest = json.loads(path.read_text())
            assert manifest["command"].startswith("reinduce ")
            assert manifest["outputs"]
            for name, facts in manifest["outputs"].items():
                content = (whole_run.root / name).read_bytes()
                assert hashlib.sha256(content).hexdigest() == facts["sha256"], name

    def test_text_is_traced_to_packages_and_versions(self, whole_run):
        manifest = json.loads((whole_run.root / "results/smoke/data/source_text/manifest.json").read_text())
        assert manifest["details"]["packages"].keys() == {"networkx"}
        assert len(manifest["details"]["digest"]) >= 16

    def test_seeds_train_on_different_data(self, whole_run):
        logs = [
            pq.read_table(whole_run.root / f"results/smoke/olsson2022/attn2/seed{seed}/train/train_log.parquet")
            for seed in (0, 1)
        ]
        assert logs[0]["loss"] != logs[1]["loss"]

    def test_the_front_page_links_to_what_exists(self, whole_run):
        folder = whole_run.root / "results/smoke"
        page = (folder / "index.html").read_text()
        local = {link for link in re.findall(r'href="([^"#]+)"', page) if "://" not in link}
        assert len(local) > 30
        assert [link for link in local if not (folder / link).exists()] == []


class TestReruns:
    def test_no_job_when_nothing_changed(self, whole_run):
        assert whole_run.count_planned_jobs(*SMOKE) == {}

    def test_no_job_when_only_the_time_of_a_source_changed(self, whole_run):
        (whole_run.root / "src/reinduce/metrics/heads.py").touch()
        assert whole_run.count_planned_jobs(*SMOKE) == {}

    def test_only_figures_when_a_plot_changed(self, whole_run):
        with edited(whole_run.root / "src/reinduce/report/plots.py", "\n# changed\n"):
            planned = whole_run.count_planned_jobs(*SMOKE)
        assert rules(planned, "figure")
        assert rules(planned, "figure", "index") == set(planned)

    def test_one_figure_when_its_notebook_changed(self, whole_run):
        with edited(whole_run.root / "workflow/studies/olsson2022/figures/ablation.py", "\n# changed\n"):
            assert whole_run.count_planned_jobs(*SMOKE) == {"figure_olsson2022_ablation": 1, "index": 1}

    def test_scores_and_what_depends_on_them_but_no_training_when_a_metric_changed(self, whole_run):
        with edited(whole_run.root / "src/reinduce/metrics/heads.py", "\n# changed\n"):
            planned = whole_run.count_planned_jobs(*SMOKE)
        assert rules(planned, "score") and rules(planned, "ablate") and planned["claim"] and rules(planned, "figure")
        assert not rules(planned, "train", "data", "attribute")

    def test_everything_that_runs_a_model_when_the_model_changed(self, whole_run):
        with edited(whole_run.root / "src/reinduce/model/transformer.py", "\n# changed\n"):
            planned = whole_run.count_planned_jobs(*SMOKE)
        assert rules(planned, "train") and rules(planned, "score")
        assert not rules(planned, "data")

    def test_data_of_packages_when_one_has_another_version_and_not_when_the_lock_pins_something_else(self, whole_run):
        with edited(whole_run.root / "envs/lock.txt", "something-else==1.0\n"):
            assert whole_run.count_planned_jobs(*SMOKE) == {}
        newer = whole_run.root / "src/networkx-99.dist-info"
        newer.mkdir()
        (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: networkx\nVersion: 99\n")
        planned = whole_run.count_planned_jobs(*SMOKE)
        shutil.rmtree(newer)
        assert rules(planned, "data") == {"data_source_text"}
        assert whole_run.count_planned_jobs(*SMOKE) == {}

    def test_one_job_and_what_depends_on_it_when_a_score_is_missing(self, whole_run):
        path = whole_run.root / "results/smoke/olsson2022/attn2/seed1/score/step00000010.parquet"
        content = path.read_bytes()
        path.unlink()
        planned = whole_run.count_planned_jobs(*SMOKE)
        assert rules(planned, "score") == {"score_olsson2022_short1"} and planned["score_olsson2022_short1"] == 1
        assert not rules(planned, "train", "data", "attribute")
        whole_run.run_snakemake("--cores", "1", path.relative_to(whole_run.root).as_posix(), *SMOKE)
        assert path.read_bytes() == content
        whole_run.run_snakemake("--cores", "2", *SMOKE)

    def test_only_its_job_group_when_the_configuration_of_an_arm_changed(self, whole_run):
        changed = "\noverrides: {olsson2022: {attn3: {train: {learning_rate: 1e-2}}}}\n"
        config = whole_run.root / "config.yaml"
        before = config.read_text()
        config.write_text(before.replace("overrides: {}", "") + changed)
        planned = whole_run.count_planned_jobs(*SMOKE)
        config.write_text(before)
        whole_run.count_planned_jobs(*SMOKE)
        assert rules(planned, "train") == {"train_olsson2022_short1"}

    @pytest.mark.parametrize("figure", ["head-anatomy"])
    def test_a_figure_made_again_is_the_same_bytes(self, whole_run, figure):
        paths = [whole_run.root / f"results/smoke/figures/olsson2022.{figure}.{ending}" for ending in ("ipynb", "html")]
        before = [path.read_bytes() for path in paths]
        for path in paths:
            path.unlink()
        whole_run.run_snakemake(
            "--cores", "1", *(path.relative_to(whole_run.root).as_posix() for path in paths), *SMOKE
        )
        assert [path.read_bytes() for path in paths] == before

"""Every claim of a real run is traced to its data; each kind of tampering is refused with its reason."""

import contextlib
import hashlib
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

CLAIM = "olsson2022.abrupt-icl"
RUN = "results/smoke/olsson2022/attn2/seed0"


def reinduce(project, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "reinduce", *arguments]
    return subprocess.run(command, cwd=project.root, env=project.environment, capture_output=True, text=True)


def run_trace(project, *options: str) -> subprocess.CompletedProcess:
    return reinduce(project, "trace", CLAIM, "--results", "results/smoke", *options)


def children_cpu() -> float:
    """Processor seconds of finished child processes, which do not include waiting on a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def restore_after(*paths: Path):
    """Restore files that are changed or removed within the block."""
    before = [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    try:
        yield
    finally:
        for path, content, _ in before:
            path.write_bytes(content)


class TestTrace:
    def test_every_claim_leads_to_data_and_sources_without_a_missing_link(self, smoke):
        ledger = json.loads((smoke.root / "results/smoke/ledger.json").read_text())["claims"]
        assert len(ledger) > 80
        code = (
            "import sys, time\nfrom reinduce.cli import parse_arguments\n"
            "from reinduce.replay import trace_command as c\n"
            "for name in sys.argv[1:]:\n"
            "    began = time.process_time()\n"
            "    _, job = parse_arguments(['trace', name, '--results', 'results/smoke'])\n"
            "    c.run_trace(job)\n"
            "    print('TOOK', time.process_time() - began)\n"
        )
        names = [f"{row['study']}.{row['claim']}" for row in ledger]
        done = subprocess.run(
            [sys.executable, "-c", code, *names], cwd=smoke.root, env=smoke.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        took = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("TOOK")]
        assert len(took) == len(names) and max(took) < 2
        assert "NOT VERIFIED" not in done.stdout
        for text in done.stdout.split("TOOK")[:-1]:
            assert "task.json · from the configuration" in text and "rule train_" in text and "rule data_" in text

    def test_one_claim_is_traced_within_two_seconds(self, smoke):
        began = children_cpu()
        assert run_trace(smoke).returncode == 0
        assert children_cpu() - began < 2

    def test_json_has_every_file_with_its_hash(self, smoke):
        content = json.loads(run_trace(smoke, "--json").stdout)
        assert content["faults"] == [] and content["claim"]["claim"] == "abrupt-icl"
        looks = [node for node in content["chain"]["inputs"] if "/looks/" in node["name"]]
        tables = [
            node
            for look in looks
            for node in look["inputs"]
            if "attn2" in node["name"] and "trajectories" in node["name"]
        ]
        [table] = tables
        assert len(table["files"]) == 2 and table["verified"] and table["rules"] == ["score_olsson2022_short1"]

    def test_the_commands_are_those_that_ran_in_order(self, smoke):
        lines = run_trace(smoke, "--command").stdout.splitlines()
        stages = [line.split()[1] for line in lines if line.startswith("reinduce ")]
        assert stages == ["data", "train", "score", "look", "judge"]
        assert any(
            line.startswith("snakemake --cores all --config scale=smoke -- results/smoke/claims/") for line in lines
        )

    def test_an_unknown_claim_is_reported_with_the_known_ones(self, smoke):
        done = reinduce(smoke, "trace", "olsson2022.abrupt", "--results", "results/smoke")
        assert done.returncode == 2 and "no claim olsson2022.abrupt; the claims are: " in done.stderr

    def test_the_ledgers_page_shows_the_same_tree(self, smoke):
        page = (smoke.root / "results/smoke/index.html").read_text()
        assert page.count("where this number comes from") > 80
        assert "rule score_olsson2022_short1" in page

    def test_strict_refuses_uncommitted_sources(self, smoke):
        """The copy is not a repository, so its sources are unknown."""
        done = run_trace(smoke, "--strict")
        assert done.returncode == 3 and "made from uncommitted sources" in done.stderr


def edit_value(root: Path) -> None:
    path = root / RUN / "score/trajectories.parquet"
    table = pq.read_table(path)
    value = pc.add(table["value"], pa.scalar(0.25))
    pq.write_table(table.set_column(table.column_names.index("value"), "value", value), path, compression="zstd")


def swap_checkpoints(root: Path) -> None:
    one, other = (
        root / RUN.replace("seed0", seed) / "train/checkpoints/step00000030.safetensors" for seed in ("seed0", "seed1")
    )
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def rename_arm(root: Path) -> None:
    shutil.rmtree(root / RUN / "score")
    shutil.copytree(root / RUN.replace("attn2", "attn1") / "score", root / RUN / "score")


def place_by_hand(root: Path) -> None:
    source = root / RUN.replace("seed0", "seed1") / "score/trajectories.parquet"
    (root / RUN / "score/trajectories.parquet").write_bytes(source.read_bytes())


def change_configuration(root: Path) -> None:
    path = root / "config.yaml"
    changed = "\noverrides: {olsson2022: {attn2: {train: {learning_rate: 1e-2}}}}\n"
    path.write_text(path.read_text().replace("overrides: {}", "") + changed)


def change_source(root: Path) -> None:
    path = root / "src/reinduce/metrics/training.py"
    path.write_text(path.read_text() + "\n# changed\n")


def truncate(root: Path) -> None:
    path = root / RUN / "score/trajectories.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def delete_manifest(root: Path) -> None:
    (root / RUN / "score/manifest.json").unlink()


def take_other_manifest(root: Path) -> None:
    shutil.copy(root / RUN.replace("seed0", "seed1") / "score/manifest.json", root / RUN / "score/manifest.json")


def make_by_hand(root: Path) -> None:
    path = root / RUN / "score/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rule": None}))


TAMPERED = {
    edit_value: "changed after it was made",
    swap_checkpoints: "it was changed after it was made",
    rename_arm: "no manifest names it: it was put there by hand, or the manifest is that of another run",
    place_by_hand: "changed after it was made",
    change_configuration: "the configuration has changed since it was resolved",
    change_source: "it was made by sources of reinduce.score.command that have changed since",
    truncate: "it was cut short or changed after it was made",
    delete_manifest: "it has no manifest",
    take_other_manifest: "the manifest is that of another run",
    make_by_hand: "no rule made it",
}


@pytest.fixture
def restored(smoke):
    """The smoke run, restored after a test has tampered with it."""
    arm = smoke.root / "results/smoke/olsson2022"
    paths = [smoke.root / "config.yaml", smoke.root / "src/reinduce/metrics/training.py"]
    for seed in ("seed0", "seed1"):
        paths += [p for p in (arm / "attn2" / seed).rglob("*") if p.is_file()]
    before = {path: (path.read_bytes(), path.stat()) for path in paths}
    yield smoke
    for path in (arm / "attn2/seed0/score").iterdir():
        path.unlink()
    for path, (content, _) in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_tampering_is_refused_with_its_reason(restored, tamper):
    tamper(restored.root)
    done = run_trace(restored)
    assert done.returncode == 3, done.stdout[-2000:]
    assert TAMPERED[tamper] in done.stderr and "fix it with: snakemake --cores all" in done.stderr


@pytest.mark.parametrize("tamper", [t for t in TAMPERED if t is not change_configuration], ids=lambda t: t.__name__)
def test_the_judge_refuses_too_and_keeps_the_old_verdict_with_a_note(restored, tamper):
    verdict = restored.root / f"results/smoke/looks/{CLAIM}/look1.json"
    before = verdict.read_bytes()
    tamper(restored.root)
    claim = "results/smoke/olsson2022/claims/abrupt-icl.json"
    asked = ["--claim", claim, "--look", "1", "--results", "results/smoke", "--out", str(verdict)]
    done = reinduce(restored, "look", CLAIM, *asked)
    assert done.returncode == 3 and TAMPERED[tamper] in done.stderr
    assert verdict.read_bytes() == before
    note = restored.root / "results/smoke/ledger.refused.txt"
    assert TAMPERED[tamper] in note.read_text()
    note.unlink()


def test_the_judge_refuses_a_look_that_was_edited(smoke):
    name, out = f"results/smoke/looks/{CLAIM}/look1.json", f"results/smoke/claims/{CLAIM}.json"
    look, verdict = smoke.root / name, smoke.root / out
    before = verdict.read_bytes()
    with restore_after(look):
        look.write_text(look.read_text().replace("inconclusive", "holds"))
        asked = ["--claim", "results/smoke/olsson2022/claims/abrupt-icl.json", "--looks", name]
        done = reinduce(smoke, "judge", CLAIM, *asked, "--out", out)
        assert done.returncode == 3 and "look1.json: it was cut short or changed after it was made" in done.stderr
    assert verdict.read_bytes() == before
    (smoke.root / "results/smoke/ledger.refused.txt").unlink()


def test_the_front_page_refuses_an_outdated_figure(smoke):
    """A table is made again, but a figure still shows the previous one."""
    folder = smoke.root / "results/smoke"
    table = folder / "olsson2022/attn2/seed0/score/trajectories.parquet"
    manifest = table.with_name("manifest.json")
    with restore_after(table, manifest):
        edit_value(smoke.root)
        content = json.loads(manifest.read_text())
        name = table.relative_to(smoke.root).as_posix()
        content["outputs"][name] = {
            "sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
            "bytes": table.stat().st_size,
        }
        manifest.write_text(json.dumps(content))
        figures = sorted(str(p.relative_to(smoke.root)) for p in (folder / "figures").glob("olsson2022.*.html"))
        out = folder / "index.html"
        before = out.read_bytes()
        done = reinduce(
            smoke, "index", "results/smoke/ledger.json", "--figures", *figures, "--out", "results/smoke/index.html"
        )
        assert done.returncode == 3 and out.read_bytes() == before
        assert (
            f"olsson2022.phase-change.html: it was made from another file: {name} differs from the version"
            in done.stderr
        )
        shown = reinduce(smoke, "show", "--results", "results/smoke")
        assert (
            shown.returncode == 3
            and "differs from the version that was read" in shown.stderr
            and "claims at scale smoke" in shown.stdout
        )


def test_show_accepts_an_untouched_run(smoke):
    assert reinduce(smoke, "show", "--results", "results/smoke").returncode == 0

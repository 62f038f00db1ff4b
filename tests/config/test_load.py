"""A wrong configuration is told of whole, by name, before anything runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reinduce.cluster.resolve import resolve
from reinduce.config.command import schemas
from reinduce.config.layout import source_checkpoint_file
from reinduce.config.load import load
from reinduce.config.resolved import settings, write_resolved
from reinduce.config.validate import ConfigError
from reinduce.config.yaml import typed
from reinduce.trace.places import SETTINGS

ROOT = Path(__file__).parents[2]


def problems(project, **changes):
    with pytest.raises(ConfigError) as caught:
        load({"studies": ["olsson2022"]} | changes, project)
    return caught.value.problems


@pytest.mark.parametrize("scale", ["smoke", "laptop", "cluster"])
def test_what_is_shipped_is_right_at_every_scale(scale):
    resolved = load({"scale": scale}, ROOT)
    assert {name.split("/")[0] for name in resolved.runs} == {"olsson2022", "review2026", "singh2024"}
    assert len(resolved.runs) == 20 + 31
    assert len(resolved.claims) >= 80


def test_every_setting_lies_where_the_trace_looks_for_settings():
    resolved = load({"scale": "smoke"}, ROOT)
    names = [Path(name).relative_to(resolved.results).as_posix() for name in settings(resolved)]
    assert len(names) > 200 and [name for name in names if not SETTINGS.fullmatch(name)] == []


@pytest.mark.parametrize("scale", ["smoke", "laptop", "cluster"])
def test_resolving_imports_no_torch(scale):
    """Every job of a cluster resolves the configuration anew; importing torch would take longer than that."""
    program = (
        "import sys; from pathlib import Path\n"
        "import reinduce.cluster.resolve, reinduce.judge.claims, reinduce.config.task_definition\n"
        f"reinduce.cluster.resolve.load({{'scale': {scale!r}}}, Path({str(ROOT)!r}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_laptop_scale_has_the_seeds_that_verdicts_need():
    runs = load({}, ROOT).runs.values()
    assert all(len(run.seeds) >= 3 for run in runs)
    assert all(
        len(run.seeds) >= 5 for run in runs if (run.arm.study, run.arm.task) == ("olsson2022", "repeated_phrases")
    )
    assert all(len(run.seeds) >= 5 for run in runs if run.arm.study == "singh2024")


def test_replicates_are_counted_from_the_first_seed_on():
    resolved = load({"scale": "smoke", "first_seed": 700}, ROOT)
    assert {run.seeds[0] for run in resolved.runs.values()} == {700}
    assert {seeds[0] for claim in resolved.claims.values() for seeds in claim["looks"][0].values()} == {700}


def test_a_graft_is_taken_from_one_of_the_donors_own_seeds():
    resolved = load({"first_seed": 700}, ROOT)
    arm = resolved.runs["singh2024/graft-other"]
    donor = resolved.runs[f"singh2024/{arm.arm.graft.arm}"]
    given = [source_checkpoint_file("results", arm.arm, seed, donor.arm, donor.seeds).parts[3] for seed in arm.seeds]
    assert sorted(given) == [f"seed{seed}" for seed in donor.seeds]
    assert all(folder != f"seed{seed}" for folder, seed in zip(given, arm.seeds, strict=True))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sclae": "smoke"}, ["config.yaml: sclae: unknown key", "did you mean scale?"]),
        ({"scale": "labtop"}, ["config.yaml: scale: no 'labtop'", "laptop", "did you mean laptop?"]),
        ({"studies": ["olson2022"]}, ["config.yaml: studies: no 'olson2022'", "did you mean olsson2022?"]),
        ({"studies": "olsson2022"}, ["config.yaml: studies: input should be a valid array", "'olsson2022'"]),
        ({"studies": []}, ["config.yaml: studies", "at least 1"]),
        ({"studies": ["../studies/olsson2022"]}, ["config.yaml: studies.0", "pattern"]),
        (
            {"tasks": {"phases": {}}},
            ["config.yaml: tasks: no 'phases'", "repeated_phrases, source_text, olsson2022.synonyms"],
        ),
        (
            {"tasks": {"source_text": {"vocab_size": "512"}}},
            ["task source_text: vocab_size", "'512'", "config.yaml tasks"],
        ),
        ({"tasks": {"source_text": {"source": "web"}}}, ["source must be one of packages, folder, parquet"]),
        (
            {"tasks": {"source_text": {"source": "folder", "path": "nowhere"}}},
            ["task source_text: path: there is no 'nowhere'", "config.yaml tasks.source_text"],
        ),
        ({"overrides": {"olsson2022": {"attn9": {}}}}, ["overrides.olsson2022: no 'attn9'", "attn1, attn2"]),
        ({"overrides": {"olsson2022": {"attn2": {"seeds": 2.5}}}}, ["overrides.olsson2022.attn2.seeds", "2.5"]),
        (
            {"overrides": {"olsson2022": {"attn2": {"model": {"n_heads": 5}}}}},
            [
                "olsson2022/attn2: model",
                "5 heads do not divide a width of 64",
                "config.yaml overrides.olsson2022.attn2.model",
                "study.yaml scales.laptop.tasks.repeated_phrases.model",
            ],
        ),
        (
            {"overrides": {"olsson2022": {"attn2": {"train": {"steps": "many"}}}}},
            ["olsson2022/attn2: train: steps", "valid integer", "'many'", "config.yaml overrides"],
        ),
        ({"overrides": {"olsson2022": {"attn2": {"model": {"n_layers": True}}}}}, ["model: n_layers", "True"]),
        ({"overrides": {"olsson2022": {"attn2": {"train": {"stpes": 3}}}}}, ["stpes: unknown key", "mean steps?"]),
        (
            {"overrides": {"olsson2022": {"attn2": {"model": {"vocab_size": 9}}}}},
            ["come from the task", "tasks.repeated_phrases"],
        ),
        (
            {"overrides": {"olsson2022": {"attn2": {"train": {"checkpoints": {"every": {"0": 0}}}}}}},
            ["train: checkpoints", "intervals positive"],
        ),
    ],
)
def test_a_fault_names_the_key_and_what_was_expected(project, changes, expected):
    found = problems(project, **changes)
    assert len(found) == 1
    for part in expected:
        assert part in found[0]


def test_measurements_must_fit_the_task(project):
    found = problems(project, tasks={"repeated_phrases": {"n_ctx": 121}})
    assert (
        "workflow/scales/laptop.yaml: metrics.icl_position_ranges: 126/12 reaches index 126, "
        "the last of task repeated_phrases is 120" in found
    )
    assert len(found) == 4, "four of the five pairs, each told once"
    scale = project / "workflow/scales/laptop.yaml"
    scale.write_text(scale.read_text().replace("examples: 64", "examples: 9999"))
    assert any("ablate.examples is 9999, but task repeated_phrases has only 256" in line for line in problems(project))


def test_all_faults_are_told_at_once(project):
    """Unknown key, wrong type, heads that do not divide, a study that does not exist: one run, four lines."""
    found = problems(
        project,
        studies=["olsson2022", "nobody1999"],
        nonsense=1,
        overrides={
            "olsson2022": {
                "attn1": {"model": {"n_heads": 7}},
                "attn2": {"train": {"steps": "x", "stepz": 1}},
                "attn3": {"seeds": "three"},
            }
        },
        tasks={"repeated_phrases": {"phrase_share": 2.0}},
    )
    for part in ("nonsense", "nobody1999", "7 heads", "'x'", "stepz", "'three'", "phrase_share"):
        assert sum(part in line for line in found) == 1, (part, found)
    assert len(found) == 7


def test_faults_in_a_studys_own_files_are_found(project):
    folder = project / "workflow" / "studies" / "olsson2022"
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["arms"]["attn2"]["model"]["n_heads"] = 6
    study["arms"]["attn2"]["task"] = "repeated_phrases"
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    claims = yaml.safe_load((folder / "claims.yaml").read_text())
    claims[0]["figure"] = "nothing"
    claims[1]["criterion"]["fails"] = {"above": 0.05}
    claims[2]["reads"] = {"scores": ["attn7"]}
    claims[3]["reads"] = {"scores": ["$who"]}
    claims[6]["reads"] = {"score": ["attn1"], "loss_components": ["attn9"], "runs": ["other2023/attn1"]}
    claims[5]["id"] = claims[4]["id"]
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims))
    text = "\n".join(problems(project))
    for part in ("6 heads do not divide", "no 'nothing'", "overlap", "attn7", "$who", "given twice"):
        assert part in text
    assert "reads: no 'score'; there are: runs" in text
    assert "loss_components: no 'olsson2022/attn9'; there are: olsson2022/attn1, olsson2022/attn2" in text
    assert "runs: no 'other2023/attn1'" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("studies: [olsson2022\nscale: x", "line 2: expected ',' or '\\]', but got ':'"),
        ("scale: smoke\nscale: laptop\nstudies: [olsson2022]", "line 2: scale given twice"),
    ],
)
def test_broken_yaml_is_named_with_its_line(project, text, expected):
    (project / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"config.yaml: .*{expected}"):
        load(root=project)


def test_a_study_brings_its_own_notebooks_and_captions(project):
    """Nothing about a study stands outside its folder, so all of it is asked for there."""
    folder = project / "workflow" / "studies" / "olsson2022"
    (folder / "figures" / "ablation.py").unlink()
    (folder / "figures" / "phase-change.rst").unlink()
    where = "workflow/studies/olsson2022/study.yaml: figures"
    assert problems(project) == [
        f"{where}.phase-change: its caption figures/phase-change.rst is not in the study's folder",
        f"{where}.ablation: its notebook figures/ablation.py is not in the study's folder",
    ]


def test_the_command_line_is_laid_over_the_file(project):
    (project / "config.yaml").write_text(
        "scale: smoke\nstudies: [olsson2022]\noverrides: {olsson2022: {attn2: {seeds: 4, train: {steps: 7}}}}\n"
    )
    over = {"olsson2022": {"attn2": {"train": {"steps": 9}}}}
    resolved = load({"overrides": over}, project)
    assert resolved.config.scale == "smoke"
    assert (len(resolved.runs["olsson2022/attn2"].seeds), resolved.runs["olsson2022/attn2"].arm.train.steps) == (4, 9)


def test_numbers_with_exponents_are_numbers(project):
    (project / "config.yaml").write_text(
        "studies: [olsson2022]\noverrides: {olsson2022: {attn2: {train: {learning_rate: 3e-3}}}}\n"
    )
    assert load(root=project).runs["olsson2022/attn2"].arm.train.learning_rate == 0.003
    as_snakemake_reads_it = {"olsson2022": {"attn2": {"train": {"learning_rate": "3e-3"}}}}
    resolved = resolve({"studies": ["olsson2022"], "overrides": as_snakemake_reads_it}, project)
    assert resolved.runs["olsson2022/attn2"].arm.train.learning_rate == 0.003


def test_what_the_command_line_nests_keeps_its_type(project):
    """Snakemake hands on everything below the first level as text."""
    arm = {"seeds": "2", "model": {"d_model": "32", "layer_norm": "false"}, "train": {"learning_rate": "1e-2"}}
    given = {"studies": ["olsson2022"], "overrides": {"olsson2022": {"attn2": arm}}, "results": "null"}
    run = resolve(given, project).runs["olsson2022/attn2"]
    assert (len(run.seeds), run.arm.model.d_model, run.arm.model.layer_norm) == (2, 32, False)
    assert run.arm.train.learning_rate == 0.01
    assert typed({"path": "a b", "odd": "[1", "no": "~", "list": ["3", "x"]}) == {
        "path": "a b",
        "odd": "[1",
        "no": None,
        "list": [3, "x"],
    }


def test_what_is_nearer_replaces_what_is_farther_field_by_field(project):
    """Scale's task, then arm, then scale's arm, then config.yaml."""
    arm = load({"studies": ["olsson2022"]}, project).runs["olsson2022/mlp2"].arm
    assert (arm.model.d_model, arm.model.mlp_ratio, arm.train.batch_size) == (64, 2.0, 32)
    assert arm.train.steps != load(root=project).runs["olsson2022/attn2"].arm.train.steps
    over = {"olsson2022": {"mlp2": {"seeds": 9, "model": {"mlp_ratio": 1.0}, "train": {"steps": 77}}}}
    run = load({"studies": ["olsson2022"], "overrides": over}, project).runs["olsson2022/mlp2"]
    assert (len(run.seeds), run.arm.model.mlp_ratio, run.arm.model.n_layers, run.arm.train.steps) == (9, 1.0, 2, 77)
    assert run.arm.train.batch_size == arm.train.batch_size


def test_resolved_files_are_written_once_and_only_where_changed(project, tmp_path):
    def written(**changes):
        resolved = load({"studies": ["olsson2022"], "results": str(tmp_path / "r")} | changes, project)
        write_resolved(resolved)
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.json")}

    before = written()
    assert written() == before
    after = written(overrides={"olsson2022": {"attn2": {"train": {"steps": 99}}}})
    changed = {path.relative_to(tmp_path / "r").as_posix() for path in before if after[path] != before[path]}
    assert changed == {"config.json", "olsson2022/attn2/train.json"}


def with_study(project, change) -> None:
    path = project / "workflow" / "studies" / "singh2024" / "study.yaml"
    study = yaml.safe_load(path.read_text())
    change(study)
    path.write_text(yaml.safe_dump(study))


def test_a_study_may_vary_a_task(project):
    """Its own fields replace those of the scale and of config.yaml; the budget is that of the task varied."""
    own = "singh2024.fewshot_classification"
    resolved = load({"studies": ["singh2024"], "tasks": {own: {"classes": 60, "latent": 16}}}, project)
    assert resolved.tasks[own].spec.classes == 60
    varied = resolved.tasks["singh2024.classes200"]
    assert (varied.qualified_name(), varied.spec.classes, varied.spec.latent) == (own, 200, 16)
    run = resolved.runs["singh2024/c-labels15"]
    assert (run.arm.task, run.arm.model.vocab_size, run.arm.model.d_model) == ("singh2024.labels15", 15, 64)

    with_study(project, lambda s: s["tasks"].update(classes200={"of": "fewshot", "spec": {}}))
    with_study(
        project, lambda s: s["tasks"].update(labels10={"of": "fewshot_classification", "spec": {"vocab_sise": 10}})
    )
    with_study(
        project, lambda s: s["tasks"].update(labels15={"of": "fewshot_classification", "spec": {"vocab_size": 2}})
    )
    text = "\n".join(problems(project, studies=["singh2024"]))
    assert (
        "tasks.classes200.of: no task 'fewshot'; there are: repeated_phrases, source_text, fewshot_classification"
        in text
    )
    assert "task singh2024.labels10: vocab_sise: unknown key" in text and "did you mean vocab_size?" in text
    assert "vocab_size must be 3 labels or more, not 2 (set in workflow/studies/singh2024/study.yaml" in text


def test_who_gives_weights_must_be_there_and_fit(project):
    def change(study):
        study["arms"]["match"]["init_from_arm"] = "hole"
        study["arms"]["graft-own"]["graft"] = {"arm": "whole-labels15", "layer": 0}
        study["arms"]["graft-other"]["graft"] = {"arm": "one-head", "layer": 2}
        study["arms"]["copy"]["graft"] = {"arm": "graft-own", "layer": 0}
        study["arms"]["layer-one"]["graft"] = {"arm": "one-layer", "layer": 1}

    with_study(project, change)
    text = "\n".join(problems(project, studies=["singh2024"]))
    where = "workflow/studies/singh2024/study.yaml: arms"
    assert f"{where}.match.init_from_arm: no 'hole'; there are: all-previous" in text
    assert f"{where}.graft-own.graft: its vocab_size is 5, that of whole-labels15 15" in text
    assert f"{where}.graft-other: graft: no layer 2; layers are 0 to 1" in text
    assert f"{where}.copy.graft: graft-own is grafted itself" in text
    assert f"{where}.layer-one.graft: one-layer has no layer 1" in text


def test_a_clamp_on_a_head_that_is_not_there_is_told_before_any_job(project):
    def change(study):
        study["arms"]["match"]["model"]["clamps"] = [{"type": "force_match", "layer": 1, "head": 8}]
        study["arms"]["copy"]["model"]["clamps"] = [{"type": "force_copy", "layer": 2, "head": 0}]
        study["arms"]["layer-one"]["model"]["clamps"] = [{"type": "perfect_layer2", "layer": 1}]

    with_study(project, change)
    text = "\n".join(problems(project, studies=["singh2024"]))
    assert "singh2024/study.yaml: arms.match: model: clamps: no head 8; heads are 0 to 7" in text
    assert "singh2024/study.yaml: arms.copy: model: clamps: no layer 2; layers are 0 to 1" in text
    assert "singh2024/layer-one: model: clamps.0: type must be one of block_k_composition" in text
    assert "force_copy, not 'perfect_layer2'" in text


def test_the_schemas_are_those_of_the_types():
    folder = ROOT / "workflow" / "schemas"
    for name, text in schemas().items():
        assert (folder / name).read_text() == text, f"{name} is old: run `reinduce schemas`"
    assert {path.name for path in folder.iterdir()} == set(schemas())


def test_tables_of_heads_are_not_read_of_models_without(project):
    folder = project / "workflow" / "studies" / "review2026"
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["figures"]["no-attention"]["tables"] = ["scores", "attributions"]
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    claims = yaml.safe_load((folder / "claims.yaml").read_text())
    claims[-1]["reads"] = {"ablations": ["$arm"]}
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims))
    found = problems(project, studies=["olsson2022", "review2026"])
    where = ("reads.ablations", "figures.no-attention.reads.review2026")
    missing = {"gated-linear2": ("ablations", "attributions"), "gru2": ("attributions",)}
    for arm, tables in missing.items():
        for table in tables:
            told = f"review2026/{arm} has no attention heads, and so no {table}"
            assert sum(line.endswith(told) and any(f"{part}: " in line for part in where) for line in found) == 1
    assert len(found) == 3


def test_heads_that_would_be_judged_on_documents_on_which_they_were_chosen_are_told(project):
    path = project / "workflow/scales/smoke.yaml"
    path.write_text(path.read_text().replace("  examples: 8\n", "  examples: 25\n"))
    found = problems(project, scale="smoke")
    assert (
        "workflow/scales/smoke.yaml: ablate: heads are chosen by previous_token on the first 8 held-out documents of "
        "repeated_phrases and judged on the last 25, but it has 32; give it more, or judge fewer"
    ) in found


@pytest.mark.parametrize(
    ("budget", "ends"),
    [({}, [13, 20]), ({"seeds": 19}, [13]), ({"seeds": 7}, [7]), ({"seeds": 3}, [5])],
)
def test_looks_have_so_many_times_the_seeds_as_far_as_the_budget_allows(budget, ends):
    run = load({"seed_factor": 2.5, "budget": budget, "first_seed": 2000}, ROOT).runs["olsson2022/attn2"]
    assert [block.stop - 2000 for block in run.blocks] == ends and run.seeds.start == 2000
    assert [len(run.seeds_at(look)) for look in range(1, len(ends) + 1)] == ends


@pytest.mark.parametrize("name", ["claims.yaml", "calibration.yaml"])
@pytest.mark.parametrize("text", ["5", "true", "2026-11-01", "{a: 1}"])
def test_a_file_of_entries_must_be_a_list(project, name, text):
    (project / "workflow/studies/olsson2022" / name).write_text(text)
    assert f"workflow/studies/olsson2022/{name}: a list of entries is expected" in problems(project)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("holds: {below: 0.2}", "holds: {below: .nan}"),
        ("holds: {below: 0.2}", "holds: {below: -.inf}"),
        ("deviation: {at_most: 0.046,", "deviation: {at_most: .inf,"),
        ("value_range: [0, 1]", "value_range: [.nan, 1]"),
        ("value_range: [0, 1]", "value_range: [1, 0]"),
        ("value: 0.25", "value: .nan"),
        ("value: 0.25", "interval: [0.3, 0.2]"),
        ("statement: In", 'statement: "" # In'),
    ],
)
def test_numbers_of_claims_are_finite_and_texts_not_empty(project, before, after):
    path = project / "workflow/studies/olsson2022/claims.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    found = problems(project)
    assert len(found) == 1 and found[0].startswith("workflow/studies/olsson2022/claims.yaml: abrupt-icl: "), found


@pytest.mark.parametrize("values", [{"seed_factor": float("inf")}, {"first_seed": 2**63}])
def test_no_number_of_config_yaml_is_without_limit(project, values):
    (found,) = problems(project, **values)
    assert next(iter(values)) in found


def test_no_arm_has_seeds_without_limit(project):
    (found,) = problems(project, overrides={"olsson2022": {"attn2": {"seeds": [3, 100_000_000]}}})
    assert "from 1 to 10000 is expected" in found

"""Which jobs the workflow plans, and which configurations it refuses, before any job runs."""

import yaml


def test_a_claim_needs_only_its_own_arms(fresh):
    planned = fresh.count_planned_jobs("results/claims/olsson2022.abrupt-icl.json")
    assert planned == {
        "data_repeated_phrases": 1,
        "train_olsson2022_attn1": 5,
        "train_olsson2022_attn2": 5,
        "score_olsson2022_attn1": 5,
        "score_olsson2022_attn2": 5,
        "look": 1,
        "claim": 1,
    }


def test_a_claim_about_ablations_needs_ablations(fresh):
    planned = fresh.count_planned_jobs("results/claims/olsson2022.joint-ablation-removes-icl.json")
    assert planned["ablate_olsson2022_attn2"] == planned["train_olsson2022_attn2"] == 5
    assert not any(rule.startswith("attribute") for rule in planned) and "train_olsson2022_attn1" not in planned


def test_the_scores_of_one_checkpoint_are_a_target(fresh):
    planned = fresh.count_planned_jobs("results/olsson2022/attn2/seed3/score/step00000900.parquet")
    assert planned == {"data_repeated_phrases": 1, "train_olsson2022_attn2": 1, "score_olsson2022_attn2": 1}


def test_the_slurm_profile_plans_the_same_jobs(fresh):
    assert fresh.count_planned_jobs("--profile", "slurm") == fresh.count_planned_jobs()


def test_the_slurm_profile_names_only_rules_that_exist(fresh):
    profile = yaml.safe_load((fresh.root / "slurm/config.yaml").read_text())
    listed = set(fresh.run_snakemake("--list-rules").split())
    assert {entry.split(":")[0] for entry in profile.get("set-resources", {})} <= listed


def test_a_wrong_configuration_stops_before_any_job(fresh):
    config = fresh.root / "config.yaml"
    before = config.read_text()
    config.write_text(
        "scale: smoke\nstudies: [olsson2022, nobody1999]\nnonsense: 1\n"
        "overrides: {olsson2022: {attn2: {model: {n_heads: 3}, train: {steps: many}}}}\n"
    )
    done = fresh.try_snakemake("--cores", "1")
    config.write_text(before)
    assert done.returncode != 0
    for part in ("4 problems", "nonsense", "nobody1999", "3 heads do not divide a width of 16", "'many'"):
        assert part in done.stdout
    assert not (fresh.root / "results/smoke").exists()


def test_an_unknown_scale_on_the_command_line_is_reported(fresh):
    done = fresh.try_snakemake("-n", "--config", "scale=huge")
    assert done.returncode != 0
    assert "no 'huge'; there are: cluster, laptop, smoke" in done.stdout


def test_an_invalid_query_is_found_before_any_job(fresh):
    claims = fresh.root / "workflow/studies/olsson2022/claims.yaml"
    before = claims.read_text()
    claims.write_text(before.replace("metric = 'phase_change_fraction'", "metrik = 'phase_change_fraction'", 1))
    done = fresh.try_snakemake("-n")
    claims.write_text(before)
    assert done.returncode != 0
    assert "olsson2022.abrupt-icl" in done.stdout and "metrik" in done.stdout


def test_invalid_yaml_is_reported_with_its_line(fresh):
    config = fresh.root / "config.yaml"
    before = config.read_text()
    config.write_text("scale: smoke\nstudies: [olsson2022\n")
    done = fresh.try_snakemake("-n")
    config.write_text(before)
    assert done.returncode != 0
    assert "config.yaml: line 3: expected ',' or ']'" in done.stdout


def test_the_users_text_is_read_again_when_a_file_is_changed_or_added(fresh):
    folder = fresh.root / "mine"
    folder.mkdir()
    for part in range(4):
        words = (f"word{(part + 7 * n * n) % 97}" for n in range(3000))
        (folder / f"{part}.txt").write_text(" ".join(words))
    target = ["results/own/data/source_text/train.bin", "--config", "scale=smoke", "results=results/own"]
    target.append("tasks={source_text: {source: folder, path: mine}}")
    fresh.run_snakemake("--cores", "1", *target)
    assert fresh.count_planned_jobs(*target) == {}
    (folder / "0.txt").write_text("Now it is different. " * 3000)
    assert fresh.count_planned_jobs(*target) == {"data_source_text": 1}
    fresh.run_snakemake("--cores", "1", *target)
    assert fresh.count_planned_jobs(*target) == {}
    (folder / "new.txt").write_text("One more text. " * 3000)
    assert fresh.count_planned_jobs(*target) == {"data_source_text": 1}


def test_a_folder_that_cannot_be_written_is_reported_before_any_job(fresh):
    done = fresh.try_snakemake("-n", "--config", "scale=smoke", "results=/proc/here")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "/proc/here: no such file or directory; make it first, or give another" in done.stdout

"""A results folder like that of a real run, with numbers from simple curves."""

import itertools
import math
import random
from pathlib import Path

import pytest

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec, stream_seed, to_json
from reinduce.config.metric_settings import MetricSettings, PositionRanges
from reinduce.trace.files import write_text

CONTEXT = 128
# study → arm: task, layers, smeared keys, MLP ratio, middle of the change (share of training; None: no change)
OLSSON = {
    "attn1": ("repeated_phrases", 1, False, 0, None),
    "attn2": ("repeated_phrases", 2, False, 0, 0.6),
    "attn3": ("repeated_phrases", 3, False, 0, 0.7),
    "smeared1": ("repeated_phrases", 1, True, 0, 0.12),
    "smeared2": ("repeated_phrases", 2, True, 0, 0.1),
    "mlp2": ("repeated_phrases", 2, False, 4, 0.65),
    "synonyms2": ("synonyms", 2, False, 0, 0.7),
    "text-attn1": ("source_text", 1, False, 0, None),
    "text-attn2": ("source_text", 2, False, 0, 0.6),
    "text-smeared1": ("source_text", 1, True, 0, 0.1),
}
REVIEW = {
    "previous-token": ("repeated_phrases", 2, False, 0, 0.2),
    "no-k-composition": ("repeated_phrases", 2, False, 0, None),
    "no-look-back": ("repeated_phrases", 2, False, 0, None),
    "topics-free": ("bigram_mixture", 2, False, 0, 0.6),
    "topics-smeared": ("bigram_mixture", 2, True, 0, 0.1),
    "topics-blocked": ("bigram_mixture", 2, False, 0, None),
    "topics-masked": ("bigram_mixture", 2, False, 0, None),
    "gru2": ("repeated_phrases", 2, False, 0, None),
    "gated-linear2": ("repeated_phrases", 2, False, 0, None),
    "suite-smeared2": ("icl_questions", 2, True, 0, 0.1),
}
SINGH = {
    "whole": ("fewshot_classification", 2, False, 0, 0.6),
    "one-layer": ("fewshot_classification", 1, False, 0, None),
    "graft-own": ("fewshot_classification", 2, False, 0, 0.1),
    "graft-other": ("fewshot_classification", 2, False, 0, 0.6),
    **{f"head-{head}": ("fewshot_classification", 2, False, 0, 0.7) for head in range(1, 8)},
    **{
        f"{part}-{variant}": ("fewshot_classification", 2, False, 0, 0.3)
        for part in ("whole", "b", "c")
        for variant in ("classes200", "labels10", "labels15")
    },
    "one-head": ("fewshot_classification", 2, False, 0, 0.7),
    "previous-token": ("fewshot_classification", 2, False, 0, 0.4),
    "layer-one": ("fewshot_classification", 2, False, 0, 0.2),
    "copy": ("fewshot_classification", 2, False, 0, 0.15),
    "layer-one-copy": ("fewshot_classification", 2, False, 0, 0.1),
    "match": ("fewshot_classification", 2, False, 0, 0.05),
}
LIBRARY_TASKS = ("repeated_phrases", "source_text")
STUDIES = {"olsson2022": OLSSON, "review2026": REVIEW, "singh2024": SINGH}
MIXERS = {"gru2": "gru", "gated-linear2": "gated_linear"}
KINDS = ("repeat", "recall", "synonym", "mapping", "majority")


def write_results(root: Path, seeds: dict[str, int], checkpoints: int, indices: int = CONTEXT - 1) -> Path:
    """Write all arms of all studies: `seeds` per task, about `checkpoints` checkpoints for each run."""
    arms = [(study, arm, facts) for study, arms in STUDIES.items() for arm, facts in arms.items()]
    for study, arm, (task, layers, smeared, mlp, middle) in arms:
        steps = 4000 if mlp else 1600
        every = CheckpointSpec(every={0: max(1, steps // checkpoints)})
        model = ModelSpec(
            n_layers=layers,
            d_model=64,
            n_heads=4,
            vocab_size=128,
            n_ctx=5 if task == "fewshot_classification" else indices + 1,
            d_features=8 if task == "fewshot_classification" else 0,
            mlp_ratio=mlp,
            smeared_keys=smeared,
            mixer=MIXERS.get(arm, "attention"),
        )
        train = TrainSpec(steps=steps, batch_size=32, learning_rate=3e-3, checkpoints=every)
        task_name = task if task in LIBRARY_TASKS else f"{study}.{task}"
        spec = ArmSpec(study=study, arm=arm, task=task_name, model=model, train=train)
        pairs = [
            PositionRanges(early=(3, 5), late=(indices - 5, indices)),
            PositionRanges(early=(2, 2), late=(indices, indices)),
        ]
        folder = root / study / arm
        write_text(folder / "train.json", to_json(spec))
        write_text(
            folder / "metrics.json",
            to_json(MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(indices // 4, indices))),
        )
        for seed in range(seeds[task]):
            _write_run(folder / f"seed{seed}", spec, seed, middle)
    for study, task in dict.fromkeys(
        (study, facts[0]) for study, _, facts in arms if facts[0] != "fewshot_classification"
    ):
        _write_components(root / study / "series" / task, study, task, seeds[task], checkpoints)
    return root


def _change(step: int, steps: int, middle: float | None, seed: int) -> float:
    """The share of the phase change that a run has completed at a step, 0 to 1."""
    if middle is None:
        return 0.0
    return 1 / (1 + math.exp(-(step / steps - middle * (1 + 0.04 * (seed % 5 - 2))) * 60))


def _write_run(run: Path, spec: ArmSpec, seed: int, middle: float | None) -> None:
    rng = random.Random(stream_seed("synthetic", spec.arm, seed))
    steps, model = spec.train.steps, spec.model
    key = {"study": spec.study, "arm": spec.arm, "seed": seed}
    heads = list(itertools.product(range(model.n_layers), range(model.n_heads)))
    inducing_layer = 0 if model.smeared_keys else min(1, model.n_layers - 1)
    strength = {h: rng.uniform(0.45, 0.85) if h[0] == inducing_layer and h[1] != 2 else 0.02 for h in heads}
    index_losses = []
    for step in spec.train.checkpoints.steps(steps):
        done, decay = _change(step, steps, middle, seed), math.exp(-step / steps * 8)
        rows = [
            {"metric": "loss", "value": 3.2 + 1.7 * decay + 1.1 * (1 - done) + rng.gauss(0, 0.01)},
            {"metric": "icl_score", "value": -0.2 * (1 - decay) - 1.5 * done + rng.gauss(0, 0.02)},
            {"metric": "icl_spread", "value": 0.8},
        ]
        if spec.task_name == "bigram_mixture":
            for donor, lost in (("same_table", 0.0), ("other_table", -1.0)):
                rows.append({"metric": f"context_swap:copied:{donor}", "value": -4.0 * done})
                rows.append(
                    {"metric": f"context_swap:inferred:{donor}", "value": lost * (1 - decay) + rng.gauss(0, 0.02)}
                )
            rows += [
                {"metric": f"topic_log_odds:{w}", "value": v * (1 - decay)} for w, v in (("early", 1), ("late", 2))
            ]
        if spec.task_name == "icl_questions":
            rows += [{"metric": f"answer_probability:{kind}", "value": done} for kind in KINDS]
        if spec.task_name == "fewshot_classification":
            kinds = ("in_distribution", "relabelled", "novel_classes")
            rows = [{"metric": f"query_loss:{kind}", "value": 0.7 + decay - 0.69 * done} for kind in kinds]
        rows.append({"metric": "repeated_sequence_gain", "value": 4.0 * done})
        for layer, head in heads if spec.model.has_heads else ():
            one = {"layer": layer, "head": head}
            induces = done * strength[layer, head]
            copying = 2 * induces - 0.3 * rng.random() if layer == inducing_layer else rng.uniform(-0.4, 0.3)
            rows += [
                one | {"metric": "prefix_matching", "value": induces + abs(rng.gauss(0, 0.01))},
                one | {"metric": "copying", "value": copying},
                one | {"metric": "previous_token", "value": 0.6 * done * rng.random() if layer == 0 else 0.05},
                one | {"metric": "qk_trace", "value": 400 * induces + rng.gauss(0, 20) if layer else None},
                one | {"metric": "ov_eigenvalues", "value": min(1.0, copying + rng.gauss(0, 0.1))},
                one | {"metric": "induction_strength", "value": induces},
                one | {"metric": "label_to_exemplar", "value": done * (head % 2) if layer == 0 else 0.1},
            ]
            if spec.task_name == "synonyms":
                rows += [
                    one | {"metric": "translation_prefix_matching", "value": 0.8 * induces + abs(rng.gauss(0, 0.01))},
                    one | {"metric": "translation_prefix_matching_shuffled", "value": abs(rng.gauss(0, 0.01))},
                ]
        rows = [key | {"step": step, "metric_version": 1, "n_items": 10} | row for row in rows]
        tables.write_rows("scores", rows, run / "score" / f"step{step:08d}.parquet")
        for index, token_class in itertools.product(range(1, model.n_ctx), ("all", "copyable", "other")):
            gain = 0.05 * decay + {"all": 0.4, "copyable": 0.7, "other": 0.05}[token_class] * done
            loss = 4.5 + decay - gain * math.log(index)
            row = {"step": step, "eval_set": "heldout", "token_class": token_class, "index": index, "loss": loss}
            index_losses.append(key | row | {"n_items": 100})
    tables.write_rows("index_losses", index_losses, run / "score" / "index_losses.parquet")
    _write_trajectories(run, key, spec, middle, seed)
    _write_ablations(run, key, spec, middle, seed, strength, rng)
    rows = [
        key
        | {"step": steps, "source": f"{layer}.{head}", "layer": layer, "head": head, "target": "next_in_repeat"}
        | {"metric": metric, "metric_version": 1, "value": scale * strength[layer, head] * (middle is not None)}
        for layer, head in heads
        for metric, scale in (("direct_logit", 5), ("direct_logit_positive", 1))
    ]
    tables.write_rows("attributions", rows, run / "attribute" / "attributions.parquet")


def _write_trajectories(run: Path, key: dict, spec: ArmSpec, middle: float | None, seed: int) -> None:
    centre = None if middle is None else spec.train.steps * middle * (1 + 0.04 * (seed % 5 - 2))
    half = spec.train.steps * 0.05
    values = {
        "window_start": None if centre is None else max(0, centre - half),
        "window_end": None if centre is None else centre + half,
        "icl_midpoint": centre,
        "prefix_midpoint": None if centre is None else centre - 5,
        "induction_onset_step": centre,
        "phase_change_fraction": 0.1 if centre else 0.8,
        "loss_bump_size": 0.6 if centre else 0.01,
        "learned_step": centre,
        "log_loss_concavity": 0.5,
    }
    rows = [key | {"metric": name, "metric_version": 1, "value": value} for name, value in values.items()]
    tables.write_rows("trajectories", rows, run / "score" / "trajectories.parquet")


def _write_ablations(run: Path, key: dict, spec: ArmSpec, middle, seed: int, strength: dict, rng) -> None:
    rows = []
    last = spec.train.steps
    for step in spec.train.checkpoints.steps(last):
        done = _change(step, last, middle, seed)
        baseline = {"loss": 4.5 - done, "icl_score": -0.2 - 1.5 * done, "before_after": 0.0}
        for (layer, head), downstream in itertools.product(strength, ("recomputed", "frozen_patterns")):
            effect = 0.25 * done * strength[layer, head] + rng.gauss(0, 0.01)
            if downstream == "recomputed" and layer == 0 and head < 2:
                effect += 0.5 * done
            for metric, sign in (("loss", 1), ("icl_score", 1), ("before_after", -1)):
                row = {"intervention": "zero", "downstream": downstream, "selection": "single"}
                row |= {"heads": f"{layer}.{head}", "layer": layer, "head": head}
                row |= {"metric": metric, "value": baseline[metric] + sign * effect, "baseline": baseline[metric]}
                rows.append(key | {"step": step, "metric_version": 1, "n_items": 64} | row)
    joint = [
        ("zero", "recomputed"),
        ("zero", "frozen_patterns"),
        ("mean", "recomputed"),
        ("norm_matched", "recomputed"),
    ]
    for selection, replicates in (("induction", 1), ("previous_token", 1), ("random", 4)):
        for replicate, (intervention, downstream) in itertools.product(range(replicates), joint):
            effect = {"induction": 1.4, "previous_token": 1.2, "random": 0.2}[selection] * (middle is not None)
            if downstream == "frozen_patterns" and selection == "previous_token":
                effect = 0.0
            row = {"intervention": intervention, "downstream": downstream, "selection": selection}
            row |= {"replicate": replicate, "heads": "0.0+0.1", "metric": "icl_score"}
            row |= {"value": -1.7 + effect + rng.gauss(0, 0.05), "baseline": -1.7}
            rows.append(key | {"step": last, "metric_version": 1, "n_items": 64} | row)
            for kind in KINDS if spec.task_name == "icl_questions" else ():
                answers = {"metric": f"answer_probability:{kind}", "value": 0.9 - 0.5 * effect, "baseline": 0.9}
                rows.append(key | {"step": last, "metric_version": 1, "n_items": 64} | row | answers)
    if spec.task_name == "fewshot_classification" and spec.model.n_layers > 1:
        rows = [
            key | {"metric_version": 1, "n_items": 64, "baseline": 1.0} | row for row in _answers(spec, strength, rng)
        ]
    tables.write_rows("ablations", rows, run / "ablate" / "ablations.parquet")


def _answers(spec: ArmSpec, strength: dict, rng):
    """Rows of table `ablations` like those of runs on few-shot classification."""
    last, heads = spec.train.steps, range(spec.model.n_heads)
    zero = {"intervention": "zero", "heads": "0.0"}
    for step in spec.train.checkpoints.steps(last):
        for downstream in ("recomputed", "frozen_patterns_and_values"):
            row = zero | {"step": step, "downstream": downstream, "selection": "layer", "layer": 0}
            yield row | {"metric": "query_loss:in_distribution", "value": 1.0 + 0.1 * (step < last / 2)}
    made = [("recomputed", "single", {"head": h}, 0.99) for h in heads]
    made += [("recomputed", "all_but", {"head": h}, strength[1, h]) for h in heads]
    made += [("recomputed", "strongest", {"k": h + 1}, 0.7 + 0.1 * h) for h in heads]
    for downstream in ("recomputed", "frozen_patterns", "frozen_values"):
        made += [(downstream, selection, {}, 0.5 + 0.4 * rng.random()) for selection in ("previous_token", "others")]
        made += [(downstream, "wire", {"source_head": a, "head": b}, rng.random()) for a in heads for b in heads]
    for downstream, selection, facts, value in made:
        row = zero | {"step": last, "downstream": downstream, "selection": selection, "layer": 1} | facts
        for metric in ("query_accuracy:in_distribution", "query_loss:in_distribution"):
            yield row | {"metric": metric, "value": value}


def _write_components(folder: Path, study: str, task: str, seeds: int, checkpoints: int) -> None:
    arms = ((arm, mlp, middle) for arm, (its_task, _, _, mlp, middle) in STUDIES[study].items() if its_task == task)
    for (arm, mlp, middle), seed in itertools.product(arms, range(seeds)):
        run = {"study": study, "arm": arm, "seed": seed}
        steps = 4000 if mlp else 1600
        points = []
        for step in range(0, steps + 1, max(1, steps // checkpoints)):
            done = _change(step, steps, middle, seed)
            first, second = -10 + 30 * done, 8 - 20 * (1 - math.exp(-step / steps * 8)) + 12 * done + 0.4 * seed
            for component, value in ((1, first + seed * 0.3), (2, second)):
                points.append(run | {"step": step, "component": component, "value": value})
        tables.write_rows("loss_components", points, folder / f"{arm}.seed{seed}.parquet")
        angle = {"metric": "pca_turn_angle", "metric_version": 1, "value": None if middle is None else 100.0 + seed}
        tables.write_rows("trajectories", [run | angle], folder / f"{arm}.seed{seed}.trajectories.parquet")


@pytest.fixture(scope="session")
def small_results(tmp_path_factory) -> Path:
    """A results folder as small as the smoke scale's."""
    return write_results(
        tmp_path_factory.mktemp("results"),
        dict.fromkeys(("repeated_phrases", "synonyms", "bigram_mixture", "icl_questions", "fewshot_classification"), 2)
        | {"source_text": 1},
        4,
        indices=15,
    )

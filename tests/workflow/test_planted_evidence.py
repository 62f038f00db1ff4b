"""Every claim can hold and fail on planted evidence; corrupted evidence changes or voids its verdict."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from reinduce.judge.claims import judge_claim
from tests.project import ROOT
from tests.workflow.planting import Planter

CLAIMS = [
    f"{path.parent.name}.{claim['id']}"
    for path in sorted((ROOT / "workflow/studies").glob("*/claims.yaml"))
    for claim in yaml.safe_load(path.read_text())
]


@pytest.fixture(scope="module")
def planter(smoke):
    """A planter for a claim, over the tables of the smoke run."""
    made = {}

    def get(name: str) -> Planter:
        if name not in made:
            study, claim = name.split(".")
            results = smoke.root / "results/smoke"
            resolved = json.loads((results / study / "claims" / f"{claim}.json").read_text())
            made[name] = Planter(results, resolved)
        return made[name]

    return get


@pytest.mark.parametrize("name", CLAIMS)
def test_evidence_on_either_side_determines_the_verdict(name, planter, tmp_path):
    """The rows that the query reads are planted, not its result."""
    plant = planter(name)
    for side in ("holds", "fails"):
        planted = plant.search(getattr(plant.criterion, side))
        assert planted is not None, f"no rows were found for which it {side}"
        claim = plant.write(planted, tmp_path / side)
        judged, _ = judge_claim(claim, 1, tmp_path / side)
        assert judged["verdict"] == side, judged["reason"]


def relabelled(rows: pa.Table, column: str, names: dict) -> pa.Table:
    place = rows.column_names.index(column)
    new = [names.get(name, name) for name in rows[column].to_pylist()]
    return rows.set_column(place, column, pa.array(new, rows.schema.field(column).type))


def changed(rows: pa.Table, values, where=None) -> pa.Table:
    """Rows with column `value` changed by the function `values`; `where`: only in these rows."""
    old = np.array(rows["value"].to_pylist(), dtype=float)
    affected = np.ones(len(rows), bool) if where is None else np.array(where)
    new = [float(v) if np.isfinite(v) else None for v in np.where(affected, values(old), old)]
    return rows.set_column(rows.column_names.index("value"), "value", pa.array(new, pa.float64()))


def swapped(one: str, other: str) -> dict:
    return {one: other, other: one}


def arms_swapped(tables):
    return tables | {"scores": relabelled(tables["scores"], "arm", swapped("attn1", "attn2"))}


def seeds_shuffled_between_rows(tables):
    rows = tables["trajectories"]
    shuffled = np.random.default_rng(0).permutation(rows["seed"].to_pylist())
    return tables | {
        "trajectories": rows.set_column(rows.column_names.index("seed"), "seed", pa.array(shuffled, pa.int32()))
    }


def seeds_shuffled_in_one_of_two_tables(tables):
    seeds = sorted(set(tables["ablations"]["seed"].to_pylist()))
    shifted = dict(zip(seeds, [*seeds[1:], seeds[0]], strict=True))
    return tables | {"ablations": relabelled(tables["ablations"], "seed", shifted)}


def metric_scaled(tables):
    return tables | {"scores": changed(tables["scores"], lambda v: v / 1e5)}


def metric_in_other_units(tables):
    rows = tables["trajectories"]
    midpoints = [name.startswith("icl_midpoint:") for name in rows["metric"].to_pylist()]
    return tables | {"trajectories": changed(rows, lambda v: 1000 * v, midpoints)}


def metric_negated(tables):
    return tables | {"scores": changed(tables["scores"], np.negative)}


def metrics_swapped(tables):
    return tables | {"scores": relabelled(tables["scores"], "metric", swapped("prefix_matching", "previous_token"))}


def layers_swapped(tables):
    return tables | {"scores": relabelled(tables["scores"], "layer", swapped(0, 2))}


def downstreams_swapped(tables):
    return tables | {
        "ablations": relabelled(tables["ablations"], "downstream", swapped("frozen_patterns", "frozen_values"))
    }


def selections_swapped(tables):
    return tables | {"ablations": relabelled(tables["ablations"], "selection", swapped("induction", "random"))}


def baselines_taken_for_effects(tables):
    rows = tables["ablations"]
    return tables | {"ablations": rows.set_column(rows.column_names.index("value"), "value", rows["baseline"])}


def one_seed_left_out(tables):
    return {table: rows.filter(pc.not_equal(rows["seed"], 3)) for table, rows in tables.items()}


def one_seed_counted_twice(tables):
    return {table: relabelled(rows, "seed", {4: 3}) for table, rows in tables.items()}


def one_seed_not_measured(tables):
    rows = tables["trajectories"]
    return tables | {"trajectories": changed(rows, lambda v: v * np.nan, pc.equal(rows["seed"], 2).to_pylist())}


def control_given_the_claims_own_rows(tables):
    rows = tables["trajectories"]
    own = rows.filter(pc.equal(rows["arm"], "attn2"))
    others = rows.filter(pc.not_equal(rows["arm"], "attn1"))
    return tables | {"trajectories": pa.concat_tables([others, relabelled(own, "arm", {"attn2": "attn1"})])}


CORRUPTIONS = [
    (arms_swapped, "olsson2022.one-layer-no-induction-head"),
    (arms_swapped, "olsson2022.one-layer-exception"),
    (seeds_shuffled_between_rows, "olsson2022.abrupt-icl"),
    (seeds_shuffled_in_one_of_two_tables, "olsson2022.ablation-follows-prefix-matching"),
    (metric_scaled, "olsson2022.smeared-keys-one-layer-heads"),
    (metric_in_other_units, "olsson2022.any-index-pair"),
    (metric_negated, "olsson2022.smeared-keys-one-layer-heads"),
    (metrics_swapped, "olsson2022.smeared-keys-one-layer-heads"),
    (layers_swapped, "olsson2022.induction-heads-in-last-layer"),
    (downstreams_swapped, "singh2024.previous-token-heads-make-keys"),
    (selections_swapped, "olsson2022.joint-ablation-removes-icl"),
    (baselines_taken_for_effects, "olsson2022.joint-ablation-removes-icl"),
    (one_seed_left_out, "olsson2022.abrupt-icl"),
    (one_seed_counted_twice, "olsson2022.abrupt-icl"),
    (one_seed_not_measured, "olsson2022.abrupt-icl"),
    (control_given_the_claims_own_rows, "olsson2022.abrupt-icl"),
]


@pytest.mark.parametrize(("corrupt", "name"), CORRUPTIONS, ids=lambda part: getattr(part, "__name__", part))
def test_corrupted_evidence_changes_or_voids_the_verdict(corrupt, name, planter, tmp_path):
    """Files are not verified here, only judged: test_trace has the refusal of changed files."""
    plant = planter(name)
    # Shuffling seeds has an effect only if seeds differ.
    planted = plant.search(plant.criterion.holds, unlike=corrupt is seeds_shuffled_in_one_of_two_tables)
    assert judge_claim(plant.write(planted, tmp_path / "before"), 1, tmp_path / "before")[0]["verdict"] == "holds"
    try:
        judged, _ = judge_claim(plant.write(corrupt(planted), tmp_path / "after"), 1, tmp_path / "after")
    except (ValueError, FileNotFoundError) as refused:
        assert "seed" in str(refused)
    else:
        assert judged["verdict"] != "holds", judged

"""Ablations of heads: against one plain pass an edit, on a model whose circuit is planted."""

import pytest
import torch

from reinduce.config.find import find_all
from reinduce.config.job_specs import ModelSpec, from_dict
from reinduce.metrics.inputs import AblationInputs
from reinduce.model.interventions import Intervention
from reinduce.model.transformer import Transformer
from reinduce.studies.singh2024.answers import score_answers
from reinduce.studies.singh2024.interventions import rank_heads, silence_heads
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec, sequences

SPEC = FewshotSpec(classes=12, new_classes=7, features=16)
TOKENS = sequences(SPEC, "in_distribution", 200, 3)
HEADS = 4
STRENGTHS = (0.2, 0.9, -0.1, 0.5)
SCORES = [
    {"metric": "induction_strength:first_half", "layer": 1, "head": head, "value": value}
    for head, value in enumerate(STRENGTHS)
] + [
    {"metric": "label_to_exemplar:first_half", "layer": 0, "head": head, "value": value}
    for head, value in enumerate((0.8, 0.1, 0.5, 0.3))
]


@pytest.fixture(scope="module")
def model():
    values = {"n_layers": 2, "d_model": 32, "n_heads": HEADS, "vocab_size": 5, "n_ctx": 5, "d_features": 16}
    made = Transformer(from_dict(ModelSpec, values | {"positions": "rotary"})).init_weights(0)
    return made.set_features(torch.rand(19, 16, generator=torch.Generator().manual_seed(1))).requires_grad_(False)


@pytest.fixture(scope="module")
def rows(model):
    return effects(model)


def effects(model, scores=SCORES, is_end=True):
    return list(silence_heads(AblationInputs(model, {}, TOKENS, scores, is_end)))


def silenced(model, heads, kept=()):
    """The plain way: heads put to zero one by one, sites of the last layer put as they were."""
    read = TOKENS[:, :5]
    _, intact = model(read, names=[f"blocks.1.attn.{site}" for site in ("pattern", "v")])
    edits = [Intervention(f"blocks.{layer}.attn.z", 0.0, head) for layer, head in heads]
    edits += [Intervention(f"blocks.1.attn.{site}", intact[f"blocks.1.attn.{site}"]) for site in kept]
    return score_answers(model(read, edits)[0][:, -1], TOKENS)


def heads_of(row):
    return [tuple(int(i) for i in name.split(".")) for name in row["heads"].split("+") if name]


def test_every_effect_is_that_of_a_plain_pass(model, rows):
    sites = {"recomputed": (), "frozen_patterns": ("pattern",), "frozen_values": ("v",)}
    sites["frozen_patterns_and_values"] = ("pattern", "v")
    losses = [row for row in rows if row["metric"] == "query_loss:in_distribution"]
    assert len(losses) == 1 + 4 + 8 + 4 + 4 + 2 * 3 + 2 * 16
    for row in losses:
        assert row["value"] == pytest.approx(
            silenced(model, heads_of(row), sites[row["downstream"]])["query_loss"], abs=1e-6
        ), row
    intact = silenced(model, [])
    assert all(row["baseline"] == pytest.approx(intact["query_loss"]) for row in losses)


def test_heads_are_chosen_by_their_scores(rows):
    assert rank_heads(SCORES, 1) == [[1], [1, 3], [1, 3, 0], [1, 3, 0, 2]]
    strongest = {row["k"]: heads_of(row) for row in rows if row["selection"] == "strongest"}
    assert strongest[1] == [(1, 0), (1, 2), (1, 3)] and strongest[4] == []
    parts = {row["selection"]: heads_of(row) for row in rows if row["selection"] in ("previous_token", "others")}
    assert parts == {"previous_token": [(0, 0), (0, 2)], "others": [(0, 1), (0, 3)]}
    wire = next(row for row in rows if row["selection"] == "wire" and (row["source_head"], row["head"]) == (2, 1))
    assert heads_of(wire) == [(0, 0), (0, 1), (0, 3), (1, 0), (1, 2), (1, 3)]
    alone = next(row for row in rows if row["selection"] == "all_but" and row["head"] == 3)
    assert heads_of(alone) == [(1, 0), (1, 1), (1, 2)]


def test_between_the_ends_layers_alone_are_looked_at(model):
    found = effects(model, is_end=False)
    assert {row["selection"] for row in found} == {"layer"}
    assert {row["layer"] for row in found if row["downstream"] == "recomputed"} == {0, 1}


def test_one_layer_has_nothing_below():
    values = {"n_layers": 1, "d_model": 32, "n_heads": HEADS, "vocab_size": 5, "n_ctx": 5, "d_features": 16}
    one = Transformer(from_dict(ModelSpec, values)).init_weights(0).set_features(torch.rand(19, 16))
    found = effects(one, scores=[])
    assert {row["selection"] for row in found} == {"layer", "single", "all_but"}


def test_all_ways_of_answering_are_measured(rows):
    names = {"query_loss", "query_accuracy", "in_context_accuracy"}
    assert {row["metric"] for row in rows} == {f"{name}:in_distribution" for name in names}
    assert len(rows) % len(names) == 0


def test_only_arms_on_this_task_have_these_ablations():
    [declared] = find_all("ablation", "singh2024").values()
    assert (declared.name, declared.evaluation_set, declared.owner) == ("silence_heads", "in_distribution", "singh2024")
    assert find_all("ablation", "olsson2022") == find_all("ablation", "review2026") == {}

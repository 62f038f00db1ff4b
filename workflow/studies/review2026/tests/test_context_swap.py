"""Swapped contexts against models whose knowledge is planted: what they take from context is known."""

import pytest
import torch

from reinduce.config.metric_settings import MetricSettings
from reinduce.config.task_definition import read_task
from reinduce.metrics.inputs import EvaluationSets, MetricInputs
from reinduce.model.transformer import token_losses
from reinduce.studies.review2026.metrics import (
    Contexts,
    classify_tokens,
    compare_topics,
    context_swap,
    read_contexts,
    topic_log_odds,
)
from reinduce.tasks.token_classes import completes_seen_bigram


@pytest.fixture
def sets(prepare):
    spec = {"vocab_size": 128, "n_ctx": 128}
    _, folder = prepare("review2026.bigram_mixture", spec, {"heldout_examples": 60})
    return EvaluationSets(folder, read_task(folder / "task.json"))


@pytest.fixture
def prepared(sets):
    return sets["heldout"].tokens, read_contexts(sets)


def test_donors_share_the_table_or_do_not(prepared):
    tokens, contexts = prepared
    for donor, same in (("same_table", True), ("other_table", False)):
        other = contexts.donors[donor]
        assert not (other == tokens).all(dim=1).any()
        own = contexts.tables_KVS[contexts.table][torch.arange(60)[:, None], other[:, :-1]]
        share = (own == other[:, 1:, None]).any(dim=-1).double().mean().item()
        assert (share > 0.25) == same


def test_copied_tokens_stand_in_the_swapped_part_and_inferred_ones_nowhere(prepared):
    tokens, contexts = prepared
    classes = classify_tokens(tokens, contexts, cut=104)
    assert not (classes["copied"] & classes["inferred"]).any()
    assert completes_seen_bigram(tokens)[:, 1:][classes["copied"]].all()
    assert not completes_seen_bigram(tokens)[:, 1:][classes["inferred"]].any()
    late = {name: member[:, 111:].sum().item() for name, member in classes.items()}
    assert late["copied"] > 50 and late["inferred"] > 50
    for b, i in classes["copied"].nonzero()[::40].tolist():
        bigrams = [tuple(tokens[b, j - 1 : j + 1].tolist()) for j in range(2, i + 1)]
        now = tuple(tokens[b, i : i + 2].tolist())
        assert now in bigrams[: 104 - 2] and now not in bigrams[104 - 2 :]


class Oracle:
    """A model whose every prediction is known: the table's successors, or a copy, or nothing."""

    def __init__(self, contexts: Contexts, knows_table: bool, copies: bool):
        self.contexts, self.knows_table, self.copies = contexts, knows_table, copies

    def __call__(self, tokens):
        logits = torch.zeros(*tokens.shape, 128)
        tables = self.contexts.tables_KVS
        for b, row in enumerate(tokens.tolist()):
            if self.knows_table:
                # The table that explains most bigrams of what is read.
                votes = (tables[:, tokens[b, :-1]] == tokens[b, 1:, None]).any(-1).sum(-1)
                logits[b].scatter_(1, tables[votes.argmax(), tokens[b]], 5.0)
            if self.copies:
                seen = {}
                for i in range(1, len(row) - 1):
                    seen[row[i]] = row[i + 1]
                    if row[i + 1] in seen:
                        logits[b, i + 1, seen[row[i + 1]]] = 9.0
        return logits, {}


@pytest.mark.parametrize("knows_table", [False, True])
@pytest.mark.parametrize("copies", [False, True])
def test_swaps_tell_copying_from_inference(prepared, sets, pairs, knows_table, copies):
    tokens, contexts = prepared
    model = Oracle(contexts, knows_table, copies)
    settings = MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120))
    inputs = MetricInputs(model, sets, settings, tokens, token_losses(model(tokens)[0], tokens))
    found = {f"context_swap:{name}": made for name, made in context_swap(inputs).items()}
    found |= {f"topic_log_odds:{name}": made for name, made in topic_log_odds(inputs).items()}
    assert len(found) == 4 + 2
    value = {name: score for name, (score, n) in found.items()}
    assert all(n > 10 for _, n in found.values())
    assert (value["context_swap:copied:other_table"] < -1.5) == copies
    assert (value["context_swap:copied:same_table"] < -1.5) == copies
    assert (value["context_swap:inferred:other_table"] < -1.5) == knows_table
    assert abs(value["context_swap:inferred:same_table"]) < 0.5
    assert (value["topic_log_odds:late"] > 1.5) == knows_table


def test_a_model_that_knows_nothing_has_no_log_odds_of_the_table(prepared, pairs):
    tokens, contexts = prepared
    [(found, n)] = compare_topics(Oracle(contexts, False, False), tokens, contexts, [pairs[0].late], 104)
    assert found == pytest.approx(0, abs=1e-9) and n > 50


def test_a_checkpoint_is_scored_by_swaps_of_its_own_passes(score):
    found = score("review2026.bigram_mixture", evaluation={"heldout_examples": 60})
    classes, donors = ("copied", "inferred"), ("same_table", "other_table")
    assert {name for name in found.of_model if name.startswith("context_swap")} == {
        f"context_swap:{name}:{donor}" for name in classes for donor in donors
    }
    tokens, contexts, pair = (
        found.sets["heldout"].tokens,
        read_contexts(found.sets),
        found.settings.icl_position_ranges[0],
    )
    other = torch.cat((contexts.donors["other_table"][:, :104], tokens[:, 104:]), dim=1)
    change = token_losses(found.model(tokens)[0], tokens) - token_losses(found.model(other)[0], other)
    member = classify_tokens(tokens, contexts, 104)["copied"]
    late = slice(pair.late[0] - 1, pair.late[1])
    expected = change[:, late][member[:, late]].double().mean().item()
    assert found.of_model["context_swap:copied:other_table"] == pytest.approx(expected, abs=1e-5)
    n = {row["metric"]: row["n_items"] for row in found.rows}
    assert n["context_swap:copied:other_table"] == int(member[:, late].sum())
    assert {"topic_log_odds:early", "topic_log_odds:late"} <= set(found.of_model)


def test_other_tasks_have_no_contexts_to_swap(score):
    found = score("repeated_phrases", chosen=["loss"])
    assert "contexts" not in found.sets
    with pytest.raises(KeyError):
        read_contexts(found.sets)

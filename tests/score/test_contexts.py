"""Swapped contexts against models whose knowledge is planted: what they take from context is known."""

import pytest
import torch
from reinduce.score.contexts import Contexts, context_scores, read_contexts, table_advantages, token_classes
from reinduce.task.evaluation import copyable, read_examples

from reinduce.model.transformer import token_losses


@pytest.fixture
def prepared(prepare):
    _, folder = prepare("topics", {"vocab_size": 128, "n_ctx": 128}, {"heldout_examples": 60})
    return read_examples(folder / "heldout.parquet"), read_contexts(folder)


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
    classes = token_classes(tokens, contexts, cut=104)
    assert not (classes["copied"] & classes["inferred"]).any()
    assert copyable(tokens)[:, 1:][classes["copied"]].all()
    assert not copyable(tokens)[:, 1:][classes["inferred"]].any()
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
def test_swaps_tell_copying_from_inference(prepared, pairs, knows_table, copies):
    tokens, contexts = prepared
    model = Oracle(contexts, knows_table, copies)
    found = context_scores(model, tokens, token_losses(model(tokens)[0], tokens), contexts, pairs[0])
    value = {name: score for name, (score, n) in found.items()}
    assert all(n > 10 for _, n in found.values())
    assert (value["swap_copied:other_table"] < -1.5) == copies
    assert (value["swap_copied:same_table"] < -1.5) == copies
    assert (value["swap_inferred:other_table"] < -1.5) == knows_table
    assert abs(value["swap_inferred:same_table"]) < 0.5
    assert (value["table_advantage_late"] > 1.5) == knows_table


def test_a_model_that_knows_nothing_has_no_table_advantage(prepared, pairs):
    tokens, contexts = prepared
    [(found, n)] = table_advantages(Oracle(contexts, False, False), tokens, contexts, [pairs[0].late], 104)
    assert found == pytest.approx(0, abs=1e-9) and n > 50

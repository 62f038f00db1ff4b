"""Metrics on heads built by hand to be exactly what a name says.

A planted head's pattern, values or weights are known, so its score is known: a perfect
induction head scores 1, a previous-token head 0 on prefix matching, an even head chance.
"""

import math

import pytest
import torch

from reinduce.config.job_specs import ModelSpec
from reinduce.config.metric_settings import MetricSettings, PositionRanges
from reinduce.metrics import heads, weights
from reinduce.metrics.heads import match_prefixes, repeat_offsets, score_copying
from reinduce.metrics.inputs import MetricInputs, select_diagonals
from reinduce.metrics.weights import head_weights
from reinduce.model.patterns import induction_pattern, induction_targets, previous_token_pattern
from reinduce.model.transformer import Transformer

PERIOD, REPEATS, VOCABULARY = 25, 4, 64


@pytest.fixture
def repeated():
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randperm(VOCABULARY - 1, generator=generator)[:PERIOD] + 1 for _ in range(10)])
    return torch.cat((torch.zeros(10, 1, dtype=torch.int64), rows.repeat(1, REPEATS)), dim=1)


def matched(pattern: torch.Tensor) -> torch.Tensor:
    """Prefix matching of a planted pattern."""
    return match_prefixes(select_diagonals(pattern, repeat_offsets(PERIOD, pattern.shape[-1])), PERIOD)


def previous_token(pattern: torch.Tensor) -> torch.Tensor:
    """The previous-token score of a planted pattern."""
    return heads.previous_token(inputs_of(None, cache={"blocks.0.attn.pattern": pattern}), 0)


def ov_eigenvalues(model: Transformer, layer: int) -> torch.Tensor:
    return weights.ov_eigenvalues(inputs_of(model), layer)


def qk_trace(model: Transformer, layer: int, previous_token_LH: list[torch.Tensor]) -> torch.Tensor | None:
    return weights.qk_trace(inputs_of(model, values={"previous_token": previous_token_LH}), layer)


def inputs_of(model: Transformer | None, **planted) -> MetricInputs:
    """What a metric is computed from, where nothing is read of evaluation sets."""
    return MetricInputs(
        model,
        {},
        MetricSettings(icl_position_ranges=[PositionRanges(early=(1, 1), late=(2, 2))], loss_slope_positions=(1, 2)),
        **planted,
    )


def even_pattern(T: int) -> torch.Tensor:
    return torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None]


def induction_circuit(temperature: float = 200.0) -> Transformer:
    """A two-layer attention-only model that does induction by hand-set weights alone.

    The residual stream holds the token (one-hot) and, beside it, room for the previous
    token. Layer 0 attends one token back, by position, and writes what it finds into that
    room; layer 1 looks for the room that holds its own token and copies the token there.
    """
    V, context = VOCABULARY, 1 + PERIOD * REPEATS
    D = 2 * V
    spec = ModelSpec(n_layers=2, d_model=D, n_heads=1, vocab_size=V, n_ctx=context, layer_norm=False)
    model = Transformer(spec).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    # Tokens are written small beside positions, so that the first layer's scores are by position.
    model.W_E[:, :V] = 0.01 * torch.eye(V)
    model.W_U[:, :V] = torch.eye(V)
    first, second = model.blocks[0].attn, model.blocks[1].attn
    Q, K, W = (slice(i * D, (i + 1) * D) for i in range(3))
    # Positions are sinusoids in pairs: turning every pair by its own angle is one step back.
    rate = torch.exp(torch.arange(0, D, 2).float() * (-math.log(10_000.0) / D))
    back = torch.zeros(D, D)
    for i, angle in enumerate(rate.tolist()):
        c, s = math.cos(angle), math.sin(angle)
        back[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[c, -s], [s, c]])
    first.W_QKV[Q], first.W_QKV[K] = temperature * back, torch.eye(D)
    first.W_QKV[W] = torch.eye(D)
    first.W_O[V:, :V] = torch.eye(V)
    second.positions_TD.zero_()
    second.W_QKV[Q][:V, :V] = temperature * 1e4 * torch.eye(V)
    second.W_QKV[K][:V, V:] = torch.eye(V)
    second.W_QKV[W][:V, :V] = torch.eye(V)
    # Twice: what is copied must outweigh the token that is there already.
    second.W_O[:V, :V] = 2 * torch.eye(V)
    return model


class TestPlantedPatterns:
    def test_a_perfect_induction_head_scores_one(self, repeated):
        score = matched(induction_pattern(repeated)[:, None])
        assert score.item() >= 0.99

    def test_attention_to_the_latest_repeat_alone_scores_one_too(self, repeated):
        """The metric sums over earlier repeats: it does not ask to spread."""
        pattern = torch.zeros(10, 1, *even_pattern(101).shape)
        for query in range(1 + PERIOD, 101):
            pattern[:, 0, query, query - PERIOD + 1] = 1
        assert matched(pattern).item() == pytest.approx(1)

    def test_offset_minus_one_scores_nothing(self, repeated):
        """Attending to the token *before* the earlier occurrence is another head's work."""
        pattern = torch.zeros(10, 1, 101, 101)
        for query in range(1 + PERIOD, 101):
            pattern[:, 0, query, query - PERIOD - 1] = 1
        assert matched(pattern).item() < 0.01

    def test_attention_to_the_same_token_scores_nothing(self, repeated):
        pattern = torch.zeros(10, 1, 101, 101)
        for query in range(1 + PERIOD, 101):
            pattern[:, 0, query, query - PERIOD] = 1
        assert matched(pattern).item() < 0.01

    def test_a_previous_token_head_scores_nothing_on_prefix_matching(self, repeated):
        pattern = previous_token_pattern(101).expand(10, 1, -1, -1)
        assert matched(pattern).item() < 0.01
        assert previous_token(pattern).item() == pytest.approx(1)

    def test_an_even_head_scores_chance(self, repeated):
        pattern = even_pattern(101).expand(10, 1, -1, -1)
        chance = torch.cat(
            [
                torch.full((PERIOD,), float(r)) / torch.arange(1 + r * PERIOD + 1, 1 + (r + 1) * PERIOD + 1)
                for r in (1, 2, 3)
            ]
        ).mean()
        assert matched(pattern).item() == pytest.approx(chance.item(), rel=1e-4)
        assert chance < 0.04

    def test_heads_are_scored_each_by_itself(self, repeated):
        planted = induction_pattern(repeated)[:, None]
        pattern = torch.cat((planted * 0, planted, planted * 0.5), dim=1)
        torch.testing.assert_close(matched(pattern), torch.tensor([0.0, 1.0, 0.5]))


class TestTargets:
    def test_targets_against_a_loop(self):
        tokens = torch.tensor([[0, 3, 5, 3, 3, 5, 7]])
        targets = induction_targets(tokens)[0]
        for query in range(7):
            for key in range(7):
                expected = 2 <= key <= query and tokens[0, key - 1] == tokens[0, query]
                assert targets[query, key] == expected, (query, key)

    def test_without_an_earlier_occurrence_the_start_token_is_attended(self):
        pattern = induction_pattern(torch.tensor([[0, 1, 2, 1]]))[0]
        assert pattern[2].tolist() == [1, 0, 0, 0]
        assert pattern[3].tolist() == [0, 0, 1, 0]


class TestPlantedModel:
    def test_the_circuit_scores_as_an_induction_head(self, repeated):
        model = induction_circuit()
        names = ["blocks.0.attn.pattern", "blocks.1.attn.pattern"]
        _, cache = model(repeated, names=names)
        assert previous_token(cache[names[0]]).item() >= 0.99
        assert matched(cache[names[0]]).item() < 0.01
        assert matched(cache[names[1]]).item() >= 0.99

    def test_the_circuit_predicts_the_repeats(self, repeated):
        logits, _ = induction_circuit()(repeated)
        assert (logits[:, 1 + PERIOD : -1].argmax(dim=-1) == repeated[:, 2 + PERIOD :]).float().mean() > 0.99

    def test_its_weights_say_so_too(self, repeated):
        model = induction_circuit()
        ones = [torch.ones(1), torch.ones(1)]
        planted = qk_trace(model, 1, ones).item()
        assert planted > 1
        assert ov_eigenvalues(model, 1).item() == pytest.approx(1)
        model.blocks[1].attn.W_QKV[: 2 * VOCABULARY] *= -1
        assert qk_trace(model, 1, ones).item() == pytest.approx(-planted)

    def test_without_a_previous_token_head_the_trace_is_nothing(self):
        assert qk_trace(induction_circuit(), 1, [torch.zeros(1), torch.zeros(1)]).item() == 0

    def test_copying_is_one_for_the_copier_and_minus_one_for_its_opposite(self, repeated):
        model, random = induction_circuit(), repeated[:, : 1 + PERIOD]

        def score() -> float:
            _, cache = model(random, names=["blocks.1.attn.v"])
            return score_copying(model, 1, cache["blocks.1.attn.v"], random).item()

        assert score() >= 0.99
        model.blocks[1].attn.W_O *= -1
        assert score() == pytest.approx(-1)


class TestWeights:
    def test_ov_eigenvalues_against_the_whole_circuit(self, make_model):
        model = make_model()
        V = model.spec.vocab_size
        _, _, W_V, W_O = head_weights(model, 1)
        read = torch.nn.functional.layer_norm(model.W_E, (32,))
        unembedding = model.W_U - model.W_U.mean(dim=0)
        for head, value in enumerate(ov_eigenvalues(model, 1)):
            circuit = unembedding @ W_O[head] @ W_V[head] @ read.T
            assert circuit.shape == (V, V)
            eigenvalues = torch.linalg.eigvals(circuit.double())
            assert value.item() == pytest.approx((eigenvalues.real.sum() / eigenvalues.abs().sum()).item(), abs=1e-3)

    def test_qk_trace_against_the_whole_term(self, make_model):
        model = make_model(n_layers=3)
        generator = torch.Generator().manual_seed(0)
        previous = [torch.rand(4, generator=generator) for _ in range(3)]
        read = torch.nn.functional.layer_norm(model.W_E, (32,))
        W_Q, W_K, _, _ = head_weights(model, 2)
        for head, value in enumerate(qk_trace(model, 2, previous)):
            terms = []
            for earlier in (0, 1):
                _, _, W_V, W_O = head_weights(model, earlier)
                for k in range(4):
                    term = read @ W_Q[head].T @ W_K[head] @ W_O[k] @ W_V[k] @ read.T
                    terms.append(previous[earlier][k].item() * term.trace().item())
            # Terms of either sign may all but cancel: the tolerance is that of their sizes.
            assert value.item() == pytest.approx(sum(terms), abs=1e-4 * sum(map(abs, terms)))

    def test_random_heads_copy_at_chance(self, make_model, repeated):
        model = make_model(vocab_size=VOCABULARY, n_ctx=101, d_model=64)
        random = repeated[:, : 1 + PERIOD]
        _, cache = model(random, names=["blocks.0.attn.v"])
        score = score_copying(model, 0, cache["blocks.0.attn.v"], random)
        assert ((score > -1) & (score < -0.6)).all()


def test_matches_are_those_of_every_earlier_occurrence(repeated):
    """Against the definition spelt out: every key that follows an earlier occurrence of the query's token."""
    pattern = torch.rand(10, 3, repeated.shape[1], repeated.shape[1], generator=torch.Generator().manual_seed(2))
    expected = (pattern * induction_targets(repeated)[:, None])[:, :, 1 + PERIOD :].sum(dim=-1).mean(dim=(0, 2))
    torch.testing.assert_close(matched(pattern), expected)


def test_the_first_layer_has_no_trace():
    assert qk_trace(induction_circuit(), 0, [torch.ones(1), torch.ones(1)]) is None

"""One forward pass for each evaluation set: nothing is run twice, and values are those of plain passes."""

import pytest
import torch

from reinduce.config.arm_contents import applicable_metrics
from reinduce.config.declare import Metric, Tolerance
from reinduce.config.job_specs import ModelSpec
from reinduce.metrics.inputs import MetricInputs, select_diagonals
from reinduce.model.sites import METRIC_SITES, site_kind, site_names
from reinduce.model.transformer import Transformer, token_losses, training_losses
from reinduce.score import passes
from reinduce.score.checkpoint import CheckpointScorer
from reinduce.score.passes import names_of, plan_passes, run_pass
from reinduce.tasks.language import LANGUAGE_SETS


def asking(name="m", **facts) -> Metric:
    """A metric that asks for something."""
    return Metric(name=name, level="model", compute=None, description="", tolerance=Tolerance(reason=""), **facts)


class TestPlans:
    def test_sites_of_one_set_are_put_together(self):
        plan = plan_passes(
            [
                asking(evaluation_set="heldout", sites=("losses",)),
                asking(evaluation_set="heldout", sites=("attention", "losses")),
                asking(evaluation_set="random", sites=("v",)),
            ]
        )
        assert plan == {"heldout": {"losses": None, "attention": None}, "random": {"v": None}}

    @pytest.mark.parametrize(
        ("examples", "together"), [((8, 32), 32), ((32, 8), 32), ((8, None), None), ((None, 8), None)]
    )
    def test_as_many_examples_are_kept_as_the_metric_that_uses_most(self, examples, together):
        plan = plan_passes(asking(evaluation_set="heldout", sites=("v",), examples=n) for n in examples)
        assert plan == {"heldout": {"v": together}}

    def test_each_site_keeps_its_own_number_of_examples(self):
        few = asking(evaluation_set="heldout", sites=("attention",), examples=32)
        plan = plan_passes([few, asking(evaluation_set="heldout", sites=("losses",))])
        assert plan == {"heldout": {"attention": 32, "losses": None}}

    def test_every_set_of_a_metric_on_several_is_run(self):
        plan = plan_passes([asking(evaluation_sets=("one", "two"), sites=("logits",))])
        assert plan == {"one": {"logits": None}, "two": {"logits": None}}

    def test_what_asks_nothing_of_a_pass_costs_none(self):
        """Metrics of weights and of runs, and those that read a set's columns alone."""
        assert plan_passes([asking(), asking(also=("random",)), asking(evaluation_set="heldout")]) == {}


@pytest.fixture
def read(monkeypatch):
    """How many sequences are embedded: without clamps, once for each that a forward pass reads."""
    found = []
    embed = Transformer.embed

    def watching(self, tokens_BT, *args, **options):
        found.append(len(tokens_BT))
        return embed(self, tokens_BT, *args, **options)

    monkeypatch.setattr(Transformer, "embed", watching)
    return found


@pytest.mark.parametrize("copies", [1, 5])
def test_every_set_is_read_once_whatever_the_number_of_metrics(score, read, copies):
    found = score("repeated_phrases", evaluation={"heldout_examples": 80, "repeated_examples": 12})
    several = {}
    for copy in range(copies):
        several |= {f"{name}{copy}": one for name, one in found.metrics.items() if one.level in ("head", "model")}
    assert len(several) >= 13 * copies
    scorer = CheckpointScorer(several, found.sets, found.settings, losses_on=["heldout"])
    read.clear()
    list(scorer.score(found.model, True, scorer.run_passes(found.model, True)))
    assert sum(read) == 80 + 12 + 10
    # 4096 tokens a pass are 32 sequences of 128.
    assert sorted(read) == [10, 12, 16, 32, 32]


def test_a_set_that_no_metric_asks_for_is_not_read(score, read):
    found = score("repeated_phrases", chosen=["copying"])
    scorer = CheckpointScorer(found.metrics, found.sets, found.settings)
    read.clear()
    assert set(scorer.run_passes(found.model, True)) == {"random"}
    assert sum(read) == 10


def test_a_pass_ends_with_the_last_example_that_anything_asks_for(make_model, read, monkeypatch):
    monkeypatch.setattr(passes, "TOKENS", 10 * 24)
    model, tokens_BT = make_model(), torch.randint(1, 40, (60, 24), generator=torch.Generator().manual_seed(0))
    found = run_pass(model, tokens_BT, {"v": 15, "losses": 25})
    assert sum(read) == 30
    assert len(found.losses) == 30 and len(found.cache["blocks.0.attn.v"]) == 20


def test_attention_alone_computes_nothing_above_it(make_model, tokens, monkeypatch):
    def unasked(*_):
        raise AssertionError("nothing asks for logits")

    monkeypatch.setattr(Transformer, "unembed", unasked)
    found = run_pass(make_model(), tokens, {"attention": None})
    assert found.losses is None and set(found.cache) == {
        f"blocks.{layer}.attn.{kind}" for layer in (0, 1) for kind in ("q", "k", "lse")
    }


VARIANTS = {
    "two layers": {},
    "with MLPs": {"n_layers": 3, "mlp_ratio": 2.0},
    "smeared": {"smeared_keys": True},
    "rotary": {"positions": "rotary"},
    "clamped keys": {"clamps": [{"type": "block_k_composition", "layer": 1}]},
    "clamped patterns": {
        "clamps": [
            {"type": "force_previous_token", "layer": 0},
            {"type": "block_previous_token", "layer": 1, "head": 1},
        ]
    },
    "frozen patterns": {
        "clamps": [
            {"type": "zero_head", "layer": 0},
            {"type": "freeze_activation", "layer": 1, "site": "pattern", "head": 2},
        ]
    },
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@variants
@pytest.mark.parametrize("outputs", [(), ("losses", "logits", "resid_post")], ids=["alone", "with outputs"])
def test_attention_at_offsets_is_the_patterns(make_model, tokens, changes, outputs, pairs):
    """Weights made from queries, keys and the softmax's sum alone are those of the whole pattern."""
    model = make_model(**changes)
    names = [f"blocks.{layer}.attn.pattern" for layer in range(model.spec.n_layers)]
    logits, cache = model(tokens, names=names)
    found = run_pass(model, tokens, dict.fromkeys(("attention", *outputs)))
    inputs = MetricInputs(model, None, None, cache=found.cache)
    for layer, name in enumerate(names):
        expected = select_diagonals(cache[name], [1, 5, 11])
        torch.testing.assert_close(inputs.attention(layer, [1, 5, 11]), expected, atol=1e-6, rtol=1e-5)
    if outputs:
        torch.testing.assert_close(found.cache["logits"], logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.losses, token_losses(logits, tokens), atol=1e-5, rtol=1e-5)


def test_patterns_are_formed_under_clamps_that_form_them_alone(make_model, tokens):
    def formed(**changes):
        cache = run_pass(make_model(**changes), tokens, {"attention": None}).cache
        return [name for name in cache if name.endswith("pattern")]

    assert formed() == formed(clamps=[{"type": "block_k_composition", "layer": 1}]) == []
    assert formed(clamps=[{"type": "force_previous_token", "layer": 0}]) == ["blocks.0.attn.pattern"]
    assert formed(clamps=[{"type": "block_previous_token", "layer": 1, "head": 0}]) == ["blocks.1.attn.pattern"]


@pytest.mark.parametrize("tokens_a_pass", [4096, 50], ids=["one pass", "many passes"])
@variants
def test_a_pass_leaves_what_a_plain_one_does(make_model, tokens, changes, tokens_a_pass, monkeypatch):
    monkeypatch.setattr(passes, "TOKENS", tokens_a_pass)
    model = make_model(**changes)
    kinds = ("v", "z", "attn_out", "resid_pre", "resid_post", "embed")
    logits, cache = model(tokens, names=names_of(model.spec, kinds))
    found = run_pass(model, tokens, dict.fromkeys((*kinds, "losses", "logits")))
    assert set(found.cache) == {*cache, "logits"}
    for name, value in cache.items():
        torch.testing.assert_close(found.cache[name], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.cache["logits"], logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.losses, token_losses(logits, tokens), atol=1e-5, rtol=1e-5)


def plain_values(found, metric: Metric):
    """A metric's values [layers, heads] or of the model, from one pass of its own that forms every pattern."""
    name = metric.evaluation_set
    inputs = MetricInputs(found.model, found.sets, found.settings)
    if name is not None:
        inputs.tokens = found.sets[name].tokens[: metric.examples]
        kinds = (".attn.pattern", ".attn.v")
        names = [site for site in site_names(found.model.spec) if site.endswith(kinds)]
        logits, inputs.cache = found.model(inputs.tokens, names=names)
        inputs.losses = token_losses(logits, inputs.tokens)
    for needed in metric.after:
        inputs.values[needed] = [torch.tensor(layer) for layer in found.of_heads[needed]]
    if metric.level == "model":
        return metric.compute(inputs)
    return [metric.compute(inputs, layer) for layer in range(found.model.spec.n_layers)]


@pytest.mark.parametrize("mixer", ["attention", "gated_linear"])
def test_values_are_those_of_separate_plain_passes(score, mixer):
    found = score("repeated_phrases", evaluation={"heldout_examples": 50}, mixer=mixer)
    library = applicable_metrics(LANGUAGE_SETS, 2, mixer == "attention", "")
    measured = {name: metric for name, metric in library.items() if metric.level != "run"}
    assert len(measured) >= (13 if mixer == "attention" else 8)
    for name, metric in measured.items():
        plain = plain_values(found, metric)
        if metric.level == "head":
            for layer, values in enumerate(plain):
                expected = [None] * 4 if values is None else pytest.approx(values.tolist(), abs=1e-5, rel=1e-4)
                assert found.of_heads[name][layer] == expected, name
            continue
        named = plain if isinstance(plain, dict) else {"": plain}
        for suffix, value in named.items():
            label = f"{name}:{suffix}" if suffix else name
            assert found.of_model[label] == pytest.approx(value, abs=1e-5), label


def test_one_token_more_than_the_model_reads_is_predicted_alone(make_model):
    model = make_model(n_ctx=5, vocab_size=9)
    sequences = torch.randint(9, (30, 6), generator=torch.Generator().manual_seed(2))
    found = run_pass(model, sequences, {"losses": None, "logits": None, "pattern": None})
    assert found.losses.shape == (30, 1)
    torch.testing.assert_close(found.losses, training_losses(model, sequences))
    assert found.cache["logits"].shape == (30, 5, 9) and found.cache["blocks.1.attn.pattern"].shape == (30, 4, 5, 5)


def test_a_site_that_the_model_does_not_have_is_named_with_those_that_there_are(make_model):
    with pytest.raises(
        ValueError, match="a metric asks for the site 'values'; there are: .*q, k.*logits, attention, losses$"
    ):
        names_of(make_model().spec, ["values"])
    assert names_of(make_model().spec, ["v", "losses", "attention"]) == ["blocks.0.attn.v", "blocks.1.attn.v"]
    assert names_of(make_model().spec, ["resid_post"]) == ["resid_post"]


def test_a_metric_may_ask_for_every_kind_of_site_that_some_model_has(make_model):
    specs = [make_model(mlp_ratio=4).spec, make_model(mixer="gru").spec]
    kinds = {site_kind(name) for spec in specs for name in site_names(spec)}
    assert kinds | {"attention", "losses"} == set(METRIC_SITES)


@pytest.mark.parametrize("outputs", [set(), {"losses"}])
@pytest.mark.parametrize("clamps", [[], [{"type": "force_previous_token", "layer": 0, "head": 0}]])
def test_patterns_may_be_asked_for_beside_attention_and_change_no_other_value(clamps, outputs):
    spec = ModelSpec(n_layers=2, d_model=16, n_heads=2, vocab_size=32, n_ctx=24, clamps=clamps)
    model = Transformer(spec).init_weights(0)
    tokens = torch.randint(0, 32, (4, 24), generator=torch.Generator().manual_seed(1))
    alone = run_pass(model, tokens, dict.fromkeys({"attention", *outputs}))
    both = run_pass(model, tokens, dict.fromkeys({"attention", "pattern", *outputs}))
    assert {name: torch.equal(both.cache[name], value) for name, value in alone.cache.items()} == dict.fromkeys(
        alone.cache, True
    )
    assert not outputs or torch.equal(both.losses, alone.losses)
    _, clean = model(tokens, names=[f"blocks.{layer}.attn.pattern" for layer in range(2)])
    for name, value in clean.items():
        assert torch.equal(both.cache[name], value)

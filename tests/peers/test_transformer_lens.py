"""Every kind of intervention against TransformerLens, on the same weights. `make bench` runs these."""

import pytest
import torch

pytest.importorskip("transformer_lens", reason="TransformerLens is not installed here; `make bench` runs this test")

from benchmarks.peers import (
    gpt2,
    lens_clean,
    lens_losses,
    lens_paths,
    lens_patterns,
    overwrite_hook,
    plain_gpt,
    transformer_lens,
)
from reinduce.ablate.joint import joint_losses
from reinduce.attribute.paths import path_patching
from reinduce.model.ablation_values import collect_ablation_values
from reinduce.model.interventions import Intervention
from reinduce.model.paths import path_intervention
from reinduce.model.patterns import previous_token_pattern
from reinduce.model.transformer import token_losses

pytestmark = pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated")


@pytest.fixture(params=[{"n_layers": 2}, {"n_layers": 3, "mlp_ratio": 4.0}], ids=["attention only", "with MLPs"])
def both(request, make_model):
    """A model of ours and its double."""
    model = make_model(positions="learned", **request.param)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if "ln" in name or "bias" in name:
            # Norms and biases that do something.
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model, transformer_lens(model)


def ours(model, tokens, *interventions):
    return token_losses(model(tokens, interventions)[0], tokens)


def agree(a, b):
    assert (a - b).abs().max() < 1e-5


def hook_name(site):
    """What TransformerLens calls a site of ours."""
    return ".".join([*site.split(".")[:-1], f"hook_{site.split('.')[-1]}"])


def test_models_without_interventions_are_the_same(both, tokens):
    model, lens = both
    agree(ours(model, tokens), lens_losses(lens, tokens, []))


@pytest.mark.parametrize("kind", ["q", "k", "v", "z"])
@pytest.mark.parametrize("head", [None, 2])
def test_a_value_from_another_input(both, tokens, kind, head):
    model, lens = both
    site, hook = f"blocks.1.attn.{kind}", f"blocks.1.attn.hook_{kind}"
    other = model(tokens.flip(0), names=[site])[1][site]
    value = other if head is None else other[:, :, head]
    agree(
        ours(model, tokens, Intervention(site, value, head)),
        lens_losses(lens, tokens, [(hook, overwrite_hook(value, head))]),
    )


@pytest.mark.parametrize("method", ["zero", "mean", "resample"])
@pytest.mark.parametrize("keep", [False, True], ids=["recomputed", "patterns kept"])
def test_joint_ablations(both, tokens, method, keep):
    model, lens = both
    values, heads = collect_ablation_values(model, tokens), [(0, 1), (1, 0), (1, 3)]
    name = (method, "frozen_patterns" if keep else "recomputed")
    hooks = [(n, overwrite_hook(pattern)) for n, pattern in lens_patterns(lens, tokens).items()] if keep else []
    for layer, head in heads:
        value = values.select(method, layer, slice(None))[:, :, head].expand(len(tokens), -1, -1)
        hooks.append((f"blocks.{layer}.attn.hook_z", overwrite_hook(value, head)))
    agree(joint_losses(model, tokens, [(name, heads)], values)[0], lens_losses(lens, tokens, hooks))


def test_a_stored_and_an_ideal_pattern(both, tokens):
    model, lens = both
    site, hook = "blocks.1.attn.pattern", "blocks.1.attn.hook_pattern"
    stored = model(tokens.flip(0), names=[site])[1][site]
    agree(ours(model, tokens, Intervention(site, stored)), lens_losses(lens, tokens, [(hook, overwrite_hook(stored))]))
    ideal = previous_token_pattern(tokens.shape[1])
    wanted = lens_losses(lens, tokens, [(hook, overwrite_hook(ideal.expand(len(tokens), -1, -1), 1, axis=1))])
    agree(ours(model, tokens, Intervention(site, ideal, 1)), wanted)


@pytest.mark.parametrize("site", ["embed", "blocks.1.resid_pre", "blocks.0.attn_out", "blocks.1.mlp_out"])
def test_an_added_direction_at_some_positions(both, tokens, site):
    model, lens = both
    if site.endswith("mlp_out") and not model.spec.mlp_ratio:
        site = "blocks.1.attn_out"
    direction = torch.randn(model.spec.d_model, generator=torch.Generator().manual_seed(3))

    def adding(x, hook):
        x[:, 4:9] += direction
        return x

    intervention = Intervention(site, direction, positions=slice(4, 9), add=True)
    agree(ours(model, tokens, intervention), lens_losses(lens, tokens, [(hook_name(site), adding)]))


@pytest.mark.parametrize("site", ["blocks.1.resid_pre", "blocks.1.attn_out", "blocks.0.mlp_out", "blocks.1.attn.z"])
@pytest.mark.parametrize("positions", [slice(None), slice(3, 7), [0, 5, 23]], ids=["all", "a slice", "a list"])
def test_an_output_from_another_input_at_some_positions(both, tokens, site, positions):
    model, lens = both
    if site.endswith("mlp_out") and not model.spec.mlp_ratio:
        pytest.skip("a model without MLPs")
    other = model(tokens.flip(0), names=[site])[1][site]

    def patching(x, hook):
        x[:, positions] = other[:, positions]
        return x

    intervention = Intervention(site, other[:, positions], positions=positions)
    agree(ours(model, tokens, intervention), lens_losses(lens, tokens, [(hook_name(site), patching)]))


def test_a_forbidden_score(both, tokens):
    model, lens = both
    forbidden = torch.diag(torch.full((tokens.shape[1] - 1,), -torch.inf), -1)

    def adding(scores, hook):
        scores[:, 2] += forbidden
        return scores

    intervention = Intervention("blocks.0.attn.scores", forbidden, 2, add=True)
    agree(ours(model, tokens, intervention), lens_losses(lens, tokens, [("blocks.0.attn.hook_attn_scores", adding)]))


def test_one_heads_own_output(both, tokens):
    """TransformerLens forms it only if told to."""
    model, lens = both
    lens.set_use_attn_result(True)
    other = model(tokens.flip(0), names=["blocks.0.attn.head_out"])[1]["blocks.0.attn.head_out"][:, :, 3]
    wanted = lens_losses(lens, tokens, [("blocks.0.attn.hook_result", overwrite_hook(other, 3))])
    agree(ours(model, tokens, Intervention("blocks.0.attn.head_out", other, 3)), wanted)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_path_patching(both, tokens, kind):
    """Everything between the source and the receiver is held still by hooks, then the receiver put in place."""
    model, lens = both
    last = model.spec.n_layers - 1
    source, target = Intervention("blocks.0.attn.z", 0.0, 1), f"blocks.{last}.attn.{kind}"
    held = [f"blocks.{i}.hook_{what}" for i in range(last) for what in ("attn_out", "mlp_out")]
    held = [name for name in held if name != "blocks.0.hook_attn_out"]
    _, intact = lens.run_with_cache(tokens, names_filter=lambda name: name in held)
    seen = {}

    def record(x, hook):
        seen["value"] = x.clone()

    hooks = [("blocks.0.attn.hook_z", overwrite_hook(torch.zeros(len(tokens), tokens.shape[1], model.spec.d_head), 1))]
    hooks += [(name, overwrite_hook(intact[name])) for name in held if name in intact]
    lens.run_with_hooks(tokens, fwd_hooks=[*hooks, (f"blocks.{last}.attn.hook_{kind}", record)])
    wanted = lens_losses(lens, tokens, [(f"blocks.{last}.attn.hook_{kind}", overwrite_hook(seen["value"][:, :, 2], 2))])
    agree(ours(model, tokens, path_intervention(model, tokens, [source], target, 2)), wanted)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_a_sweep_over_paths(both, tokens, kind):
    model, lens = both
    values, layers = collect_ablation_values(model, tokens), model.spec.n_layers
    receivers = [(layer, head) for layer in range(1, layers) for head in range(model.spec.n_heads)]
    mean = values.select("mean", 0, slice(None))[:, :, 1].expand(len(tokens), -1, -1)
    wanted = lens_paths(lens, tokens, (0, 1), receivers, mean, lens_clean(lens, tokens), kind)
    found = {}
    for rows, paths, losses in path_patching(model, tokens, values, "mean", [kind], [0]):
        for path, part in zip(paths, losses, strict=True):
            found.setdefault(path, torch.full(wanted[0].shape, torch.nan))[rows] = part
    for receiver, losses in zip(receivers, wanted, strict=True):
        agree(found[(0, 1), receiver, kind], losses)


def test_the_benchmarks_other_peers_are_the_same_model(both, tokens):
    model, _ = both
    if not model.spec.mlp_ratio:
        pytest.skip("they have MLPs")
    expected = ours(model, tokens)
    for attention in ("sdpa", "eager"):
        agree(token_losses(gpt2(model, attention)(input_ids=tokens).logits, tokens), expected)
    targets = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=-1)
    agree(plain_gpt(model)(tokens, targets), expected.mean())

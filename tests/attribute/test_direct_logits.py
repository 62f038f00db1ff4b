"""Direct logit attribution against the long way round."""

import pytest
import torch

from reinduce.attribute.direct import direct_logit_attribution


@pytest.mark.parametrize("changes", [{}, {"n_layers": 3}, {"layer_norm": False}], ids=["two", "three", "no norm"])
def test_attribution_equals_unembedding_every_head_by_itself(make_model, changes):
    model = make_model(n_ctx=13, **changes)
    period = 4
    repeated = torch.cat((torch.zeros(3, 1, dtype=torch.int64), torch.randint(1, 40, (3, period)).repeat(1, 3)), dim=1)
    names = [f"blocks.{layer}.attn.head_out" for layer in range(model.spec.n_layers)]
    _, cache = model(repeated, names=[*names, "resid_post"])
    resid = cache["resid_post"]
    for name, values in zip(names, direct_logit_attribution(model, repeated, period), strict=True):
        for head, value in enumerate(values.mean(dim=(0, 1))):
            out = cache[name][:, :, head]
            if model.spec.layer_norm:
                scale = torch.sqrt(resid.var(dim=-1, unbiased=False, keepdim=True) + model.ln_final.eps)
                out = (out - out.mean(dim=-1, keepdim=True)) / scale * model.ln_final.weight
            logits = out @ model.W_U.T
            logits = logits - logits.mean(dim=-1, keepdim=True)
            targets = repeated.roll(-1, dims=1)
            chosen = logits.gather(2, targets[..., None])[..., 0][:, 1 + period : -1]
            torch.testing.assert_close(value, chosen.mean(), atol=1e-5, rtol=1e-4)


def test_a_head_that_writes_the_next_token_is_credited(make_model):
    """The last layer's output matrix is made to write one token's unembedding: only its target gains."""
    model = make_model(n_ctx=9, n_layers=1, layer_norm=False)
    repeated = torch.cat((torch.zeros(2, 1, dtype=torch.int64), torch.tensor([[5, 6], [5, 6]]).repeat(1, 4)), dim=1)
    before = direct_logit_attribution(model, repeated, 2)[0].mean(dim=(0, 1))
    centred = model.W_U - model.W_U.mean(dim=0)
    model.blocks[0].attn.W_O[:, :8] = 0
    assert (direct_logit_attribution(model, repeated, 2)[0][..., 0] == 0).all()
    _, cache = model(repeated, names=["blocks.0.attn.z"])
    z = cache["blocks.0.attn.z"][:, 3:-1, 0].mean(dim=(0, 1))
    model.blocks[0].attn.W_O[:, :8] = (centred[5] + centred[6])[:, None] * z / (z @ z)
    assert direct_logit_attribution(model, repeated, 2)[0].mean(dim=(0, 1))[0] > before[0].abs()

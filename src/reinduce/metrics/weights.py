"""Metrics of a head that are read off its weights alone.

Embeddings are read as a head reads them: centred and scaled by the layer norm's gain where
the model has one. Shape suffixes: H head, E head width, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reinduce.config.declare import metric
from reinduce.metrics.inputs import MetricInputs
from reinduce.metrics.tolerances import SHARES, UNBOUNDED

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.model.transformer import Transformer


@metric(
    level="head",
    unit="sum over sum of sizes",
    value_range=(-1, 1),
    source="Elhage et al. 2021",
    null="about 0 for random weights",
    # Tasks of language alone: elsewhere the embedding does not hold all tokens.
    also=("random",),
    tolerance=SHARES,
)
def ov_eigenvalues(inputs: MetricInputs, layer: int) -> Tensor:
    """Sum of the eigenvalues of the full OV circuit over the sum of their sizes.

    The circuit W_U W_O W_V W_E is V by V of rank E; its non-zero eigenvalues are those of
    the E by E product taken the other way round. 1: pure copying; -1: pure anti-copying. Embeddings are
    centred and scaled as the layer norm reads them. The definition is the companion paper's.
    """
    model = inputs.model
    _, _, W_V, W_O = head_weights(model, layer)
    circuit_HEE = torch.einsum("hed,vd,vc,hcf->hef", W_V, embedding(model, layer), unembedding(model), W_O)
    eigenvalues = torch.linalg.eigvals(circuit_HEE)
    return eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1).clamp(min=1e-12)


@metric(
    level="head",
    unit="attention score",
    source="Olsson et al. 2022",
    null="null in the first layer; about 0 for random weights",
    after=("previous_token",),
    tolerance=UNBOUNDED,
)
def qk_trace(inputs: MetricInputs, layer: int) -> Tensor | None:
    """Weights-based prefix matching: the trace of the K-composition term.

    For every head k of an earlier layer, weighted by its previous-token score: the trace
    of W_E' W_Q' W_K (W_O W_V)_k W_E, the score that a token gives to the place after its
    own earlier occurrence. Defined from the second layer on. The paper weights heads by their attention to
    the previous token "on an example text"; here the weight is `previous_token`.
    """
    if not layer:
        return None
    model, previous_token_LH = inputs.model, inputs.values["previous_token"]
    W_Q, W_K, _, _ = head_weights(model, layer)
    queries_VD = embedding(model, layer)
    trace_H = torch.zeros(model.spec.n_heads)
    for earlier in range(layer):
        _, _, W_V, W_O = head_weights(model, earlier)
        written_VD = torch.einsum("k,kde,kec,vc->vd", previous_token_LH[earlier], W_O, W_V, embedding(model, earlier))
        similarity_DD = queries_VD.T @ written_VD
        trace_H += torch.einsum("hed,dc,hec->h", W_Q, similarity_DD, W_K)
    return trace_H


def embedding(model: Transformer, layer: int) -> Tensor:
    """Return the embedding as block `layer` reads it [V D]."""
    norm = model.blocks[layer].ln1
    if not isinstance(norm, torch.nn.LayerNorm):
        return model.W_E
    return torch.nn.functional.layer_norm(model.W_E, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def unembedding(model: Transformer) -> Tensor:
    """Return the unembedding as the last layer norm passes it [V D], centred over the vocabulary."""
    W_U = model.W_U * getattr(model.ln_final, "weight", torch.ones(model.spec.d_model))
    return W_U - W_U.mean(dim=0)


def head_weights(model: Transformer, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a layer's query, key and value matrices [H E D] and output matrices [H D E]."""
    spec, attn = model.spec, model.blocks[layer].attn
    W_Q, W_K, W_V = attn.W_QKV.view(3, spec.n_heads, spec.d_head, spec.d_model)
    return W_Q, W_K, W_V, attn.W_O.view(spec.d_model, spec.n_heads, spec.d_head).transpose(0, 1)

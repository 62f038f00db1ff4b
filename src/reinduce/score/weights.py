"""Measures of a head read off its weights alone.

Embeddings are read as a head reads them: centred and scaled by the layer norm's gain where
the model has one. Shape suffixes: H head, E head width, D model width, V vocabulary.
"""

import torch
from torch import Tensor

from reinduce.model.transformer import Transformer


def embedding(model: Transformer, layer: int) -> Tensor:
    """The embedding as block `layer` reads it [V D]."""
    return _normalised(model.W_E, model.blocks[layer].ln1)


def unembedding(model: Transformer) -> Tensor:
    """The unembedding as the last layer norm passes it [V D], centred over the vocabulary."""
    W_U = model.W_U * getattr(model.ln_final, "weight", torch.ones(model.spec.d_model))
    return W_U - W_U.mean(dim=0)


def head_weights(model: Transformer, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A layer's query, key and value matrices [H E D] and output matrices [H D E]."""
    spec, attn = model.spec, model.blocks[layer].attn
    W_Q, W_K, W_V = attn.W_QKV.view(3, spec.heads, spec.d_head, spec.d_model)
    return W_Q, W_K, W_V, attn.W_O.view(spec.d_model, spec.heads, spec.d_head).transpose(0, 1)


def ov_eigenvalues(model: Transformer, layer: int) -> Tensor:
    """Sum of the eigenvalues of the full OV circuit over the sum of their sizes, per head [H].

    The circuit W_U W_O W_V W_E is V by V of rank E; its non-zero eigenvalues are those of
    the E by E product taken the other way round. 1: pure copying; -1: pure anti-copying;
    about 0 for random weights (Elhage et al. 2021).
    """
    _, _, W_V, W_O = head_weights(model, layer)
    circuit_HEE = torch.einsum("hed,vd,vc,hcf->hef", W_V, embedding(model, layer), unembedding(model), W_O)
    eigenvalues = torch.linalg.eigvals(circuit_HEE)
    return eigenvalues.real.sum(dim=-1) / eigenvalues.abs().sum(dim=-1).clamp(min=1e-12)


def qk_trace(model: Transformer, layer: int, previous_token_LH: list[Tensor]) -> Tensor:
    """Weights-based prefix matching, per head [H]: the trace of the K-composition term.

    For every head k of an earlier layer, weighted by its previous-token score: the trace
    of W_E' W_Q' W_K (W_O W_V)_k W_E, the score that a token gives to the place after its
    own earlier occurrence (Olsson et al. 2022). Defined from the second layer on.
    """
    W_Q, W_K, _, _ = head_weights(model, layer)
    queries_VD = embedding(model, layer)
    trace_H = torch.zeros(model.spec.heads)
    for earlier in range(layer):
        _, _, W_V, W_O = head_weights(model, earlier)
        written_VD = torch.einsum("k,kde,kec,vc->vd", previous_token_LH[earlier], W_O, W_V, embedding(model, earlier))
        similarity_DD = queries_VD.T @ written_VD
        trace_H += torch.einsum("hed,dc,hec->h", W_Q, similarity_DD, W_K)
    return trace_H


def _normalised(weights_VD: Tensor, norm: torch.nn.Module) -> Tensor:
    if not isinstance(norm, torch.nn.LayerNorm):
        return weights_VD
    return torch.nn.functional.layer_norm(weights_VD, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

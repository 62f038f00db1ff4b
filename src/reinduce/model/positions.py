"""Encodings of token positions.

Shape suffixes: B batch, T position, H head, E head width.
"""

import math

import torch
from torch import Tensor


def sinusoidal_positions(n_ctx: int, d_model: int) -> Tensor:
    """Return sinusoidal position embeddings [n_ctx, d_model] (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(n_ctx, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * (-math.log(10_000.0) / d_model))
    table = torch.zeros(n_ctx, d_model)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: d_model // 2])
    return table


def rotary_cos_sin(n_ctx: int, d_head: int) -> Tensor:
    """Return the cosines and sines [2, n_ctx, 1, d_head / 2] of the angles of rotary positions."""
    rate = torch.exp(torch.arange(0, d_head, 2) * (-math.log(10_000.0) / d_head))
    angle = (torch.arange(n_ctx)[:, None] * rate)[:, None]
    return torch.stack((angle.cos(), angle.sin()))


def apply_rotary(x_BTHE: Tensor, cos_sin: Tensor) -> Tensor:
    """Rotate each pair of neighbouring channels by an angle that grows with the position (Su et al. 2021).

    Args:
        x_BTHE: queries or keys.
        cos_sin: from `rotary_cos_sin`, for at least T positions.

    Returns:
        The rotated queries or keys [B T H E].
    """
    cos, sin = cos_sin[:, : x_BTHE.shape[1]]
    if not torch.compiler.is_compiling():
        # Several times faster than the lines below, which `torch.compile` fuses into one loop.
        pairs = torch.view_as_complex(x_BTHE.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
    even, odd = x_BTHE[..., 0::2], x_BTHE[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)

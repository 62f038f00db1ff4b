"""What may stand in place of attention: recurrences with as many parameters, and nothing to attend with.

Each keeps one vector of state a sequence, and is as wide as makes it as large as a layer of
attention of the same width, four matrices of D by D.
Shape suffixes: B batch, T position, D model width, R width of the state.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTION = 4
"""Tokens that the gated linear recurrence sees at once, its own included (De et al. 2024)."""
SHARPNESS = 8.0
"""How strongly its gate closes (c of the same paper)."""


class GRU(nn.Module):
    """Gated recurrent units (Cho et al. 2014), read out by a matrix."""

    def __init__(self, d_model: int):
        super().__init__()
        # 3 R D + 3 R^2 going in and D R coming out are 4 D^2 where R is two thirds of D.
        width = max(1, round(2 * d_model / 3))
        self.rnn = nn.GRU(d_model, width, batch_first=True)
        self.W_O = nn.Parameter(torch.empty(d_model, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """What the layer adds to the residual stream [B T D]."""
        return F.linear(self.rnn(x_BTD)[0], self.W_O)


class GatedLinear(nn.Module):
    """A short convolution and a gated linear recurrence, beside a gate (the recurrent block of De et al. 2024).

    The state is h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t u_t, channel by channel: u is the
    convolved input, i and a are gates that see u.
    """

    def __init__(self, d_model: int):
        super().__init__()
        # 3 D R and the gates' 2 R^2 are 4 D^2 where R / D solves 2 r^2 + 3 r = 4.
        width = max(1, round(d_model * (math.sqrt(41) - 3) / 4))
        self.W_X = nn.Parameter(torch.empty(width, d_model))
        self.W_G = nn.Parameter(torch.empty(width, d_model))
        self.W_conv = nn.Parameter(torch.empty(width, CONVOLUTION))
        self.W_A = nn.Parameter(torch.empty(width, width))
        self.W_I = nn.Parameter(torch.empty(width, width))
        # States forget at rates between 0.9 and 0.999 a step where the gate is half open.
        kept = torch.linspace(0.9, 0.999, width)
        self.forgetting = nn.Parameter(torch.log(torch.expm1(-torch.log(kept) * 2 / SHARPNESS)))
        self.W_O = nn.Parameter(torch.empty(d_model, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """What the layer adds to the residual stream [B T D]."""
        T = x_BTD.shape[1]
        x_BTR = F.pad(F.linear(x_BTD, self.W_X), (0, 0, CONVOLUTION - 1, 0))
        # A sum over places, rather than a convolution, leaves channels side by side in memory.
        u_BTR = sum(x_BTR[:, back : back + T] * self.W_conv[:, back] for back in range(CONVOLUTION))
        log_a_BTR = -SHARPNESS * F.softplus(self.forgetting) * torch.sigmoid(F.linear(u_BTR, self.W_A))
        put_BTR = torch.sqrt(-torch.expm1(2 * log_a_BTR)) * torch.sigmoid(F.linear(u_BTR, self.W_I)) * u_BTR
        state_BTR = LinearRecurrence.apply(log_a_BTR.exp(), put_BTR)
        return F.linear(F.gelu(F.linear(x_BTD, self.W_G)) * state_BTR, self.W_O)


class LinearRecurrence(torch.autograd.Function):
    """`linear_recurrence` with its gradient, which is a linear recurrence too, from the last token to the first."""

    @staticmethod
    def forward(ctx, keep_BTR: Tensor, put_BTR: Tensor) -> Tensor:
        state_BTR = linear_recurrence(keep_BTR, put_BTR)
        ctx.save_for_backward(keep_BTR, state_BTR)
        return state_BTR

    @staticmethod
    def backward(ctx, gradient_BTR: Tensor) -> tuple[Tensor, Tensor]:
        keep_BTR, state_BTR = ctx.saved_tensors
        kept_after = F.pad(keep_BTR[:, 1:], (0, 0, 0, 1)).flip(1)
        put_BTR = linear_recurrence(kept_after, gradient_BTR.flip(1)).flip(1)
        return put_BTR * F.pad(state_BTR[:, :-1], (0, 0, 1, 0)), put_BTR


def linear_recurrence(keep_BTR: Tensor, put_BTR: Tensor) -> Tensor:
    """States [B T R] of h_t = keep_t h_(t-1) + put_t from h = 0, in log T steps: each doubles how far back it sees."""
    span, T = 1, put_BTR.shape[1]
    while span < T:
        carried = put_BTR[:, span:] + keep_BTR[:, span:] * put_BTR[:, :-span]
        kept = keep_BTR[:, span:] * keep_BTR[:, :-span]
        put_BTR = torch.cat((put_BTR[:, :span], carried), dim=1)
        keep_BTR = torch.cat((keep_BTR[:, :span], kept), dim=1)
        span *= 2
    return put_BTR


RECURRENCES = {"gru": GRU, "gated_linear": GatedLinear}
"""Name of a mixer without attention → its layer."""

"""Recurrent layers that replace attention, with as many parameters.

Each keeps one state vector per sequence. Its width is chosen so that the layer has as many parameters as a
layer of attention of the same model width: four matrices of D by D.

Shape suffixes: B batch, T position, D model width, R width of the state.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTION_TOKENS = 4
"""Tokens in the window of the gated linear recurrence's convolution, the current one included (De et al. 2024)."""
GATE_SHARPNESS = 8.0
"""Factor of the exponent of its recurrence gate (c in the same paper)."""


class GRU(nn.Module):
    """Gated recurrent units (Cho et al. 2014), followed by an output matrix."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        # Input and recurrent matrices (3 R D + 3 R^2) and the output matrix (D R) are 4 D^2 for R = 2 D / 3.
        width = max(1, round(2 * d_model / 3))
        self.rnn = nn.GRU(d_model, width, batch_first=True)
        self.W_O = nn.Parameter(torch.empty(d_model, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Output to the residual stream [B T D], from the normalised stream."""
        return F.linear(self.rnn(x_BTD)[0], self.W_O)


class GatedLinear(nn.Module):
    """A short convolution and a gated linear recurrence, times a gate (the recurrent block of De et al. 2024).

    The state is h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t u_t, channel by channel: u is the
    convolved input, i and a are gates computed from u.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        # 3 D R and the gates' 2 R^2 are 4 D^2 if r = R / D solves 2 r^2 + 3 r = 4.
        width = max(1, round(d_model * (math.sqrt(41) - 3) / 4))
        self.W_X = nn.Parameter(torch.empty(width, d_model))
        self.W_G = nn.Parameter(torch.empty(width, d_model))
        self.W_conv = nn.Parameter(torch.empty(width, CONVOLUTION_TOKENS))
        self.W_A = nn.Parameter(torch.empty(width, width))
        self.W_I = nn.Parameter(torch.empty(width, width))
        # With a half-open gate, a state keeps 0.9 to 0.999 of itself at each step.
        retention = torch.linspace(0.9, 0.999, width)
        self.forgetting = nn.Parameter(torch.log(torch.expm1(-torch.log(retention) * 2 / GATE_SHARPNESS)))
        self.W_O = nn.Parameter(torch.empty(d_model, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Output to the residual stream [B T D], from the normalised stream."""
        T = x_BTD.shape[1]
        x_BTR = F.pad(F.linear(x_BTD, self.W_X), (0, 0, CONVOLUTION_TOKENS - 1, 0))
        # A sum over offsets, rather than a convolution, keeps channels contiguous in memory.
        products = (x_BTR[:, back : back + T] * self.W_conv[:, back] for back in range(CONVOLUTION_TOKENS))
        u_BTR = cast("Tensor", sum(products))
        log_a_BTR = -GATE_SHARPNESS * F.softplus(self.forgetting) * torch.sigmoid(F.linear(u_BTR, self.W_A))
        input_BTR = torch.sqrt(-torch.expm1(2 * log_a_BTR)) * torch.sigmoid(F.linear(u_BTR, self.W_I)) * u_BTR
        state_BTR = LinearRecurrence.apply(log_a_BTR.exp(), input_BTR)
        return F.linear(F.gelu(F.linear(x_BTD, self.W_G)) * state_BTR, self.W_O)


class LinearRecurrence(torch.autograd.Function):
    """`linear_recurrence` with its gradient, which is a linear recurrence from the last token to the first."""

    @staticmethod
    def forward(ctx, decay_BTR: Tensor, input_BTR: Tensor) -> Tensor:
        state_BTR = linear_recurrence(decay_BTR, input_BTR)
        ctx.save_for_backward(decay_BTR, state_BTR)
        return state_BTR

    @staticmethod
    def backward(ctx, gradient_BTR: Tensor) -> tuple[Tensor, Tensor]:
        decay_BTR, state_BTR = ctx.saved_tensors
        decay_after = F.pad(decay_BTR[:, 1:], (0, 0, 0, 1)).flip(1)
        input_gradient_BTR = linear_recurrence(decay_after, gradient_BTR.flip(1)).flip(1)
        return input_gradient_BTR * F.pad(state_BTR[:, :-1], (0, 0, 1, 0)), input_gradient_BTR


def linear_recurrence(decay_BTR: Tensor, input_BTR: Tensor) -> Tensor:
    """Compute the states of h_t = decay_t h_(t-1) + input_t from h = 0, in log2 T steps.

    Args:
        decay_BTR: factors of the previous state.
        input_BTR: what is added to it.

    Returns:
        States [B T R].
    """
    # After each step every state includes the inputs of the last `span` tokens.
    span, T = 1, input_BTR.shape[1]
    while span < T:
        carried = input_BTR[:, span:] + decay_BTR[:, span:] * input_BTR[:, :-span]
        decay = decay_BTR[:, span:] * decay_BTR[:, :-span]
        input_BTR = torch.cat((input_BTR[:, :span], carried), dim=1)
        decay_BTR = torch.cat((decay_BTR[:, :span], decay), dim=1)
        span *= 2
    return input_BTR


RECURRENCES = {"gru": GRU, "gated_linear": GatedLinear}
"""Name of a mixer without attention → its layer."""

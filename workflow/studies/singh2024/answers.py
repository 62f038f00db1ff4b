"""How well queries are answered, from a model's logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from reinduce.studies.singh2024.tasks.fewshot_classification import LABELS

if TYPE_CHECKING:
    from torch import Tensor


def score_answers(logits_BV: Tensor, tokens_B6: Tensor) -> dict[str, float]:
    """Return loss in nats, accuracy, and accuracy among the two labels in the context.

    Args:
        logits_BV: logits at the query, over labels.
        tokens_B6: sequences with their answers.
    """
    answer_B = tokens_B6[:, -1]
    in_context = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(1, tokens_B6[:, list(LABELS)], True)
    among_two = logits_BV.masked_fill(~in_context, -math.inf)
    return {
        "query_loss": torch.nn.functional.cross_entropy(logits_BV.double(), answer_B).item(),
        "query_accuracy": (logits_BV.argmax(dim=1) == answer_B).double().mean().item(),
        "in_context_accuracy": (among_two.argmax(dim=1) == answer_B).double().mean().item(),
    }

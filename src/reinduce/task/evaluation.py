"""Frozen evaluation sets, and what is computed from losses on them.

Three sets belong to every task, each a Parquet file of examples that is made once:

- `heldout`: sequences of the distribution that no training run sees, each with one fixed
  random token index;
- `repeated`: the start token and distinct random tokens, the same ones several times over;
- `random`: the start token and distinct random tokens once.

Random tokens are drawn without replacement, so that the repeats are the only repeats.
Shape suffixes: B example, T token, T1 the T - 1 tokens that have a loss (entry i is the
loss of predicting token index i + 1).
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from reinduce.config.specs import IndexPair, require


def read_examples(path: str | Path, column: str = "tokens") -> Tensor:
    """The token ids of a frozen set [B, T], int64.

    Raises FileNotFoundError or ValueError naming the file.
    """
    return _column(path, column)


def loss_indices(path: str | Path) -> Tensor:
    """The fixed random token index of each held-out example [B], int64, between 1 and T - 1.

    Raises FileNotFoundError or ValueError naming the file.
    """
    return _column(path, "loss_index")


def _column(path: str | Path, name: str) -> Tensor:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such evaluation set; `reinduce data` makes it")
    try:
        with pq.ParquetFile(path) as file:
            require(name in file.schema_arrow.names, f"has no column {name!r}")
            return torch.tensor(file.read(columns=[name])[name].to_pylist(), dtype=torch.int64)
    except ValueError as error:
        raise ValueError(f"{path}: not such an evaluation set ({error}); make it again with `reinduce data`") from None


@dataclass(frozen=True)
class Questions:
    """The questions of one kind that a task's held-out documents ask."""

    kind: str
    is_answer: Tensor
    """Which predicted tokens answer one [B T-1], bool; at least one does."""
    chance: float
    """Probability of the right answer for one who knows the kind but not the document."""

    def among(self, rows: slice) -> "Questions":
        """Those that some of the documents ask. Raises ValueError if there are none."""
        is_answer = self.is_answer[rows]
        require(bool(is_answer.any()), f"none of {len(is_answer)} documents asks a question of kind {self.kind!r}")
        return Questions(self.kind, is_answer, self.chance)


def read_questions(folder: str | Path) -> list[Questions]:
    """Every kind of question that a task's held-out documents ask; none for most tasks."""
    path = Path(folder) / "answers.parquet"
    if not path.is_file():
        return []
    columns = pq.read_table(path).to_pydict()
    is_answer = torch.tensor(columns["is_answer"])[:, 1:]
    chance = dict(zip(columns["kind"], columns["chance"], strict=True))
    return [
        Questions(kind, is_answer & torch.tensor([k == kind for k in columns["kind"]])[:, None], chance[kind])
        for kind in chance
    ]


def skill(losses: Tensor, is_answer_BT1: Tensor, chance: float) -> Tensor:
    """How well each question is answered [..., questions], from losses [..., B, T-1]: 0 by chance, 1 for certain.

    The probability of the right answer, that is the accuracy of a model that draws its
    answers from what it predicts, on a scale from chance to certainty.
    """
    return ((-losses[..., is_answer_BT1].double()).exp() - chance) / (1 - chance)


def copyable(tokens_BT: Tensor) -> Tensor:
    """Whether each token completes a bigram that stood earlier in the same example [B, T], bool.

    Such a token can be predicted by finding its predecessor in the past and copying what
    followed. The start token never counts as a predecessor.
    """
    pairs = tokens_BT[:, 1:-1] * (tokens_BT.max() + 1) + tokens_BT[:, 2:]
    # Equal pairs become neighbours, and a stable sort keeps the earliest of them first.
    ranked, order = pairs.sort(dim=1, stable=True)
    seen = torch.zeros_like(pairs, dtype=torch.bool)
    seen[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    found = torch.zeros_like(tokens_BT, dtype=torch.bool)
    found[:, 2:] = torch.zeros_like(seen).scatter(1, order, seen)
    return found


def in_context_score(losses_BT1: Tensor, pair: IndexPair, mask_BT1: Tensor | None = None) -> float | None:
    """Mean loss at the pair's late indices minus mean loss at its early ones, in nats a token.

    Negative: the model predicts better the more context it has (Olsson et al. 2022, whose
    argument 1 once states the difference the other way round). A mask keeps some tokens
    only; None if it leaves none in either range. Raises ValueError if the pair reaches
    beyond the context.
    """
    late, early = (_mean_at(losses_BT1, ends, mask_BT1) for ends in (pair.late, pair.early))
    return None if late is None or early is None else late - early


def _mean_at(losses_BT1: Tensor, ends: tuple[int, int], mask_BT1: Tensor | None) -> float | None:
    """Mean loss between two token indices, both included."""
    low, high = ends
    last = losses_BT1.shape[1]
    require(high <= last, f"token indices {low} to {high} reach beyond the last of the context, {last}")
    part = losses_BT1[:, low - 1 : high]
    if mask_BT1 is not None:
        part = part[mask_BT1[:, low - 1 : high]]
    return part.double().mean().item() if part.numel() else None

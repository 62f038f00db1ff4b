"""What all tasks of language share: their evaluation sets and how large these are.

Every such task has three sets:

- `heldout`: sequences of the distribution that no training run sees, each with one fixed random
  token index (`loss_index`);
- `repeated`: the start token and distinct random tokens, the same ones several times over;
- `random`: the start token and distinct random tokens once.

Random tokens are drawn without replacement, so that the repeats are the only repeats.
Shape suffixes: B example, T token, T1 the T - 1 tokens after the start token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from reinduce.config.job_specs import STRICT, require
from reinduce.config.task_definition import TaskDefinition
from reinduce.tasks.evaluation_sets import write_set

if TYPE_CHECKING:
    from torch import Tensor

LANGUAGE_SETS = ("heldout", "repeated", "random")


@dataclass(frozen=True, kw_only=True)
class LanguageSizes:
    """How large the evaluation sets of a task of language are."""

    __pydantic_config__ = STRICT

    heldout_examples: int
    """Held-out sequences on which losses are measured."""
    repeated_examples: int = 10
    """Sequences of repeated random tokens on which prefix matching is measured."""
    random_examples: int = 10
    """Sequences of random tokens, not repeated, on which copying is measured."""
    repeat_length: int = 25
    """Distinct random tokens in a repeat."""
    repeats: int = 4
    """How often they come in a row."""

    def __post_init__(self) -> None:
        for name in ("heldout_examples", "repeated_examples", "random_examples", "repeat_length"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        require(self.repeats > 1, f"repeats must be 2 or more, not {self.repeats}")


class LanguageTask(TaskDefinition):
    """A task whose sequences begin with the start token, id 0, and whose every later token is predicted."""

    Sizes = LanguageSizes
    evaluation_sets: ClassVar[tuple[str, ...]] = LANGUAGE_SETS

    def check(self) -> None:
        """Raise ValueError if a task's sequences cannot hold the repeats."""
        length, repeats = self.sizes.repeat_length, self.sizes.repeats
        context, vocabulary = self.spec.n_ctx, self.spec.vocab_size
        require(
            length * repeats + 1 <= context,
            f"evaluation: a start token and {repeats} repeats of {length} tokens make {length * repeats + 1}, "
            f"more than the context of {context}; lower repeat_length or repeats",
        )
        require(
            length < vocabulary,
            f"evaluation: repeat_length is {length}, but a vocabulary of {vocabulary} "
            f"has only {vocabulary - 1} distinct tokens beside the start token",
        )

    def set_sizes(self) -> dict[str, int]:
        """Return how many examples each set holds; sets beyond the three annotate or accompany held-out examples."""
        own = {"repeated": self.sizes.repeated_examples, "random": self.sizes.random_examples}
        return {name: own.get(name, self.sizes.heldout_examples) for name in self.evaluation_sets}

    def write_language_sets(self, folder: Path, heldout_BT: Tensor, pool: Tensor) -> None:
        """Write `heldout`, `repeated` and `random`.

        Args:
            folder: the task's data folder.
            heldout_BT: the held-out sequences.
            pool: the token ids [ids] from which random tokens are drawn.

        Raises:
            ValueError: if the pool is too small for a sequence without repetition.
        """
        sizes = self.sizes
        repeated = random_tokens(pool, sizes.repeated_examples, sizes.repeat_length, self.set_seed("repeated"))
        random = random_tokens(pool, sizes.random_examples, sizes.repeat_length, self.set_seed("random"))
        # Any token but the first, which nothing predicts.
        generator = torch.Generator().manual_seed(self.set_seed("loss_index"))
        loss_index = torch.randint(1, self.spec.n_ctx, (len(heldout_BT),), generator=generator)
        write_set(folder, "heldout", heldout_BT, {"loss_index": loss_index})
        write_set(folder, "repeated", prepend_start(repeated.repeat(1, sizes.repeats)))
        write_set(folder, "random", prepend_start(random))


def random_tokens(pool: Tensor, examples: int, length: int, seed: int) -> Tensor:
    """Draw token ids from the pool [examples, length], none twice in an example.

    Raises:
        ValueError: if the pool holds fewer than `length` ids.
    """
    require(
        length <= len(pool),
        f"evaluation: repeat_length is {length}, but only {len(pool)} tokens are neither the start token, "
        "nor among the most or least common; lower repeat_length or give more text",
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(examples, len(pool), generator=generator).argsort(dim=1, stable=True)
    return pool[order[:, :length]]


def prepend_start(tokens_BT1: Tensor) -> Tensor:
    """Return sequences with the start token put before them [B, T], int64."""
    return torch.nn.functional.pad(tokens_BT1.to(torch.int64), (1, 0), value=0)

"""The `alternation` task: two random tokens that alternate."""

from dataclasses import dataclass

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import STRICT, stream_seed
from reinduce.tasks.language import LanguageTask


@dataclass(frozen=True, kw_only=True)
class AlternationSpec:
    """Sequences of two tokens."""

    __pydantic_config__ = STRICT

    vocab_size: int
    n_ctx: int


def draw(spec, n, seed):
    """Draw n sequences [n, n_ctx]; the seed decides them."""
    pair = torch.randint(1, spec.vocab_size, (n, 2), generator=torch.Generator().manual_seed(seed))
    body = pair.repeat(1, spec.n_ctx)[:, : spec.n_ctx - 1]
    return torch.cat((torch.zeros(n, 1, dtype=torch.int64), body), dim=1)


class Stream:
    """The sequences of a replicate."""

    vectors = None

    def __init__(self, spec, seed):
        self.spec, self.first = spec, stream_seed("data", "alternation", seed)

    def batch(self, step, n):
        """Return the sequences of a step."""
        return draw(self.spec, n, self.first + step)


@task("alternation")
class Alternation(LanguageTask):
    """The evaluation sets are those of every task of language."""

    Spec = AlternationSpec
    stream_name = "alternation"

    def write_data(self, folder):
        """Write the evaluation sets."""
        heldout = draw(self.spec, self.sizes.heldout_examples, self.set_seed("heldout"))
        self.write_language_sets(folder, heldout, torch.arange(1, self.spec.vocab_size))
        return {}

    def training_stream(self, folder, seed):
        """Return the sequences of a replicate."""
        return Stream(self.spec, seed)

"""What many tests share: small models, and models built by hand to be what a name says."""

import pytest
import torch

from reinduce.config.specs import ModelSpec
from reinduce.model.transformer import Transformer

torch.set_num_threads(1)


@pytest.fixture
def make_model():
    """A small random model; keyword arguments replace parts of its specification."""

    def make(seed: int = 0, **changes) -> Transformer:
        spec = {"layers": 2, "d_model": 32, "heads": 4, "vocabulary": 40, "context": 24} | changes
        return Transformer(ModelSpec(**spec)).initialise(seed).eval().requires_grad_(False)

    return make


@pytest.fixture
def tokens():
    """Sequences with a start token and some repetition [6, 24]."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(1, 40, (6, 24), generator=generator)
    drawn[:, 12:] = drawn[:, :12]
    drawn[:, 0] = 0
    return drawn

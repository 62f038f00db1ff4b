"""The evaluation sets that all tasks of language share."""

import pytest

from reinduce.tasks.language import LanguageSizes


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="repeated_examples must be positive, not 0"):
        LanguageSizes(heldout_examples=5, repeated_examples=0)
    with pytest.raises(ValueError, match="repeats must be 2 or more, not 1"):
        LanguageSizes(heldout_examples=5, repeats=1)

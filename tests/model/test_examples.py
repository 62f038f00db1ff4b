"""The examples in the docstrings of the model's public interface run and print what they state."""

import doctest

import pytest

from reinduce.model import interventions, transformer


@pytest.mark.parametrize("module", [interventions, transformer], ids=lambda module: module.__name__)
def test_examples_run(module):
    found = doctest.testmod(module)
    assert found.attempted > 0 and found.failed == 0

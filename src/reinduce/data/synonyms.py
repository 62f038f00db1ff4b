"""The `synonyms` task's files: its frozen evaluation sets, and random words with their translation."""

from pathlib import Path

import torch

from reinduce.data.frozen import random_tokens, set_seed, write_examples, write_frozen_sets
from reinduce.task import Task
from reinduce.task.source_text import with_start
from reinduce.task.synonyms import documents


def prepare(task: Task, folder: Path) -> tuple[list[Path], dict]:
    """Write the frozen sets and translated.parquet; training documents are drawn while training; no further facts.

    Random tokens are words of the first language, so that an example has no two words of
    one meaning. translated.parquet holds a start token, random words, and the same in the
    other language (`tokens`), or their translations in another order (`shuffled`).
    """
    spec, sizes = task.spec, task.evaluation
    first_language = torch.arange(1, spec.meanings + 1)
    said = random_tokens(first_language, sizes.repeated_examples, sizes.repeat_length, set_seed(task, "translated"))
    generator = torch.Generator().manual_seed(set_seed(task, "shuffled"))
    order = torch.rand(said.shape, generator=generator).argsort(dim=1)
    other = said + spec.meanings
    path = write_examples(
        folder / "translated.parquet",
        with_start(torch.cat((said, other), dim=1)),
        [("shuffled", with_start(torch.cat((said, other.gather(1, order)), dim=1)))],
    )
    seeds = set_seed(task, "heldout"), set_seed(task, "languages")
    heldout_BT = documents(spec, sizes.heldout_examples, *seeds)
    return [*write_frozen_sets(task, heldout_BT, first_language, folder), path], {}

"""Prepare the `source_text` task: text to tokens, held-out windows, and the training file."""

import logging
from array import array
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import require
from reinduce.data.frozen import write_frozen_sets
from reinduce.data.sources import digest, find_sources, split, write_sources
from reinduce.data.tokenise import encode, learn_tokenizer
from reinduce.task import Task
from reinduce.task.source_text import TRAIN_FILE, SourceTextSpec, training_tokens, windows, with_start
from reinduce.trace.files import written_aside

log = logging.getLogger(__name__)

TYPECODES = {torch.uint16: "H", torch.int32: "i"}
COUNT_AT_ONCE = 1 << 22


def prepare(task: Task, folder: Path) -> tuple[list[Path], dict]:
    """Write tokenizer, training tokens, list of sources and evaluation sets; returns files and facts.

    Raises FileNotFoundError or ValueError if a source cannot be used or there is too little text.
    """
    spec, sources = task.spec, find_sources(task.spec)
    parts = split(sources, spec.heldout_share)
    log.info("source_text: %d texts, %.1f MB", len(sources), sum(source.size for source in sources) / 1e6)
    tokenizer = learn_tokenizer(parts["train"], spec.vocabulary, spec.tokenizer_bytes)

    typecode = TYPECODES[spec.dtype]
    heldout = array(typecode)
    for ids in encode(tokenizer, parts["heldout"], typecode, "held-out"):
        heldout.extend(ids)
    heldout_BT = heldout_windows(spec, torch.frombuffer(heldout, dtype=spec.dtype), task.evaluation.heldout_examples)

    with written_aside(folder / "tokenizer.json") as aside:
        tokenizer.save(str(aside))
    with written_aside(folder / TRAIN_FILE) as aside, aside.open("wb") as file:
        for ids in encode(tokenizer, parts["train"], typecode, "training"):
            ids.tofile(file)
    tokens = training_tokens(spec, folder)
    made = [folder / "tokenizer.json", folder / TRAIN_FILE, write_sources(parts, folder / "sources.parquet")]
    made += write_frozen_sets(task, heldout_BT, common_tokens(spec, tokens), folder)
    return made, {
        "digest": digest(sources),
        "packages": {source.package: source.version for source in sources if source.package},
        "texts": {part: len(chosen) for part, chosen in parts.items()},
        "bytes": {part: sum(source.size for source in chosen) for part, chosen in parts.items()},
        "tokens": {"train": len(tokens), "heldout": len(heldout)},
    }


def heldout_windows(spec: SourceTextSpec, tokens: Tensor, examples: int) -> Tensor:
    """Windows [examples, context] that do not overlap, spread evenly over the held-out tokens.

    Raises ValueError if there are fewer.
    """
    cut = windows(spec, tokens)
    require(
        examples <= len(cut),
        f"too little text: the held-out part has {len(cut)} windows of {spec.context - 1} tokens, "
        f"evaluation.heldout_examples wants {examples}; give more text, raise heldout_share or lower heldout_examples",
    )
    return with_start(cut[torch.arange(examples) * len(cut) // examples])


def common_tokens(spec: SourceTextSpec, tokens: Tensor) -> Tensor:
    """The ids that occur in training, without the most and the least common of them (Olsson et al. 2022).

    Most byte-level vocabularies hold ids that no text uses: ranking only those that occur
    keeps them from using up the share of the least common.
    """
    counts = torch.zeros(spec.vocabulary, dtype=torch.int64)
    for part in tokens.split(COUNT_AT_ONCE):
        counts += torch.bincount(part.to(torch.int64), minlength=spec.vocabulary)
    ranked = counts.argsort(stable=True)[int((counts == 0).sum()) :]
    left_out = round(spec.excluded_share * len(ranked))
    return ranked[left_out : len(ranked) - left_out].sort().values

"""Text to token ids: byte-level byte-pair encoding.

The library that does it is imported where it is used: everything else in the data stage
runs without it.
"""

import logging
from array import array
from collections.abc import Iterator

from reinduce.config.job_specs import require
from reinduce.tasks.text_sources import Source

log = logging.getLogger(__name__)

START_TOKEN = "<|start|>"
TEXTS_AT_ONCE = 64


def learn_tokenizer(sources: list[Source], vocabulary: int, limit: int):
    """Learn a tokenizer from the first `limit` bytes of the sources, at least one whole source.

    Returns a `tokenizers.Tokenizer` with the start token as id 0. Raises ValueError if the
    text has too few distinct pairs for the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_texts(sources, limit), trainer)
    learned = tokenizer.get_vocab_size()
    require(
        learned == vocabulary,
        f"too little text for a vocabulary of {vocabulary}: only {learned} tokens could be learned; "
        "give more text or a smaller vocabulary",
    )
    # The start token's name is ordinary text where a source happens to spell it.
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer, sources: list[Source], typecode: str, part: str) -> Iterator[array]:
    """The token ids of the sources in order, in arrays of the given type code. Logs progress."""
    total = sum(source.size for source in sources)
    done = tokens = tenths = 0
    for first in range(0, len(sources), TEXTS_AT_ONCE):
        group = sources[first : first + TEXTS_AT_ONCE]
        for encoding in tokenizer.encode_batch_fast([source.text for source in group], add_special_tokens=False):
            tokens += len(encoding.ids)
            yield array(typecode, encoding.ids)
        done += sum(source.size for source in group)
        if done * 10 // total > tenths:
            tenths = done * 10 // total
            log.info("%s text: %d %% of %.1f MB encoded, %.1f M tokens", part, tenths * 10, total / 1e6, tokens / 1e6)


def _first_texts(sources: list[Source], limit: int) -> Iterator[str]:
    taken = 0
    for source in sources:
        if taken >= limit:
            return
        taken += source.size
        yield source.text

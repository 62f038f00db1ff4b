"""Small corpora."""

import random
from pathlib import Path

import pytest


def text(number: int) -> str:
    """About 3,000 characters; every line carries the text's own number."""
    generator = random.Random(number)
    words = ["induction", "head", "copies", "what", "followed", "before", "été", "naïve", "x = 1", "(", ")"]
    lines = (" ".join(generator.choices(words, k=8)) for _ in range(60))
    return "".join(f"text{number:03d} {line}\n" for line in lines)


@pytest.fixture
def texts() -> dict[str, str]:
    """Forty texts by name."""
    return {f"part{i % 4}/text{i:03d}.txt": text(i) for i in range(40)}


@pytest.fixture
def corpus(tmp_path, texts) -> Path:
    """The texts as files in a folder."""
    folder = tmp_path / "corpus"
    for name, content in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return folder

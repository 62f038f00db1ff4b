"""The report's front page: the ledger, with links to figures and to each claim's own file."""

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from reinduce.report import ledger as words
from reinduce.report import pages

THUMBNAIL = (560, 340)  # pixels at most


def page(
    ledger: Mapping, figures: Iterable[str | Path], folder: Path, traces: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The front page of a ledger (see `ledger.read`), to be written into `folder`, as HTML.

    `traces`: 'study.claim' → where its number comes from, as lines.
    """
    cards = {Path(figure).stem: _card(Path(figure), folder) for figure in figures}
    return pages.render(
        "index.html.j2",
        scale=ledger["scale"],
        folder=folder.as_posix(),
        claims=[
            row
            | {"page": cards.get(f"{row['study']}.{row['figure']}")}
            | {"trace": traces.get(f"{row['study']}.{row['claim']}")}
            for row in ledger["claims"]
        ],
        counts=words.counts(ledger["claims"]),
        figures=list(cards.values()),
    )


def _card(figure: Path, folder: Path) -> dict:
    """A figure's link, title and first picture in small. Raises FileNotFoundError."""
    text = figure.read_text()
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', text)
    return {
        "link": Path(os.path.relpath(figure, folder)).as_posix(),
        "title": html.unescape(title[1]).strip() if title else figure.stem,
        "thumbnail": _small(base64.b64decode(picture[1])) if picture else None,
    }


def _small(png: bytes) -> str:
    """A picture made small, as base64 text."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail(THUMBNAIL)
    out = io.BytesIO()
    picture.quantize(64).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()

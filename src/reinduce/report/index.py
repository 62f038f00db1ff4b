"""The report's front page: the ledger, with links to figures and to each claim's own file."""

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from reinduce.report import pages
from reinduce.report.ledger import count_verdicts

THUMBNAIL_SIZE = (560, 340)
"""Largest width and height of a thumbnail in pixels."""


def render_index(
    ledger: Mapping[str, Any],
    figures: Iterable[str | Path],
    folder: Path,
    traces: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Render the front page of a ledger.

    Args:
        ledger: As `ledger.read_ledger` returns it.
        figures: Figure pages to link.
        folder: Where the page will be written.
        traces: 'study.claim' → the chain of its number, as lines of text.

    Returns:
        HTML.

    Raises:
        FileNotFoundError: A figure page does not exist.
    """
    cards = {Path(figure).stem: _make_card(Path(figure), folder) for figure in figures}
    return pages.render_template(
        "index.html.j2",
        scale=ledger["scale"],
        folder=folder.as_posix(),
        claims=[
            row
            | {"page": cards.get(f"{row['study']}.{row['figure']}")}
            | {"trace": traces.get(f"{row['study']}.{row['claim']}")}
            for row in ledger["claims"]
        ],
        counts=count_verdicts(ledger["claims"]),
        figures=list(cards.values()),
    )


def _make_card(figure: Path, folder: Path) -> dict[str, str | None]:
    """A figure's link, title and first picture as a thumbnail; raises FileNotFoundError."""
    text = figure.read_text()
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', text)
    return {
        "link": Path(os.path.relpath(figure, folder)).as_posix(),
        "title": html.unescape(title[1]).strip() if title else figure.stem,
        "thumbnail": _make_thumbnail(base64.b64decode(picture[1])) if picture else None,
    }


def _make_thumbnail(png: bytes) -> str:
    """A picture of at most THUMBNAIL_SIZE, as base64 text."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail(THUMBNAIL_SIZE)
    out = io.BytesIO()
    picture.quantize(64).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()

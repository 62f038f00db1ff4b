"""HTML pages of the report: self-contained; every value is escaped unless a template marks it as safe."""

from pathlib import Path
from typing import Any

import jinja2

from reinduce.report import ledger

TEMPLATES = Path(__file__).parent / "templates"


def render_template(template: str, **values: Any) -> str:
    """Render a page.

    Args:
        template: A file of TEMPLATES.
        values: The template's variables.

    Returns:
        HTML.

    Raises:
        jinja2.UndefinedError: The template uses a variable without a value.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": ledger.format_number, "estimate": ledger.format_estimate}
    return environment.get_template(template).render(**values) + "\n"

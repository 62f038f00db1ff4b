"""HTML pages of the report: self-contained, every value escaped unless a template says otherwise."""

from pathlib import Path

import jinja2

from reinduce.report import ledger

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values) -> str:
    """The text of a page. Raises jinja2.UndefinedError for a value that the template needs and lacks."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": ledger.number, "interval": ledger.interval}
    return environment.get_template(template).render(**values) + "\n"

"""`reinduce schemas`."""

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reinduce.config.user_config import Claim, Config, Scale, Study
from reinduce.trace.files import write_text

SCHEMAS: dict[str, Any] = {"config": Config, "scale": Scale, "study": Study, "claims": list[Claim]}


def add_schemas_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("workflow/schemas"), help="where they go")


def run_schemas(args: argparse.Namespace) -> None:
    """Write the schemas of the files that people write, from the types that check them."""
    for name, text in schemas().items():
        write_text(args.out / name, text)


def schemas() -> dict[str, str]:
    """File name → JSON schema."""
    return {
        f"{name}.schema.json": json.dumps(TypeAdapter(kind).json_schema(by_alias=True), indent=2, sort_keys=True) + "\n"
        for name, kind in SCHEMAS.items()
    }

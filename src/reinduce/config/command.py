"""`reinduce schemas` and `reinduce register`."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reinduce.config import registration
from reinduce.config.claim_files import Calibration, Claim
from reinduce.config.load import load
from reinduce.config.user_config import Config, Scale, Study
from reinduce.trace.files import write_text

SCHEMAS: dict[str, Any] = {
    "config": Config,
    "scale": Scale,
    "study": Study,
    "claims": list[Claim],
    "calibration": list[Calibration],
}


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


def add_register_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reinduce register`."""
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")


def _read_ledger(path: Path) -> list[dict[str, Any]]:
    """The rows of a ledger; raises ValueError if the file is not one."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text())["claims"]
        registration.list_known_seeds([rows])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path}: not a ledger; make it again with: snakemake --cores all {path}") from None
    return rows


def run_register(args: argparse.Namespace) -> None:
    """Register every claim that is new or was amended, and print which.

    Raises:
        ConfigError: with every problem of the configuration.
        ValueError: a registration cannot be read.
    """
    resolved = load(root=args.root)
    ledgers = [args.root / registration.REFERENCE, args.root / resolved.results / "ledger.json"]
    known = registration.list_known_seeds(_read_ledger(path) for path in ledgers if path.is_file())
    date = time.strftime("%Y-%m-%d", time.gmtime())
    for study, folder in resolved.folders.items():
        lines = registration.read_registration(args.root / folder)
        claims = [claim for claim in resolved.claims.values() if claim["study"] == study]
        added = registration.register_claims(lines, claims, known, date)
        if added:
            path = args.root / folder / registration.FILE
            write_text(path, json.dumps(lines, indent=1, sort_keys=True) + "\n")
            print("\n".join(added))

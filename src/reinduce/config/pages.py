"""`reinduce docs`: docs/metrics.md and docs/glossary.md, written from the declarations.

Both pages are written as a whole and never edited. What no declaration holds, such as the field's words
and the reasons of verdicts, is hand-written in docs/terms.yaml.
"""

import argparse
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reinduce import studies
from reinduce.config import yaml
from reinduce.config.declare import Metric
from reinduce.config.describe import (
    code,
    describe_keys,
    describe_module,
    format_range,
    format_table,
    format_tolerance,
)
from reinduce.config.find import find_all
from reinduce.config.glossary import TERMS_FILE, WRITTEN, format_glossary
from reinduce.trace.files import write_text

LEVELS = {
    "head": "Metrics of heads",
    "layer": "Metrics of layers",
    "model": "Metrics of models",
    "run": "Metrics of runs",
    "effect": "Metrics of ablation, attribution and loss components",
}
"""Level of a metric → heading of its section."""


def add_docs_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reinduce docs`."""
    parser.add_argument("--out", type=Path, default=Path("docs"), help=f"the folder of the pages and of {TERMS_FILE}")


def run_docs(args: argparse.Namespace) -> None:
    """Write the pages that follow from the declarations of the library and of all studies.

    Raises:
        FileNotFoundError: if the folder has no terms.
    """
    names = list_studies([studies.OWN_FOLDER, *args.studies])
    for name, text in format_pages(yaml.read(args.out / TERMS_FILE), names).items():
        write_text(args.out / name, text)


def list_studies(folders: Iterable[Path]) -> list[str]:
    """Return the keys of the studies in some folders, sorted."""
    return sorted(path.parent.name for folder in folders for path in Path(folder).glob("*/study.yaml"))


def format_pages(terms: Mapping[str, Any], study_keys: Sequence[str]) -> dict[str, str]:
    """Format the pages.

    Args:
        terms: content of the file of terms.
        study_keys: studies whose declarations count beside the library's.

    Returns:
        File name → text.
    """
    found = {kind: collect(kind, study_keys) for kind in ("metric", "task", "intervention", "ablation")}
    return {"metrics.md": format_metrics_page(found), "glossary.md": format_glossary(found, terms)}


def collect(kind: str, study_keys: Sequence[str]) -> list[Any]:
    """Return what the library, then each study declares of a kind: by module, then in the order of the source.

    Declarations outside of the package, such as those of tests in the same process, do not count.
    """
    return [
        declared
        for owner in ("", *study_keys)
        for declared in sorted(find_all(kind, owner).values(), key=lambda one: one.module)
        if declared.owner == owner and declared.module.startswith("reinduce.")
    ]


def format_metrics_page(found: Mapping[str, Sequence[Any]]) -> str:
    """Format docs/metrics.md.

    Args:
        found: kind of declaration → declarations.
    """
    metrics: Sequence[Metric] = found["metric"]
    owners = list(dict.fromkeys(declared.owner for kind in found.values() for declared in kind))
    parts = [
        "# Metrics, tasks and interventions\n",
        WRITTEN,
        "Everything that the library and the studies declare. Words are explained in the [glossary](glossary.md), "
        "choices\nthat concern more than one metric in [decisions](decisions.md).\n",
        "In tables, a null means “not scored”, never zero. Each row has the version of the metric's definition; a new\n"
        "definition gets a new version. Rows of a metric that is measured on several evaluation sets are named\n"
        "`metric:set`; other suffixes after a colon are explained with the metric.\n",
        "## All metrics\n",
        format_table(
            ["metric", "of", "level", "unit", "range", "evaluation set", "without the property"],
            (
                [
                    f"[`{one.name}`](#{one.name})",
                    one.owner or "library",
                    one.level,
                    one.unit,
                    format_range(one.value_range),
                    code(one.sets) or "—",
                    one.null,
                ]
                for one in metrics
            ),
        ),
        "## Evaluation sets\n",
        format_table(["set", "tasks", "metrics that read it"], _evaluation_sets(found)),
    ]
    for owner in owners:
        own = {kind: [one for one in declared if one.owner == owner] for kind, declared in found.items()}
        parts.append(f"## {owner or 'Library'}\n")
        for level, heading in LEVELS.items():
            chosen = [one for one in own["metric"] if one.level == level]
            parts += [f"### {heading}\n"] * bool(chosen) + [format_metric(one) for one in chosen]
        parts += ["### Tasks\n"] * bool(own["task"]) + [format_task(one) for one in own["task"]]
        parts += ["### Interventions\n"] * bool(own["intervention"])
        parts += [format_intervention(one) for one in own["intervention"]]
        parts += ["### Ablations\n"] * bool(own["ablation"])
        for one in own["ablation"]:
            set_ = f"- **Evaluation set** `{one.evaluation_set}`\n- **Version** {one.version}\n"
            parts.append(f"#### `{one.name}`\n\n{one.description}\n\n{set_}")
    return "\n".join(parts)


def _evaluation_sets(found: Mapping[str, Sequence[Any]]) -> list[list[str]]:
    names = dict.fromkeys(name for task in found["task"] for name in task.evaluation_sets)
    return [
        [
            f"`{name}`",
            code(task.qualified_name() for task in found["task"] if name in task.evaluation_sets),
            code(metric.name for metric in found["metric"] if name in metric.sets),
        ]
        for name in names
    ]


def format_metric(declared: Metric) -> str:
    """Format a metric's section: its description, then its facts, without those it leaves open."""
    passes = declared.evaluation_sets or filter(None, (declared.evaluation_set,))
    facts = {
        "Unit": declared.unit,
        "Range": format_range(declared.value_range),
        "Evaluation set": code(passes),
        "Examples": "" if declared.examples is None else f"the first {declared.examples}",
        "Also reads": code(declared.also),
        "Sites": code(declared.sites),
        "Computed from": code(declared.after),
        "Layers": f"{declared.min_layers} or more" if declared.min_layers > 1 else "",
        "Checkpoints": "the first and the last" if declared.only_ends else "",
        "Ablations": "measured by sweeps too" if declared.token_weights or declared.summand else "",
        "Without the property": declared.null,
        "Source": declared.source,
        "Tolerance": f"{format_tolerance(declared.tolerance)}. {declared.tolerance.reason}",
        "Version": str(declared.version),
    }
    lines = [f"- **{name}** {value}\n" for name, value in facts.items() if value]
    return f"#### `{declared.name}`\n\n{declared.description}\n\n{''.join(lines)}"


def format_task(declared: Any) -> str:
    """Format a task's section: what its module and its class state, its evaluation sets, and its keys."""
    rows = [
        [f"`{part}.{key.name}`", f"`{key.default}`" if key.default else "required", key.meaning]
        for part, cls in (("spec", declared.Spec), ("evaluation", declared.Sizes))
        for key in describe_keys(cls)
    ]
    return "\n\n".join(
        [
            f"#### `{declared.name}`",
            describe_module(declared.module),
            inspect.cleandoc(declared.__doc__ or ""),
            f"- **Evaluation sets** {code(declared.evaluation_sets)}",
            format_table(["key", "default", "meaning"], rows),
        ]
    )


def format_intervention(declared: Any) -> str:
    """Format an intervention's section: its docstring and its keys."""
    rows = [
        [f"`{key.name}`", f"`{key.default}`" if key.default else "required", key.meaning]
        for key in describe_keys(declared)
    ]
    name = declared.type.rpartition(".")[2]
    text = inspect.cleandoc(declared.__doc__)
    return "\n\n".join([f"#### `{name}`", text, format_table(["key", "default", "meaning"], rows)])

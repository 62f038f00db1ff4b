"""docs/glossary.md: one line for every term of the tables, the configuration, the verdicts and the field."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from reinduce.config import claim_files, job_specs, metric_settings, user_config
from reinduce.config.describe import code, describe_keys, describe_module, first_sentence, format_table
from reinduce.tables.schemas import SCHEMAS

TERMS_FILE = "terms.yaml"
"""The hand-written terms, in the folder of the pages."""
WRITTEN = "<!-- Written by `reinduce docs`; edits are lost. -->\n"
PLACES = {
    user_config.Config: "`config.yaml`",
    user_config.Override: "`overrides` of `config.yaml`; `scales.<scale>.arms` of `study.yaml`",
    user_config.Cluster: "`cluster`",
    user_config.Scale: "`workflow/scales/<scale>.yaml`",
    user_config.TaskSize: "`tasks` of a scale",
    metric_settings.MetricSettings: "`metrics` of a scale",
    metric_settings.PositionRanges: "`metrics.icl_position_ranges`",
    metric_settings.AblateSpec: "`ablate` of a scale",
    metric_settings.HeadSelection: "`ablate.selections`",
    user_config.Study: "`study.yaml`",
    user_config.Arm: "`arms` of `study.yaml`",
    user_config.Variant: "`tasks` of `study.yaml`",
    user_config.StudySize: "`scales` of `study.yaml`",
    user_config.TrainingDefaults: "`scales.<scale>.tasks` of `study.yaml`",
    user_config.Figure: "`figures` of `study.yaml`",
    job_specs.ModelSpec: "`model`",
    job_specs.TrainSpec: "`train`",
    job_specs.CheckpointSpec: "`train.checkpoints`",
    job_specs.GraftSpec: "`graft` of an arm",
    job_specs.ArmSpec: "`train.json`",
    claim_files.Claim: "`claims.yaml`",
    claim_files.Calibration: "`calibration.yaml`",
    claim_files.Source: "`source` of a claim",
    claim_files.Criterion: "`criterion` of a claim",
    user_config.Budget: "`budget` of config.yaml",
    claim_files.PaperValue: "`paper_value` of a claim",
    claim_files.Deviation: "`deviation` of a criterion",
    claim_files.Side: "`holds` and `fails` of a criterion",
    claim_files.Control: "`control` of a claim",
}
"""Class of the configuration → where people write its keys."""


def format_glossary(found: Mapping[str, Sequence[Any]], terms: Mapping[str, Any]) -> str:
    """Format docs/glossary.md: one line for every term.

    Args:
        found: kind of declaration → declarations.
        terms: content of the file of terms.
    """
    parts = [
        "# Glossary\n",
        WRITTEN,
        "One line for every term of the field, of the tables, of the configuration and of the verdicts. The\n"
        f"hand-written lines are in [{TERMS_FILE}]({TERMS_FILE}); all others come from the declarations.\n",
    ]
    for title, key in (("Words", "words"), ("Verdicts", "verdicts"), ("Results of comparisons", "comparisons")):
        parts += [f"## {title}\n", format_table(["term", "meaning"], sorted(terms[key].items(), key=_fold))]
    rows_of = ([f"`{name}`", terms["tables"][name]] for name in SCHEMAS)
    parts += ["## Tables\n", format_table(["table", "rows"], rows_of)]
    parts += ["## Columns\n", format_table(["column", "tables", "unit", "meaning"], column_rows())]
    parts += ["## Values of columns\n", format_table(["value", "column", "meaning"], _value_rows(terms["values"]))]
    parts += ["## Keys of the configuration\n", format_table(["key", "in", "meaning"], key_rows())]
    parts += [
        "## Metrics\n",
        format_table(
            ["metric", "of", "meaning"],
            (
                [f"[`{one.name}`](metrics.md#{one.name})", one.owner or "library", first_sentence(one.description)]
                for one in sorted(found["metric"], key=lambda one: one.name)
            ),
        ),
    ]
    for title, kind in (("Tasks", "task"), ("Interventions", "intervention"), ("Ablations", "ablation")):
        rows = ((name, owner or "library", text) for name, owner, text in sorted(map(_summarise, found[kind])))
        linked = ([f"[`{name}`](metrics.md#{name})", owner, text] for name, owner, text in rows)
        parts += [f"## {title}\n", format_table([kind, "of", "meaning"], linked)]
    return "\n".join(parts)


def _fold(row: Sequence[str]) -> str:
    """Return what a row is sorted by: its term, whatever the case."""
    return row[0].strip("`").casefold()


def _summarise(declared: Any) -> tuple[str, str, str]:
    """Return a declaration's name, its owner, and the first sentence about it."""
    if hasattr(declared, "evaluation_sets"):
        # The module describes the task; its class adds which files it writes.
        text = describe_module(declared.module)
    else:
        text = getattr(declared, "description", None) or inspect.cleandoc(declared.__doc__)
    name = getattr(declared, "type", None) or declared.name
    return name.rpartition(".")[2], declared.owner, first_sentence(text)


def column_rows() -> list[list[str]]:
    """Return a row for every column: those of one name, unit and meaning share it."""
    tables: dict[tuple[str, str, str], list[str]] = {}
    for table, columns in SCHEMAS.items():
        for column in columns:
            tables.setdefault((column.name, column.unit, column.meaning), []).append(table)
    return [[f"`{name}`", code(names), unit, meaning] for (name, unit, meaning), names in sorted(tables.items())]


def key_rows() -> list[list[str]]:
    """Return a row for every key of the configuration: those of one name and meaning share it."""
    places: dict[tuple[str, str], list[str]] = {}
    for cls, place in PLACES.items():
        for key in describe_keys(cls):
            places.setdefault((key.name, key.meaning), []).append(place)
    return [[f"`{name}`", "; ".join(where), meaning] for (name, meaning), where in sorted(places.items())]


def _value_rows(values: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    return [[f"`{value}`", f"`{column}`", text] for column, named in values.items() for value, text in named.items()]

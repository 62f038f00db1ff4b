"""Claims and figures of the studies, resolved: which arms they read, and whether these have what is read."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from reinduce.config.layout import SERIES_TABLES, TABLES, bound_reads
from reinduce.config.resolved import Resolved
from reinduce.config.user_config import Claim, Study
from reinduce.config.validate import note_unknown, read, validated


def check_figures(root: Path, folder: str, study: Study, problems: list[str]) -> None:
    for figure in study.figures:
        for what, ending in (("notebook", ".py"), ("caption", ".rst")):
            name = f"figures/{figure}{ending}"
            if not (root / folder / name).is_file():
                problems.append(
                    f"{folder}/study.yaml: figures.{figure}: its {what} {name} is not in the study's folder"
                )


def check_reads(resolved: Resolved, key: str, problems: list[str]) -> None:
    for name, figure in resolved.studies[key].figures.items():
        where = f"{resolved.folders[key]}/study.yaml: figures.{name}.reads"
        note_unknown(figure.reads, resolved.studies, where, problems)
        for study, arms in (figure.reads or {key: list(resolved.studies[key].arms)}).items():
            if study in resolved.studies:
                note_unknown(arms, resolved.studies[study].arms, f"{where}.{study}", problems)
            _without(resolved, figure.tables, [f"{study}/{arm}" for arm in arms], f"{where}.{study}", problems)


def _without(resolved: Resolved, tables: Iterable[str], arms: Iterable[str], where: str, problems: list[str]) -> None:
    """Notes the arms that do not have a table which is read of them."""
    for name in arms:
        run = resolved.runs.get(name)
        reasons: dict[str, list[str]] = {}
        for table in tables:
            reason = run.unavailable_reason(table) if run is not None else None
            if reason:
                reasons.setdefault(reason, []).append(table)
        problems += [f"{where}: {name} {why}, and so no {' or '.join(lacking)}" for why, lacking in reasons.items()]


def add_claims(resolved: Resolved, key: str, root: Path, problems: list[str]) -> None:
    where = f"{resolved.folders[key]}/claims.yaml"
    listed = read(root, where, problems) if (root / where).is_file() else []
    study = resolved.studies[key]
    for place, values in enumerate(listed or []):
        label = values.get("id", f"entry {place + 1}") if isinstance(values, dict) else f"entry {place + 1}"
        claim = validated(Claim, values, f"{where}: {label}", problems)
        if claim is None:
            continue
        name = f"{key}.{claim.id}"
        if name in resolved.claims:
            problems.append(f"{where}: {label}: given twice")
        if claim.figure not in study.figures:
            problems.append(f"{where}: {label}: figure: no {claim.figure!r}; there are: {', '.join(study.figures)}")
        seeds = _seeds_read(resolved, key, claim, f"{where}: {label}", problems)
        plain = {"study": key, "claim": claim.id, "scale": resolved.config.scale, "seeds": seeds}
        resolved.claims[name] = plain | claim.model_dump(by_alias=True, exclude_none=True)


def _seeds_read(resolved: Resolved, key: str, claim: Claim, where: str, problems: list[str]) -> dict[str, list[int]]:
    """'study/arm' → seeds of every arm that a claim and its control read; of all arms for tables of a whole task."""
    seeds: dict[str, list[int]] = {}
    for bindings in (claim.with_, claim.with_ | claim.control.with_):
        try:
            reads = bound_reads(claim.reads, key, bindings)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        note_unknown(reads, TABLES, f"{where}: reads", problems)
        for table, names in reads.items():
            read = _readable(resolved.studies, table)
            note_unknown(names, read, f"{where}: reads.{table}", problems)
            # An arm whose own settings are wrong has been told of already.
            arms = [arm for name in names for arm in read.get(name, []) if arm in resolved.runs]
            _without(resolved, [table], arms, f"{where}: reads.{table}", problems)
            seeds |= {arm: list(resolved.runs[arm].seeds) for arm in arms}
    return seeds


def _readable(studies: Mapping[str, Study], table: str) -> dict[str, list[str]]:
    """What a claim may read of a table, 'study/arm' or 'study/task' → the arms that this takes."""
    found: dict[str, list[str]] = {}
    for key, study in studies.items():
        for name, arm in study.arms.items():
            found.setdefault(f"{key}/{arm.task if table in SERIES_TABLES else name}", []).append(f"{key}/{name}")
    return found

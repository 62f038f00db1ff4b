"""Claims and figures of the studies, resolved: which arms they read, and whether these have what is read."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reinduce.config.claim_files import Calibration, Claim
from reinduce.config.layout import TABLES, bound_reads
from reinduce.config.registration import find_line, hash_claim, read_registration
from reinduce.config.resolved import Resolved
from reinduce.config.user_config import Budget, Study
from reinduce.config.validate import note_unknown, read, validated


def _read_list(root: Path, name: str, problems: list[str]) -> list[Any]:
    """The entries of a file of a study; none if the study lacks it."""
    listed = read(root, name, problems) if (root / name).is_file() else None
    if listed not in (None, {}) and not isinstance(listed, list):
        problems.append(f"{name}: a list of entries is expected")
    return listed if isinstance(listed, list) else []


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


def check_calibration(resolved: Resolved, key: str, root: Path, problems: list[str]) -> None:
    """Notes entries of calibration.yaml whose seeds are judged by some look."""
    where = f"{resolved.folders[key]}/calibration.yaml"
    listed = _read_list(root, where, problems)
    for place, values in enumerate(listed):
        entry = validated(Calibration, values, f"{where}: entry {place + 1}", problems)
        if entry is None:
            continue
        note_unknown(entry.arms, resolved.studies[key].arms, f"{where}: entry {place + 1}: arms", problems)
        for arm in entry.arms if entry.code.strip().casefold() == "this" else ():
            run = resolved.runs.get(f"{key}/{arm}")
            judged = sorted(set(entry.seeds) & set(run.seeds_at(len(run.blocks)))) if run else []
            if judged:
                names = ", ".join(map(str, judged))
                problems.append(
                    f"{where}: entry {place + 1}: {arm} is judged by seeds {names}; choose other first_seed"
                )


def add_claims(resolved: Resolved, key: str, root: Path, problems: list[str]) -> None:
    where = f"{resolved.folders[key]}/claims.yaml"
    listed = _read_list(root, where, problems)
    study = resolved.studies[key]
    try:
        registered = read_registration(root / resolved.folders[key])
    except ValueError as error:
        problems.append(str(error))
        registered = {}
    for place, values in enumerate(listed):
        label = values.get("id", f"entry {place + 1}") if isinstance(values, dict) else f"entry {place + 1}"
        claim = validated(Claim, values, f"{where}: {label}", problems)
        if claim is None:
            continue
        name = f"{key}.{claim.id}"
        if name in resolved.claims:
            problems.append(f"{where}: {label}: given twice")
        if claim.figure not in study.figures:
            problems.append(f"{where}: {label}: figure: no {claim.figure!r}; there are: {', '.join(study.figures)}")
        sides = _arms_read(resolved, key, claim, f"{where}: {label}", problems)
        content = claim.model_dump(by_alias=True, exclude_none=True)
        content["family"] = claim.family or claim.source.where
        names = {name for side in sides for name in side}
        digest = hash_claim(content, _declared_seeds(resolved, names))
        line = find_line(registered.get(claim.id, []), digest)
        resolved.claims[name] = content | {
            "study": key,
            "claim": claim.id,
            "scale": resolved.config.scale,
            "looks": _looks(resolved, sides),
            "hash": digest,
            "registered": line | {"other_seeds": True} if line and _has_other_seeds(resolved, names) else line,
        }
    _count_families(resolved, key)


def _count_families(resolved: Resolved, key: str) -> None:
    """Note in each claim of a study how many claims its family has."""
    own = [claim for claim in resolved.claims.values() if claim["study"] == key]
    sizes = Counter(claim["family"] for claim in own)
    for claim in own:
        claim["family_size"] = sizes[claim["family"]]


def _arms_read(resolved: Resolved, key: str, claim: Claim, where: str, problems: list[str]) -> list[list[str]]:
    """'study/arm' of every arm that a claim reads, then of its control."""
    found: list[list[str]] = []
    every_arm = [f"{study}/{arm}" for study, content in resolved.studies.items() for arm in content.arms]
    for bindings in (claim.with_, claim.with_ | claim.control.with_):
        try:
            reads = bound_reads(claim.reads, key, bindings)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        note_unknown(reads, TABLES, f"{where}: reads", problems)
        found.append([])
        for table, names in reads.items():
            note_unknown(names, every_arm, f"{where}: reads.{table}", problems)
            # An arm whose own settings are wrong has been told of already.
            arms = [name for name in names if name in resolved.runs]
            _without(resolved, [table], arms, f"{where}: reads.{table}", problems)
            found[-1] += arms
    return found


def _looks(resolved: Resolved, sides: list[list[str]]) -> list[dict[str, list[int]]]:
    """For each look at a claim, 'study/arm' → its seeds: those that all arms of the claim, or all of its control, have.

    A look is left out where it adds none.
    """
    sides = [side for side in sides if side]
    names = list(dict.fromkeys(name for side in sides for name in side))
    last = max((len(resolved.runs[name].blocks) for name in names), default=0)
    looks: list[dict[str, list[int]]] = []
    shared: list[list[set[int]]] = []
    for look in range(1, last + 1):
        seeds = {name: resolved.runs[name].seeds_at(look) for name in names}
        common = [set.intersection(*(set(seeds[name]) for name in side)) for side in sides]
        if not shared or common != shared[-1]:
            shared.append(common)
            beside = {name: [common[place] for place, side in enumerate(sides) if name in side] for name in names}
            looks.append({name: sorted(set().union(*found)) for name, found in beside.items()})
    return looks


def _has_other_seeds(resolved: Resolved, names: Iterable[str]) -> bool:
    """Whether config.yaml gives arms other numbers of seeds than their study does, or ends their looks earlier."""
    config = resolved.config
    overrides = (config.overrides.get(key, {}).get(arm) for key, arm in (name.split("/") for name in names))
    overridden = any(override is not None and override.seeds is not None for override in overrides)
    return overridden or config.looks is not None or config.budget != Budget() or config.seed_factor != 1


def _declared_seeds(resolved: Resolved, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Scale → arm → its seeds at each look, as the studies declare them."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(names):
        key, arm = name.split("/")
        study = resolved.studies[key]
        task = study.arms[arm].task
        kind = study.tasks[task].of if task in study.tasks else task
        for scale, size in study.scales.items():
            own = size.arms.get(arm)
            budget = size.tasks.get(task, size.tasks.get(kind))
            found.setdefault(scale, {})[name] = own.seeds if own and own.seeds else budget.seeds if budget else None
    return found

"""What is wrong with a claim before any result exists: its query, the names in it, its control, its seeds."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import duckdb

from reinduce import tables
from reinduce.config.declare import HALVES, Level, Metric
from reinduce.config.find import find_all
from reinduce.config.layout import common_seeds, schema_name
from reinduce.judge.criteria import read_criterion
from reinduce.judge.evidence import Reads, resolve_reads
from reinduce.judge.query import Bindings, Query, first_line, open_database, parse_query, run_query
from reinduce.judge.statistics import ERROR, holm_correction, least_p_value, min_seeds

INTEGER_TYPES = {
    f"{sign}{size}" for sign in ("", "u") for size in ("tinyint", "smallint", "integer", "bigint", "hugeint")
}
LEVELS = {
    "scores": {"head", "layer", "model"},
    "trajectories": {"run"},
    "series_trajectories": {"effect"},
}
"""Table → the levels of the metrics that its rows may have; tables that are not here may have all."""
NEAR = 0.85
"""How alike a text and a name are, as `difflib` measures it, of which one is taken for the other misspelt."""
SHORTEST = 6
"""Shorter texts are like too many names."""
NUMBER_TYPES = {*INTEGER_TYPES, "boolean", "float", "double", "decimal"}


def check_query(sql: str, reads: Reads, bindings: Bindings) -> str | None:
    """Check a query without results, against empty tables of the declared schemas.

    Args:
        sql: The query.
        reads: The tables that the claim declares, as claims.yaml has them.
        bindings: The claim's parameters.

    Returns:
        What is wrong, in one line: an unknown table, column or parameter, a table that is read but not declared or
        declared but not read, or columns other than seed and value. None if nothing is wrong.
    """
    try:
        query = parse_query(sql)
        resolved = resolve_reads(reads, "study", bindings)
    except ValueError as error:
        return str(error)
    in_reads = {name[1:] for names in reads.values() for name in names if name.startswith("$")}
    for difference, problem in (
        (query.parameters - set(bindings), "not bound by `with`"),
        (set(bindings) - query.parameters - in_reads, "bound by `with`, but not used"),
    ):
        if difference:
            return f"evidence: {', '.join(f'${name}' for name in sorted(difference))}: {problem}"
    declared = sorted({schema_name(table) for table in resolved})
    foreign = sorted(query.tables - set(declared))
    if foreign:
        return f"evidence: there is no table {', '.join(foreign)}; `reads` allows: {', '.join(declared)}"
    with open_database({table: tables.schema(table).empty_table() for table in declared}) as database:
        try:
            run_query(database, query, bindings)
            description = database.description
        except ValueError as error:
            return str(error)
        except duckdb.Error as error:
            return f"evidence: {first_line(error)} (`reads` allows: {', '.join(declared)})"
        unread = [table for table in declared if _runs_without(table, database, query, bindings)]
    if unread:
        return f"evidence: {', '.join(unread)}: declared under `reads`, but not read"
    return _check_columns(description)


def check_claims(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """Check the queries of claims and of their controls, without results.

    Args:
        claims: Resolved claims.

    Returns:
        A line for each query that is wrong or asks for a name that no row can have, and for each control that is the
        claim itself or its mirror.
    """
    problems = []
    for claim in claims:
        name, own = f"{claim['study']}.{claim['claim']}", claim["with"]
        problem = _check_control(
            *(
                {key: _plain(value, claim["study"]) for key, value in side.items()}
                for side in (own, own | claim["control"]["with"])
            )
        )
        problems += [f"{name} (control): {problem}"] if problem else []
        for label, bindings in (("", {}), (" (control)", claim["control"]["with"])):
            problem = check_query(claim["evidence"], claim["reads"], claim["with"] | bindings)
            problem = problem or _check_names(claim, claim["with"] | bindings)
            if problem:
                problems.append(f"{name}{label}: {problem}")
    return problems


def _check_names(claim: Mapping[str, Any], bindings: Bindings) -> str | None:
    """A study, arm or metric that a query asks for and that no row of the tables can have; None if there is none."""
    names = [name for names in resolve_reads(claim["reads"], claim["study"], bindings).values() for name in names]
    studies, arms = {name.split("/")[0] for name in names}, {name.split("/")[1] for name in names}
    levels = set().union(*(LEVELS.get(table, get_args(Level)) for table in claim["reads"]))
    metrics = {
        name: metric
        for study in sorted(studies)
        for name, metric in find_all("metric", study).items()
        if metric.level in levels
    }
    query = parse_query(claim["evidence"])
    for column, text in query.compared:
        value = str(bindings[text[1:]]) if text.startswith("$") else text
        known = {"study": studies, "arm": arms, "metric": metrics}.get(column)
        if known is None or (_is_measured(value, metrics) if column == "metric" else value in known):
            continue
        close = difflib.get_close_matches(value, known, n=1)
        advice = f"do you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
        where = "" if column == "metric" else " under `reads`"
        return f"evidence: {column}: no {value!r}{where}; {advice}"
    texts = query.texts | {value for value in bindings.values() if isinstance(value, str)}
    near = ((text, _find_near(text, {*metrics, *arms, *studies})) for text in sorted(texts))
    return next((f"evidence: {text!r}: do you mean {name!r}?" for text, name in near if name), None)


def _find_near(text: str, names: Iterable[str]) -> str | None:
    """The name of which a text is a misspelling, wherever in a query it stands.

    A text that has a name in it, or that a name has in it, is none; neither is one that is like no name.
    """
    head = text.split(":")[0].rstrip("%").split("/")[-1]
    if len(head) < SHORTEST or any(name in head or head in name for name in names):
        return None
    beginnings = {name[: len(head)]: name for name in names} | {name: name for name in names}
    close = difflib.get_close_matches(head, beginnings, n=1, cutoff=NEAR)
    return beginnings[close[0]] if close else None


def _is_measured(name: str, metrics: Mapping[str, Metric]) -> bool:
    """Whether rows can have a metric's name: its own, then `:set` if it is computed on several evaluation sets, then
    `:suffix` if it has halves or keys."""
    metric, *suffixes = name.split(":")
    if metric not in metrics:
        return False
    declared = metrics[metric]
    if declared.evaluation_sets and (not suffixes or suffixes.pop(0) not in declared.evaluation_sets):
        return False
    # Other suffixes are keys that the metric's own function gives.
    return not (declared.halves and suffixes) or suffixes[0] in HALVES


def _plain(value: Any, study: str) -> Any:
    """A bound value; an arm of the claim's own study without the study's name."""
    return value.removeprefix(f"{study}/") if isinstance(value, str) else value


def _check_control(own: Bindings, other: Bindings) -> str | None:
    """What is wrong with a control that a query can show; None if nothing is.

    A mirror has the claim's names in other places, and all other values in their own. Of what it would show, the
    claim's own verdict says everything.
    """
    if dict(own) == dict(other):
        return "it binds the same values as the claim, so it is the claim itself"
    names, others = (sorted(v for v in each.values() if isinstance(v, str)) for each in (own, other))
    numbers, other_numbers = ({k: v for k, v in each.items() if not isinstance(v, str)} for each in (own, other))
    if names == others and numbers == other_numbers:
        return "it binds the claim's values in other places: the claim's own verdict says all that it could show"
    return None


def _check_seeds(claim: Mapping[str, Any]) -> str | None:
    """What is wrong with the number of seeds of a claim's last look; None if some values of them could decide it."""
    criterion, n = read_criterion(claim["criterion"]), _count_seeds(claim)
    needed = {str(side): min_seeds(criterion.law, side) for side in (criterion.holds, criterion.fails)}
    short = {side: least for side, least in needed.items() if least is None or least > n}
    if not short:
        return None
    ways = "; ".join(f"{side} needs {least or 'more than a thousand'}" for side, least in short.items())
    return f"no values of its {n} seeds can show all that the criterion asks: {ways}; give its arms more seeds or looks"


def _count_seeds(claim: Mapping[str, Any]) -> int:
    """How many seeds a claim has at its last look."""
    return len(common_seeds(resolve_reads(claim["reads"], claim["study"], claim["with"]), claim["looks"][-1]))


def list_alone(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """List claims that can hold by themselves at best, since their seeds are too few for their family's error.

    Args:
        claims: Resolved claims.

    Returns:
        Names of claims that would not hold within their family even if all of it showed as much as its seeds can.
    """
    families: dict[tuple[str, str], dict[str, float]] = {}
    for claim in claims:
        criterion = read_criterion(claim["criterion"])
        best = least_p_value(criterion.law, criterion.holds, _count_seeds(claim))
        families.setdefault((claim["study"], claim["family"]), {})[f"{claim['study']}.{claim['claim']}"] = best
    corrected = {
        name: p
        for family in families.values()
        for name, p in zip(family, holm_correction(list(family.values())), strict=True)
    }
    return [name for name, p in corrected.items() if p is not None and p > ERROR]


def check_seeds(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """Check that the seeds of each claim's last look can decide it.

    Args:
        claims: Resolved claims.

    Returns:
        A line for each claim that no values of these seeds can show to hold, or to fail.
    """
    problems = {f"{claim['study']}.{claim['claim']}": _check_seeds(claim) for claim in claims}
    return [f"{name}: {problem}" for name, problem in problems.items() if problem]


def _check_columns(description: Iterable[tuple[Any, ...]]) -> str | None:
    """What is wrong with the columns of a query's result; None if nothing is."""
    columns = [(column[0], column[1].id) for column in description]
    names, types = [name for name, _ in columns], [kind for _, kind in columns]
    if names != ["seed", "value"]:
        return f"evidence: its columns must be seed, value, not {', '.join(names)}"
    if types[0] not in INTEGER_TYPES or types[1] not in NUMBER_TYPES:
        return f"evidence: seed must be a whole number and value a number, not {types[0]} and {types[1]}"
    return None


def _runs_without(table: str, database: duckdb.DuckDBPyConnection, query: Query, bindings: Bindings) -> bool:
    """True if a query also runs after a table is dropped, so never reads it."""
    database.begin()
    try:
        database.execute(f'DROP TABLE "{table}"')
        run_query(database, query, bindings)
    except duckdb.CatalogException:
        return False
    finally:
        database.rollback()
    return True

"""How a row of the benchmark is made: ours and the peer's work in turns, CPU seconds, medians."""

import functools
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

REPEATS = 3
TOLERANCE = 1e-5
BATCHES = (1, 2, 4, 8)
"""Sequences a call that a peer may choose from."""

Name = TypeVar("Name", bound=Hashable)


def compared(name: str, ours: float, peer: float, goal: float | None, difference: float, note: str = "") -> dict:
    """A row that compares seconds of ours and of the peer; without a goal it is for information."""
    met = None if goal is None else peer / ours >= goal and difference < TOLERANCE
    facts = {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "met": met}
    return facts | {"difference": difference, "note": note}


def in_turns(
    works: Mapping[Name, Callable[[], Any]], repeats: int = REPEATS
) -> tuple[dict[Name, float], dict[Name, Any]]:
    """Median CPU seconds of each piece of work, taken in turns, and what each gave in a first run that is not timed."""
    given = {name: work() for name, work in works.items()}
    seconds: dict[Name, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}, given


def best_batch(work: Callable[[int], object], repeats: int = REPEATS) -> int:
    """How many sequences a call are fastest for a peer."""
    seconds, _ = in_turns({size: functools.partial(work, size) for size in BATCHES}, repeats)
    return min(seconds, key=lambda size: seconds[size])

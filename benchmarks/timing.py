"""How a row of the benchmark is made: ours and the peer's work in turns, CPU seconds, medians."""

import statistics
import time
from collections.abc import Callable

REPEATS = 3
TOLERANCE = 1e-5
BATCHES = (1, 2, 4, 8)
"""Sequences a call that a peer may choose from."""

Work = Callable[[], object]


def compared(name: str, ours: float, peer: float, goal: float | None, difference: float, note: str = "") -> dict:
    """A row that compares seconds of ours and of the peer; without a goal it is for information."""
    met = None if goal is None else peer / ours >= goal and difference < TOLERANCE
    facts = {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "goal": goal, "met": met}
    return facts | {"difference": difference, "note": note}


def in_turns(works: dict[str, Work], repeats: int = REPEATS) -> tuple[dict[str, float], dict[str, object]]:
    """Median CPU seconds of each piece of work, taken in turns, and what each gave in a first run that is not timed."""
    given = {name: work() for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}, given


def best_batch(work: Callable[[int], object], repeats: int = REPEATS) -> int:
    """How many sequences a call are fastest for a peer."""
    seconds, _ = in_turns({size: lambda size=size: work(size) for size in BATCHES}, repeats)
    return min(seconds, key=seconds.get)

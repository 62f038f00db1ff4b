"""How often a claim at its boundary holds or fails, whatever the law of its seeds: the table of docs/statistics.md.

`python -m tests.judge.simulation` prints the table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reinduce.judge.criteria import SeedLaw, Threshold
from reinduce.judge.statistics import ERROR, MIN_SEEDS, capital

RUNS = 20_000
MAX_SEEDS = 20
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class Law:
    """A law of seeds with its true mean, median and deviation."""

    name: str
    draw: Draw
    mean: float
    deviation: float
    median: float | None = None
    """None where values tie at the median, which then is no boundary."""
    is_limited: bool = False
    """Whether all values lie between 0 and 1."""


def two_clusters(share: float) -> Law:
    """A share of seeds near 0, the others near 1: seeds that learned and seeds that did not."""
    near = 0.02
    return Law(
        f"two clusters, {share:.0%} apart",
        lambda g, shape: np.where(g.random(shape) < share, 0.1, 0.9) + g.uniform(-near, near, shape),
        mean=0.1 * share + 0.9 * (1 - share),
        deviation=float(np.sqrt(0.64 * share * (1 - share) + near**2 / 3)),
        median=0.5 if share == 0.5 else 0.9 - near + 2 * near * (0.5 - share) / (1 - share),
        is_limited=True,
    )


def of_heads(heads: int, share: float) -> Law:
    """How many of some heads have a property, as a share."""
    deviation = float(np.sqrt(share * (1 - share) / heads))
    draw = lambda g, shape: g.binomial(heads, share, shape) / heads  # noqa: E731 - one line of many
    return Law(f"k of {heads} heads, {share:g} each", draw, share, deviation, is_limited=True)


def continuous(name: str, law, is_limited: bool = False) -> Law:
    return Law(
        name,
        lambda g, shape: law.rvs(size=shape, random_state=g),
        float(law.mean()),
        float(law.std()),
        float(law.median()),
        is_limited,
    )


LAWS = (
    continuous("normal", stats.norm(0.5, 0.2)),
    continuous("uniform", stats.uniform(0, 1), is_limited=True),
    continuous("beta(5, 2)", stats.beta(5, 2), is_limited=True),
    continuous("beta(0.5, 0.5)", stats.beta(0.5, 0.5), is_limited=True),
    continuous("exponential", stats.expon()),
    continuous("lognormal, 0.5", stats.lognorm(0.5)),
    continuous("lognormal, 1", stats.lognorm(1.0)),
    two_clusters(0.5),
    two_clusters(0.2),
    two_clusters(0.1),
    two_clusters(0.02),
    of_heads(1, 0.7),
    of_heads(4, 0.5),
    of_heads(8, 0.9),
)
METHODS = ("mean, range", "mean, deviation", "median", "share", "Student's t, one look at 5")
SIDES = ("above", "below")


def simulate(law: Law, method: str, side: str, runs: int = RUNS, deviation_share: float = 1.0) -> float | None:
    """Simulate how often a statistic that is exactly at a threshold is taken to be beyond it, at any of all looks.

    Args:
        law: The law of seeds.
        method: One of METHODS.
        side: above or below.
        runs: How many.
        deviation_share: The declared deviation as a share of the true one.

    Returns:
        The share of runs with a false decision at any number of seeds from 3 to 20; None where the method does not
        apply to the law.
    """
    generator = np.random.default_rng([LAWS.index(law), SIDES.index(side)])
    values = law.draw(generator, (runs, MAX_SEEDS))
    if method == METHODS[4]:
        few = values[:, :5]
        spread = few.std(axis=1, ddof=1)
        reach = stats.t.ppf(1 - ERROR, 4) * spread / np.sqrt(5)
        distance = (few.mean(axis=1) - law.mean) * (1 if side == "above" else -1)
        return float(np.mean((distance > reach) & (spread > 0)))
    if method == "median":
        if law.median is None:
            return None
        seed_law, at = SeedLaw("median"), law.median
    elif method == "share":
        if not law.name.startswith("k of 1 heads"):
            return None
        seed_law, at = SeedLaw("share", (0, 1)), law.mean
    elif method == "mean, range":
        if not law.is_limited:
            return None
        seed_law, at = SeedLaw("mean", (0, 1)), law.mean
    else:
        seed_law, at = SeedLaw("mean", deviation=law.deviation * deviation_share), law.mean
    # The capital is the largest so far, so that at 20 seeds tells of all looks from the first seed on.
    assert MIN_SEEDS <= MAX_SEEDS
    return float(np.mean(capital(values, seed_law, Threshold(side, at)) >= 1 / ERROR))


def format_table() -> str:
    """The table as Markdown: percent of false decisions, above · below."""
    lines = [f"| law of seeds | {' | '.join(METHODS)} |", f"|---{'|---' * len(METHODS)}|"]
    for law in LAWS:
        cells = []
        for method in METHODS:
            rates = [simulate(law, method, side) for side in SIDES]
            cells.append("" if None in rates else " · ".join(f"{rate:.1%}" for rate in rates if rate is not None))
        lines.append(f"| {law.name} | {' | '.join(cells)} |")
    return "\n".join(lines).replace("%", " %")


def format_wrong_deviations() -> str:
    """What happens where seeds scatter more than was declared, as Markdown."""
    times = (1.25, 1.5, 2.0)
    lines = [f"| law of seeds | {' | '.join(f'{t:g} times the declared' for t in times)} |", "|---|---|---|---|"]
    for law in LAWS:
        rates = [
            max(simulate(law, "mean, deviation", side, deviation_share=1 / t) or 0.0 for side in SIDES) for t in times
        ]
        lines.append(f"| {law.name} | {' | '.join(f'{rate:.1%}' for rate in rates)} |")
    return "\n".join(lines).replace("%", " %")


if __name__ == "__main__":
    print(f"{format_table()}\n\n{format_wrong_deviations()}")

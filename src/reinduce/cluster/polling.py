"""Keeps Snakemake from polling, which costs a core in a run of some hundred jobs."""

from typing import Any

DEFAULT_LIMIT = (100, 1)
"""Snakemake's own limit: jobs, and the seconds in which so many may start."""


def stop_polling(scheduler: Any) -> None:
    """Lift the default limit on how many jobs start in a second; another limit is a user's own and stays.

    With a limit, Snakemake looks for ready jobs once in the limit's timespan for every job that has ended, until the
    run ends. Without one it looks whenever a job ends.

    Args:
        scheduler: Snakemake's job scheduler, before it schedules.
    """
    limiter = scheduler.job_rate_limiter
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == DEFAULT_LIMIT:
        scheduler.job_rate_limiter = None

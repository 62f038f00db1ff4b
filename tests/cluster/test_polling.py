"""Snakemake's default limit is lifted, a user's is not."""

from types import SimpleNamespace

import pytest
from snakemake.cli import get_argument_parser
from snakemake.scheduling.job_scheduler import JobRateLimiter

from reinduce.cluster.polling import stop_polling


@pytest.mark.parametrize(
    "arguments, is_lifted",
    [([], True), (["--max-jobs-per-timespan", "20/1s"], False), (["--max-jobs-per-timespan", "100/1m"], False)],
)
def test_the_default_limit_alone_is_lifted(arguments, is_lifted):
    limit = get_argument_parser().parse_args(arguments).max_jobs_per_timespan
    scheduler = SimpleNamespace(job_rate_limiter=JobRateLimiter(limit))
    stop_polling(scheduler)
    assert (scheduler.job_rate_limiter is None) is is_lifted

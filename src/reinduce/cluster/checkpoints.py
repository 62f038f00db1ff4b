"""Makes Snakemake's checkpoints cheap: after each, it asks of every job in the graph whether that must run.

At laptop scale this takes ten seconds, and there are a hundred looks at claims. Both functions change objects of
Snakemake in place, before any job is started; neither changes which jobs run.
"""

import os
from typing import Any


def cache_records(persistence: Any) -> None:
    """Keep the records of files in memory as long as they stay as they are on disk.

    Snakemake keeps 128 of them, forgets them whenever a job starts or ends, and then reads some ten thousand small
    files several times over.

    Args:
        persistence: Snakemake's records of files; other kinds than files stay as they are.
    """
    read = getattr(type(persistence), "_read_record_cached", None)
    if read is None:
        return
    known: dict[str, tuple[tuple[int, int, int], Any]] = {}

    def read_record(key: str) -> Any:
        try:
            found = os.stat(persistence._record_path(persistence._metadata_path, key))
        except FileNotFoundError:
            return None
        stamp = found.st_mtime_ns, found.st_size, found.st_ino
        if key not in known or known[key][0] != stamp:
            known[key] = stamp, read.__wrapped__(persistence, key)
        return known[key][1]

    persistence._read_record = read_record


def update_once_for_many(dag: Any) -> None:
    """Update the graph once for checkpoints that end shortly after each other.

    While further checkpoints run or could run, the update waits for them.

    Args:
        dag: Snakemake's graph of jobs.
    """
    update, waiting = dag.update_checkpoint_dependencies, []

    async def update_or_wait(jobs: Any = None) -> Any:
        if jobs is None:
            return await update()
        ended = [job for job in jobs if job.is_checkpoint]
        waiting.extend(ended)
        if not waiting:
            return False
        if any(job.is_checkpoint for job in (*dag._running, *dag._ready_jobs)):
            # True: jobs that wait for these checkpoints are not ready before the update.
            return bool(ended)
        done, waiting[:] = list(waiting), []
        return await update(done)

    dag.update_checkpoint_dependencies = update_or_wait

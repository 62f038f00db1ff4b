"""Checkpoints that end together update the graph once, and records of files are read again only where they changed."""

import asyncio
import json
from functools import lru_cache
from types import SimpleNamespace

from reinduce.cluster.checkpoints import cache_records, update_once_for_many


class Records:
    """Snakemake's records of files, as far as they are read."""

    def __init__(self, folder):
        self._metadata_path, self.reads = str(folder), []

    def _record_path(self, subject, key):
        return f"{subject}/{key}"

    @lru_cache(maxsize=1)  # noqa: B019 - as Snakemake has it
    def _read_record_cached(self, key):
        self.reads.append(key)
        with open(self._record_path(self._metadata_path, key)) as file:
            return json.load(file)

    def _read_record(self, key):
        return self._read_record_cached(key)


def test_a_record_is_read_again_only_where_it_changed(tmp_path):
    for key in ("one", "two"):
        (tmp_path / key).write_text(json.dumps({"rule": key}))
    records = Records(tmp_path)
    cache_records(records)
    for _ in range(3):
        assert [records._read_record(key) for key in ("one", "two")] == [{"rule": "one"}, {"rule": "two"}]
    assert records.reads == ["one", "two"]
    (tmp_path / "one").write_text(json.dumps({"rule": "another"}))
    assert records._read_record("one") == {"rule": "another"}
    (tmp_path / "one").unlink()
    assert records._read_record("one") is None
    assert records._read_record("two") == {"rule": "two"} and records.reads == ["one", "two", "one"]


def test_records_of_another_kind_stay_as_they_are():
    other = SimpleNamespace(_read_record=len)
    cache_records(other)
    assert other._read_record is len


def job(is_checkpoint=True):
    return SimpleNamespace(is_checkpoint=is_checkpoint)


def graph(running=(), ready=()):
    found = SimpleNamespace(_running=list(running), _ready_jobs=list(ready), updates=[])

    async def update(jobs=None):
        found.updates.append(jobs)
        return True

    found.update_checkpoint_dependencies = update
    update_once_for_many(found)
    return found, lambda *jobs: asyncio.run(found.update_checkpoint_dependencies(*jobs))


def test_checkpoints_wait_for_others_that_run_or_are_ready():
    first, second, third, plain = job(), job(), job(), job(is_checkpoint=False)
    dag, finish = graph(running=[second], ready=[third])
    assert finish([first]) is True, "jobs that need it are not ready before the update"
    dag._running, dag._ready_jobs = [third], []
    assert finish([second]) is True and dag.updates == []
    dag._running = [plain]
    assert finish([third]) is True and dag.updates == [[first, second, third]]
    assert finish([plain]) is False and len(dag.updates) == 1


def test_what_waits_is_updated_once_no_checkpoint_is_left_to_wait_for():
    """The last checkpoint that ran may have failed: then the next job that ends brings the update."""
    first, failed, plain = job(), job(), job(is_checkpoint=False)
    dag, finish = graph(running=[failed, plain])
    assert finish([first]) is True and dag.updates == []
    assert finish([plain]) is False and dag.updates == []
    dag._running = []
    assert finish([job(is_checkpoint=False)]) is True and dag.updates == [[first]]


def test_without_jobs_all_checkpoints_are_updated():
    dag, finish = graph(running=[job()])
    assert finish() is True and dag.updates == [None]

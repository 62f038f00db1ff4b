"""Which jobs of the queue are cancelled, with programs that stand in for SLURM's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reinduce.cluster import orphans


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A file with the lines of squeue, from which scancel removes the jobs that it is given."""
    programs, table = tmp_path / "bin", tmp_path / "queue"
    programs.mkdir()
    (programs / "squeue").write_text(f"#!/bin/sh\ncat {table}\n")
    (programs / "scancel").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\nfor job; do sed -i "/^$job|/d" {table}; done\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return table


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def test_only_this_workflows_jobs_from_this_folder_are_cancelled(queue, folder, tmp_path):
    queue.write_text(
        f"1|reinduce_ab|{folder}|rule_train_wildcards_0\n"
        f"2|reinduce_ab|{tmp_path}|rule_train_wildcards_1\n"
        f"3|another|{folder}|\n"
        f"4|reinduce_cd|{folder}|rule_score|odd\n"
    )
    assert orphans.cancel_orphan_jobs(folder, strict=True)
    assert (tmp_path / "cancelled").read_text() == "1 4\n"


def test_nothing_is_cancelled_while_another_process_has_the_folder(queue, folder, tmp_path):
    queue.write_text(f"1|reinduce_ab|{folder}|rule_train\n")
    program = (
        "import sys; from pathlib import Path; from reinduce.cluster.orphans import cancel_orphan_jobs\n"
        "print(cancel_orphan_jobs(Path(sys.argv[1]), strict=False), flush=True)\n"
        "sys.stdin.read()\n"
    )
    environment = {**os.environ, "PATH": str(tmp_path / "nothing")}
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        assert not orphans.cancel_orphan_jobs(folder, strict=True)
        assert not (tmp_path / "cancelled").exists()
        other.stdin.close()
    assert orphans.cancel_orphan_jobs(folder, strict=True)
    assert (tmp_path / "cancelled").read_text() == "1\n"


def test_an_unreadable_queue_is_an_error_only_if_jobs_are_submitted_to_it(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert orphans.cancel_orphan_jobs(folder, strict=False)
    (tmp_path / "another").mkdir()
    with pytest.raises(orphans.QueueError, match="squeue is not installed here"):
        orphans.cancel_orphan_jobs(tmp_path / "another", strict=True)


def test_jobs_that_do_not_end_are_named(queue, folder, monkeypatch):
    queue.write_text(f"7|reinduce_ab|{folder}|rule_train\n")
    (queue.parent / "bin/scancel").write_text("#!/bin/sh\n")
    monkeypatch.setattr(orphans, "MAX_WAIT_SECONDS", -1.0)
    with pytest.raises(orphans.QueueError, match="run `scancel 7`"):
        orphans.cancel_orphan_jobs(folder, strict=True)

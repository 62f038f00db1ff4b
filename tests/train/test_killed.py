"""Trainings killed without warning at random moments, and restarted until they finish."""

import contextlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import contents

KILLS = 20
STARTING = 5
"""One in so many kills comes before anything is trained."""


def wrote_since(out: Path, moment: int) -> bool:
    """Whether a training has written anything since, in nanoseconds since 1970."""
    with contextlib.suppress(FileNotFoundError):  # A file may be renamed between listing and stat.
        return any(path.stat().st_mtime_ns > moment for path in out.rglob("*") if path.is_file())
    return True


def until_it_writes(process: subprocess.Popen, out: Path, moment: int) -> float:
    """Wait until a training writes its first file, or ends; how many seconds that took."""
    began = time.monotonic()
    while process.poll() is None and not wrote_since(out, moment):
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("count", ["1", "2"])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(training, tmp_path, count, record_property):
    """Kills come while starting, training, saving or publishing; with several processes the first is killed."""
    small, draw = training(steps=150), random.Random(int(count))
    process = small.start(tmp_path / "whole", "--processes", count)
    starts = until_it_writes(process, tmp_path / "whole", 0)
    began = time.monotonic()
    output, _ = process.communicate(timeout=300)
    trains = time.monotonic() - began
    assert process.returncode == 0, output
    wanted = contents(tmp_path / "whole")
    kills = working = runs = 0
    while kills < KILLS:
        out = tmp_path / f"run{runs}"
        runs += 1
        done = False
        while not done:
            moment = time.time_ns()
            process = small.start(out, "--processes", count)
            with contextlib.suppress(subprocess.TimeoutExpired):
                if kills >= KILLS:
                    process.wait(timeout=120)
                elif kills % STARTING == 0:
                    process.wait(timeout=draw.uniform(0, starts))
                else:
                    until_it_writes(process, out, moment)
                    process.wait(timeout=draw.uniform(0, trains))
            done = process.poll() is not None
            if not done:
                working += wrote_since(out, moment)
                process.send_signal(signal.SIGKILL)
                kills += 1
            output, _ = process.communicate(timeout=60)
            assert not done or process.returncode == 0, output
        assert contents(out) == wanted
    assert working >= KILLS // 2
    record_property(
        "figure", f"{kills} kills, {count} process(es), {working} at work: {runs} trainings, all bytes as never killed"
    )

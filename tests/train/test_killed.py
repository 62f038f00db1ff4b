"""Trainings killed without warning at random moments, and started again until they are done."""

import contextlib
import random
import signal
import subprocess
import time

import pytest

from .conftest import contents

KILLS = 20


@pytest.mark.parametrize("count", ["1", "2"])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(training, tmp_path, count, record_property):
    """In starting, training, saving or publishing; of several the first is killed, and the others end with it."""
    small, draw = training(), random.Random(int(count))
    began = time.monotonic()
    assert small.run(tmp_path / "whole", "--processes", count).returncode == 0
    lasts, wanted = time.monotonic() - began, contents(tmp_path / "whole")
    kills = runs = 0
    while kills < KILLS:
        out = tmp_path / f"run{runs}"
        runs += 1
        done = False
        while not done:
            process = small.start(out, "--processes", count)
            # Starting takes much of the time, and nothing can be lost in its first half.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=draw.uniform(0.3, 1.0) * lasts if kills < KILLS else 60)
            done = process.poll() is not None
            if not done:
                process.send_signal(signal.SIGKILL)
                kills += 1
            said, _ = process.communicate(timeout=60)
            assert not done or process.returncode == 0, said
        assert contents(out) == wanted
    record_property("figure", f"{kills} kills, {count} process(es): {runs} trainings, all bytes as never killed")

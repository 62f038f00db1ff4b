"""A full or read-only disk: one line of error, no partial file, and a run that can be repeated."""

import contextlib
import subprocess

import pytest

from .conftest import contents


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, and a function that gives it other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not mount("size=150k"):
        pytest.skip("only root may mount a file system to fill")
    yield folder, lambda options: mount(f"remount,{options}")
    with contextlib.suppress(OSError):
        subprocess.run(["umount", str(folder)], capture_output=True)


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_full_disk_is_reported_in_one_line_and_training_resumes_once_there_is_space(training, disk, tmp_path, count):
    folder, remount = disk
    small = training(steps=60)
    done = small.run(folder / "out", "--processes", count)
    assert done.returncode == 2
    assert "no space left on device; make room and run it again" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(folder.rglob("*.partial")) and not (folder / "out" / "checkpoints").exists()
    assert remount("size=20m")
    again = small.run(folder / "out", "--processes", count)
    assert again.returncode == 0, again.stdout
    assert small.run(tmp_path / "whole").returncode == 0
    assert contents(folder / "out") == contents(tmp_path / "whole")


def test_a_read_only_folder_is_reported_in_one_line(training, disk):
    folder, remount = disk
    assert remount("ro")
    for log in ((), ("--log", str(folder / "train.log"))):
        done = training().run(folder / "out", *log)
        assert done.returncode == 2
        [line] = done.stdout.splitlines()
        assert str(folder) in line and "read-only file system; set `results` to a folder that can be written to" in line

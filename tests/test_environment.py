"""The environment: one lock, said twice, and in force."""

import importlib.metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PINS = [line for line in (ROOT / "envs" / "lock.txt").read_text().splitlines() if line and not line.startswith("#")]


def test_the_lock_and_the_conda_file_say_the_same():
    conda = yaml.safe_load((ROOT / "envs" / "environment.yaml").read_text())
    [by_pip] = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert by_pip == PINS


def test_every_pin_is_a_version_and_names_no_place():
    assert PINS
    assert all(pin.count("==") == 1 and not set(pin) & set("/@+ ") for pin in PINS)


def test_the_lock_is_what_runs():
    for pin in PINS:
        name, version = pin.split("==")
        assert importlib.metadata.version(name).split("+")[0] == version, name

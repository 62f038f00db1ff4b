"""The command line: an error of the user is one line, and logs hold all messages."""

import subprocess
import sys

import pytest

from reinduce.cli import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_arguments(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "--log" in capsys.readouterr().out


def test_bad_input_is_one_line_on_the_screen_and_in_the_log(tmp_path, capsys):
    log = tmp_path / "logs" / "train.log"
    arguments = ["train", "absent.json", "--seed", "0", "--data", "d", "--out", "o", "--log", str(log)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said == log.read_text()
    assert said.count("\n") == 1 and said.startswith("reinduce train: ") and "absent.json" in said


def test_check_takes_another_scale(capsys):
    assert main(["check", "--scale", "smoke"]) == 0
    assert capsys.readouterr().out.startswith("scale smoke, results in results/smoke\n")
    assert main(["check", "--scale", "absent"]) == 2
    assert "no 'absent'" in capsys.readouterr().err


def test_a_warning_reaches_the_log(tmp_path):
    program = (
        "import warnings; from reinduce import cli; from reinduce.cluster import resolve\n"
        "resolve.run_check = lambda args: warnings.warn('a library complains')\n"
        f"cli.main(['check', '--log', {str(tmp_path / 'log')!r}])\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert "a library complains" in (tmp_path / "log").read_text()


def test_jobs_import_no_pandas_and_may_ask_for_it():
    """pyarrow would import it in every job; torch's compiler asks where it is."""
    program = (
        "import importlib.util, sys; from reinduce import cli\n"
        "sys.meta_path.insert(0, cli.BlockPandasImport)\n"
        "assert importlib.util.find_spec('pandas').origin is None\n"
        "import pyarrow; pyarrow.array([1])\n"
        "assert 'pandas' not in sys.modules\n"
        "from torch._dynamo import trace_rules; trace_rules.add('pandas')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_is_a_command_too():
    done = subprocess.run([sys.executable, "-m", "reinduce", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)

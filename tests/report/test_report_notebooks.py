"""Figures run with a real kernel: cells are executed, pages are written."""

import re
from pathlib import Path

import nbformat
import pytest

from reinduce.report import notebooks

ROOT = Path(__file__).parents[2]
FIGURES = sorted((ROOT / "workflow" / "studies").glob("*/figures/*.py"))
SCRIPT = """\
# %% [markdown]
# # One & two

# %% tags=["parameters"]
n = 1

# %% alt="A line"
import sys

import matplotlib.pyplot as plt

print("parameter", n, file=sys.stderr)
plt.plot([0, n])
print("n is", n)
"""


def run(folder: Path, source: Path, parameters: dict) -> tuple[Path, Path, Path]:
    executed, ipynb, html = folder / "log.ipynb", folder / "out" / "a.b.ipynb", folder / "out" / "a.b.html"
    notebooks.make_figure(source, parameters, executed, ipynb, html)
    return executed, ipynb, html


def test_a_figure_has_no_volatile_parts_and_is_reproducible(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    source = tmp_path / "small.py"
    source.write_text(SCRIPT)
    executed, ipynb, html = run(tmp_path, source, {"n": 3})
    first = ipynb.read_bytes(), html.read_bytes()
    run(tmp_path, source, {"n": 3})

    assert (ipynb.read_bytes(), html.read_bytes()) == first
    assert not executed.exists()
    notebook = nbformat.read(ipynb, as_version=4)
    assert "n is 3" in str(notebook.cells)
    assert [cell.id for cell in notebook.cells] == [f"cell-{i}" for i in range(len(notebook.cells))]
    assert "papermill" not in notebook.metadata and "execution" not in str([cell.metadata for cell in notebook.cells])
    assert "parameter 3" in caplog.text and "parameter" not in str([cell.get("outputs") for cell in notebook.cells])


def test_a_page_is_self_contained(tmp_path):
    source = tmp_path / "small.py"
    source.write_text(SCRIPT)
    page = run(tmp_path, source, {"n": 3})[2].read_text()
    assert "<title>One &amp; two</title>" in page
    assert 'src="data:image/png;base64,' in page and 'alt="A line"' in page
    assert "plt.plot" not in page and 'href="../small.py"' in page
    assert not re.findall(r"https?://|<script|<link|@import", page)


def test_a_failed_figure_is_kept_and_the_error_names_the_cell(tmp_path):
    source = tmp_path / "small.py"
    source.write_text(SCRIPT + "\n# %%\nweights = {}\nweights['lost']\n")
    with pytest.raises(
        ValueError, match=r"small\.py: code cell \d+ \('weights = {}'\) failed with KeyError: 'lost'"
    ) as e:
        run(tmp_path, source, {"n": 3})
    assert str(tmp_path / "log.ipynb") in str(e.value)
    assert "n is 3" in (tmp_path / "log.ipynb").read_text()
    assert not (tmp_path / "out").exists()


def test_unknown_parameters_are_refused_before_anything_runs(tmp_path):
    source = tmp_path / "small.py"
    source.write_text(SCRIPT)
    with pytest.raises(ValueError, match="unknown parameter m; the notebook's parameters are n"):
        run(tmp_path, source, {"n": 3, "m": 4})
    assert not (tmp_path / "log.ipynb").exists()


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.py"):
        run(tmp_path, tmp_path / "absent.py", {})


@pytest.mark.parametrize("source", FIGURES, ids=lambda path: path.stem)
def test_every_figure_runs_on_a_small_study(source, small_results, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    parameters = {"results": str(small_results), "study": source.parent.parent.name, "scale": "smoke"}
    _, ipynb, _ = run(tmp_path, source, parameters)
    cells = nbformat.read(ipynb, as_version=4).cells
    pictures = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    tables = [output for cell in cells for output in cell.get("outputs", []) if "<table" in str(output.get("data", {}))]
    assert pictures or tables
    assert all(cell.metadata.get("alt") for cell in cells if "image/png" in str(cell.get("outputs", "")))
    assert source.with_suffix(".rst").is_file()

"""Run one figure: a percent script becomes a notebook, is executed, and is written clean.

The notebook is executed into a file beside the log and copied only if every cell ran, so
that a failed one can be opened and nothing half-made is kept. What is written holds no
times, no random ids and no warnings (those go to the log): equal runs are equal files.
"""

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import jupytext
import nbconvert
import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from reinduce.report import pages
from reinduce.trace.files import write_text

log = logging.getLogger(__name__)

KERNEL = "python3"
START_SECONDS = 300  # a busy machine may take minutes to start a kernel
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})  # others may listen on a shared machine


def make(source: str | Path, parameters: Mapping, executed: str | Path, ipynb: str | Path, html: str | Path) -> None:
    """Execute the percent script `source` with `parameters` and write `ipynb` and `html`.

    Runs in the current working directory. `executed` is where the notebook lies while it
    runs; it stays there if a cell fails. Raises FileNotFoundError if there is no source,
    ValueError for a parameter that the notebook lacks and for a cell that fails.
    """
    with jupyter():
        notebook = read(source)
        check_parameters(notebook, parameters, source)
        executed = Path(executed)
        executed.parent.mkdir(parents=True, exist_ok=True)
        done = normalise(execute(notebook, parameters, executed, source))
        write_text(ipynb, nbformat.writes(done) + "\n")
        write_text(html, page(done, source, Path(html).parent))
        executed.unlink()


@contextlib.contextmanager
def jupyter() -> Iterator[None]:
    """Jupyter with nobody's settings: a kernel of this very interpreter, templates of this environment."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
        spec |= {"metadata": {"supported_encryption": ["curve"]}}
        write_text(Path(folder, "kernels", KERNEL, "kernel.json"), json.dumps(spec))
        own = dict.fromkeys(("JUPYTER_PATH", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"), folder)
        own |= {"JUPYTER_RUNTIME_DIR": str(Path(folder, "runtime")), "JUPYTER_PREFER_ENV_PATH": "1"}
        # Figures appear in the notebook whatever backend the caller's shell asks for.
        own |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        before = dict(os.environ)
        os.environ.update(own)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def read(source: str | Path) -> NotebookNode:
    """The notebook that a percent script describes."""
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source}: no such figure source")
    notebook = jupytext.read(source, fmt="py:percent")
    kernel = {"name": KERNEL, "display_name": "Python 3", "language": "python"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel})
    return notebook


def check_parameters(notebook: NotebookNode, parameters: Mapping, source: str | Path) -> None:
    """Raise ValueError if the notebook's parameters cell does not know every parameter."""
    known = papermill.inspect_notebook(notebook)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        there = ", ".join(known) or "none: it has no cell tagged 'parameters'"
        raise ValueError(f"{source}: unknown parameter {', '.join(unknown)}; the notebook's parameters are {there}")


def execute(notebook: NotebookNode, parameters: Mapping, executed: Path, source: str | Path) -> NotebookNode:
    """The executed notebook. Raises ValueError naming the cell that failed and where to look."""
    try:
        return papermill.execute_notebook(
            notebook,
            executed,
            parameters=dict(parameters),
            kernel_name=KERNEL,
            cwd=Path.cwd(),
            progress_bar=False,
            config=ENCRYPTED,
            start_timeout=START_SECONDS,
        )
    except PapermillExecutionError as error:
        first = error.source.strip().splitlines()[0] if error.source.strip() else ""
        raise ValueError(
            f"{source}: code cell {error.exec_count} ({first!r}) failed with {error.ename}: {error.evalue}; "
            f"the notebook up to there is {executed}"
        ) from None


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The notebook without anything that differs between equal runs."""
    done = nbformat.from_dict(notebook)
    done.metadata.pop("papermill", None)
    for number, cell in enumerate(done.cells):
        cell.id = f"cell-{number}"
        for volatile in ("papermill", "execution"):
            cell.metadata.pop(volatile, None)
        if cell.cell_type == "code":
            for output in filter(_is_warning, cell.outputs):
                log.warning("%s", output.text.rstrip())
            cell.outputs = [output for output in cell.outputs if not _is_warning(output)]
    return done


def _is_warning(output: NotebookNode) -> bool:
    return output.output_type == "stream" and output.name == "stderr"


def page(notebook: NotebookNode, source: str | Path, folder: Path) -> str:
    """The notebook as one HTML page that needs nothing else: text and pictures, code by a link to `source`."""
    exporter = nbconvert.HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    link = Path(os.path.relpath(source, folder)).as_posix()
    return pages.render("figure.html.j2", title=title(notebook), body=body, source=Path(source).as_posix(), link=link)


def title(notebook: NotebookNode) -> str:
    """The first heading of a notebook."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "Figure")

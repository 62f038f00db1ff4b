"""Run one figure: convert a percent script to a notebook, execute it, and write it without volatile parts.

The notebook is executed into a file beside the log and copied only if every cell succeeds, so
a failed one can be opened and no incomplete result is kept. The results have no times, no
random ids and no warnings (these go to the log), so equal runs write equal files.
"""

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
START_TIMEOUT = 300
"""Seconds to wait for a kernel; a busy machine may take minutes to start one."""
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})
"""Encrypt the connection to the kernel, which other users of a shared machine could read."""


def make_figure(
    source: str | Path, parameters: Mapping[str, Any], executed: str | Path, ipynb: str | Path, html: str | Path
) -> None:
    """Execute a percent script in the current working directory and write it as notebook and page.

    Args:
        source: The script.
        parameters: Values for its cell tagged `parameters`.
        executed: Where the notebook is while it runs; it stays there if a cell fails.
        ipynb: The notebook to write.
        html: The page to write.

    Raises:
        FileNotFoundError: The script does not exist.
        ValueError: The notebook lacks a parameter, or a cell fails.
    """
    with isolated_jupyter():
        notebook = read_script(source)
        check_parameters(notebook, parameters, source)
        executed = Path(executed)
        executed.parent.mkdir(parents=True, exist_ok=True)
        done = remove_volatile(execute(notebook, parameters, executed, source))
        write_text(ipynb, nbformat.writes(done) + "\n")
        write_text(html, render_page(done, source, Path(html).parent))
        executed.unlink()


@contextlib.contextmanager
def isolated_jupyter() -> Iterator[None]:
    """Run Jupyter without the user's settings: its kernel is this interpreter, its templates this environment's.

    Environment variables are restored when the block ends.
    """
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec: dict[str, Any] = {"argv": argv, "display_name": "Python 3", "language": "python"}
        spec |= {"metadata": {"supported_encryption": ["curve"]}}
        write_text(Path(folder, "kernels", KERNEL, "kernel.json"), json.dumps(spec))
        own = dict.fromkeys(("JUPYTER_PATH", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"), folder)
        own |= {"JUPYTER_RUNTIME_DIR": str(Path(folder, "runtime")), "JUPYTER_PREFER_ENV_PATH": "1"}
        # Figures appear in the notebook even if the caller's shell sets another backend.
        own |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        before = dict(os.environ)
        os.environ.update(own)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def read_script(source: str | Path) -> NotebookNode:
    """Read a percent script as a notebook.

    Args:
        source: The script.

    Returns:
        The notebook, not executed.

    Raises:
        FileNotFoundError: The script does not exist.
    """
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source}: no such figure source")
    notebook = jupytext.read(source, fmt="py:percent")
    kernel = {"name": KERNEL, "display_name": "Python 3", "language": "python"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel})
    return notebook


def check_parameters(notebook: NotebookNode, parameters: Mapping[str, Any], source: str | Path) -> None:
    """Check that a notebook's parameters cell defines every parameter.

    Args:
        notebook: The notebook.
        parameters: Parameter → value.
        source: The notebook's script, for the message.

    Raises:
        ValueError: A parameter is unknown.
    """
    known = papermill.inspect_notebook(notebook)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        listed = ", ".join(known) or "none: it has no cell tagged 'parameters'"
        raise ValueError(f"{source}: unknown parameter {', '.join(unknown)}; the notebook's parameters are {listed}")


def execute(notebook: NotebookNode, parameters: Mapping[str, Any], executed: Path, source: str | Path) -> NotebookNode:
    """Execute a notebook.

    Args:
        notebook: The notebook.
        parameters: Parameter → value.
        executed: File that papermill writes to while the notebook runs.
        source: The notebook's script, for the message.

    Returns:
        The notebook with outputs.

    Raises:
        ValueError: A cell fails; the message names the cell and `executed`.
    """
    try:
        return papermill.execute_notebook(
            notebook,
            executed,
            parameters=dict(parameters),
            kernel_name=KERNEL,
            cwd=Path.cwd(),
            progress_bar=False,
            config=ENCRYPTED,
            start_timeout=START_TIMEOUT,
        )
    except PapermillExecutionError as error:
        first = error.source.strip().splitlines()[0] if error.source.strip() else ""
        raise ValueError(
            f"{source}: code cell {error.exec_count} ({first!r}) failed with {error.ename}: {error.evalue}; "
            f"the notebook up to there is {executed}"
        ) from None


def remove_volatile(notebook: NotebookNode) -> NotebookNode:
    """Remove everything that differs between equal runs, and log the warnings.

    Args:
        notebook: An executed notebook.

    Returns:
        A notebook without times, random ids and warnings.
    """
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


def render_page(notebook: NotebookNode, source: str | Path, folder: Path) -> str:
    """Render a notebook as one self-contained HTML page: text and pictures, with a link to the code.

    Args:
        notebook: An executed notebook.
        source: The notebook's script.
        folder: Where the page will be written.

    Returns:
        HTML.
    """
    exporter = nbconvert.HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    link = Path(os.path.relpath(source, folder)).as_posix()
    return pages.render_template(
        "figure.html.j2", title=first_heading(notebook), body=body, source=Path(source).as_posix(), link=link
    )


def first_heading(notebook: NotebookNode) -> str:
    """Find the first heading of a notebook.

    Args:
        notebook: A notebook.

    Returns:
        The heading's text, or 'Figure'.
    """
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), "Figure")

"""Studies: each is a folder with one paper's experiments, claims, figures and, where needed, code of its own.

The modules of this package do not lie here. They are the study folders themselves, found in
`workflow/studies` of the project and in every folder that `add_folders` names, so that
`reinduce.studies.<paper>.metrics` is `workflow/studies/<paper>/metrics.py`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

FOLDERS_VARIABLE = "REINDUCE_STUDIES"
"""Environment variable that hands further folders of studies to child processes, such as notebook kernels."""

OWN_FOLDER = Path(__file__).resolve().parents[3] / "workflow" / "studies"
"""The project's own studies."""

__path__ = [str(OWN_FOLDER), *filter(None, os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep))]


def add_folders(folders: Iterable[str | Path]) -> None:
    """Search these folders for studies too, here and in processes that this one starts.

    Args:
        folders: folders that hold one folder for each study.
    """
    for folder in [str(Path(folder).resolve()) for folder in folders]:
        if folder not in __path__:
            __path__.append(folder)
    if len(__path__) > 1:
        os.environ[FOLDERS_VARIABLE] = os.pathsep.join(__path__[1:])

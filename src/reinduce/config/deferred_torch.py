"""Import modules that use torch without importing torch.

Declarations are read whenever the configuration is resolved, and every job of a cluster resolves it
anew. Importing torch takes longer than all the rest. Inside `torch_deferred` the statement
`import torch` binds a stand-in that imports torch when one of its attributes is first used. A module
that needs torch while it is imported (`from torch import nn`) therefore works too, only slower.
"""

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any


class _DeferredTorch(types.ModuleType):
    """Stands for torch until an attribute is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get("torch") is self:
            del sys.modules["torch"]
        torch = importlib.import_module("torch")
        self.__dict__.update(torch.__dict__)
        return getattr(torch, name)


@contextlib.contextmanager
def torch_deferred() -> Iterator[None]:
    """Defer torch for modules imported inside the block; do nothing if torch is imported already."""
    if "torch" in sys.modules:
        yield
        return
    stand_in = _DeferredTorch("torch")
    sys.modules["torch"] = stand_in
    try:
        yield
    finally:
        # Outside the block `import torch` means torch itself.
        if sys.modules.get("torch") is stand_in:
            del sys.modules["torch"]

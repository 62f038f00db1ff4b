"""Import modules that use torch without importing torch.

Declarations are read whenever the configuration is resolved, and every job of a cluster resolves it
anew. Importing torch takes longer than all the rest. Inside `torch_deferred` the statement
`import torch` binds a stand-in that imports torch when one of its attributes is first used. A module
that needs torch while it is imported (`from torch import nn`) therefore works too, only slower.
"""

import contextlib
import importlib
import importlib.abc
import importlib.util
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from typing import Any


class _DeferredTorch(types.ModuleType):
    """Stands for torch until an attribute is used."""

    def __init__(self):
        super().__init__("torch")
        # A package: `import torch.nn` then asks the finder below.
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.import_torch(), name)

    def import_torch(self) -> types.ModuleType:
        """Import torch itself, and take over its attributes."""
        if sys.modules.get("torch") is self:
            del sys.modules["torch"]
        torch = importlib.import_module("torch")
        self.__dict__.update(torch.__dict__)
        return torch


class _SubmoduleFinder(importlib.abc.MetaPathFinder):
    """Imports torch where a module imports a part of it by its own name, such as `torch.nn`."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        stand_in = sys.modules.get("torch")
        if not fullname.startswith("torch.") or not isinstance(stand_in, _DeferredTorch):
            return None
        stand_in.import_torch()
        if fullname not in sys.modules:
            return importlib.util.find_spec(fullname)
        # Torch has imported this part itself: it must not be loaded a second time.
        return ModuleSpec(fullname, _Loaded(sys.modules[fullname]))


class _Loaded(importlib.abc.Loader):
    """Loads a module that is there already, and leaves it as it is."""

    def __init__(self, module: types.ModuleType):
        self.module, self.own_spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return self.module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self.own_spec


@contextlib.contextmanager
def torch_deferred() -> Iterator[None]:
    """Defer torch for modules imported inside the block; do nothing if torch is imported already."""
    if "torch" in sys.modules:
        yield
        return
    stand_in, finder = _DeferredTorch(), _SubmoduleFinder()
    sys.modules["torch"] = stand_in
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        # Outside the block `import torch` means torch itself.
        if sys.modules.get("torch") is stand_in:
            del sys.modules["torch"]

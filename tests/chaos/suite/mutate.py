"""`python -m tests.chaos.suite.mutate NAME MODULE …`: be a program of ours with one thing broken on purpose.

The source of a module is edited as it is imported; the product knows nothing of it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from tests.chaos.suite.broken import MUTANTS, Edit

_OURS = ("shared", "producers", "workers")


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from its edited source; no byte code is read or kept."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        source = Path(self.path).read_text(encoding="utf-8")
        for edit in self._edits:
            source = edit.applied(source)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits: dict[str, list[Edit]] = {}
        for edit in edits:
            self._edits.setdefault(edit.module, []).append(edit)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        edits = self._edits.get(fullname)
        if edits is None:
            return None
        place = edits[0].path
        loader = _Loader(fullname, str(place), edits)
        parts = [str(place.parent)] if place.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(fullname, place, loader=loader, submodule_search_locations=parts)


def broken(edits: Sequence[Edit]) -> None:
    """Have this process import our modules anew, with *edits*."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder(edits))


def main() -> None:
    """Become the program that the command line names, broken as it says."""
    _, name, module, *arguments = sys.argv
    broken(next(mutant.edits for mutant in MUTANTS if mutant.name == name))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""The scenarios: what the race does not show, one module each.

What a scenario's module has (`Scenario` below is the same for mypy):

    TITLE                   what is measured, in a few words
    KEYS                    the keys of `bench.json` that it gives (`tests.bench.report.GOALS`)
    run(start, options)     measure, and return a figure for each of them

`start()` is a context manager that gives a `tests.bench.rig.Rig`: an empty, migrated ledger, a broker and the stub, and
nothing of ours running yet.  A scenario may start as many as it wants, one after the other.
"""

import pkgutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from tests.bench.rig import Rig

Start = Callable[[], AbstractContextManager[Rig]]


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Shape: *scale* multiplies numbers of events and rows, for a try on a busy machine: 1 is what is published.
    """

    scale: float = 1.0

    def scaled(self, count: int, least: int = 1) -> int:
        """Return *count* at this scale, at least *least*."""
        return max(least, round(count * self.scale))


class Scenario(Protocol):
    """A scenario's module."""

    TITLE: str
    KEYS: Sequence[str]

    def run(self, start: Start, options: Options) -> dict[str, float]:
        """Measure it."""


def names() -> list[str]:
    """Return the scenarios' modules."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def scenario(name: str) -> Scenario:
    """Return one of them."""
    return cast("Scenario", import_module(f"{__name__}.{name}"))

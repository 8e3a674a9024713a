"""Who runs in the race beside us: one module each, in the best form its documentation advises.

What a contestant's module has (`Contestant` below is the same for mypy):

    TITLE              as the table names it
    DISTRIBUTION       whose version is shown; if it is not installed, one line says so and it is left out
    PER_MESSAGE        events in one message; 1 when it is not there
    prepare()          before anything is sent: tables and the like.  Redis and PostgreSQL's public schema are empty
    enqueue(events)    send all of them as fast as it can, return when they are sent; called in our process
    workers()          the command lines of the workers, each without the interpreter at its beginning; two processes
                       that do the work, in all

The work for an event is the same for all and stands in `work`, for event loops in `work_async`.  Where things are is in
the environment of the workers and, from before the import, of our process:

    BENCH_REDIS_URL  BENCH_POSTGRES_URL  BENCH_CROWDTWIST_URL  BENCH_SIEBEL_URL
"""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, cast

CELERY = "celery_chain"
"""What people write first: the yardstick of `ratio_vs_celery`."""


@dataclass(frozen=True, slots=True)
class Who:
    """An entrant, as it is shown; *per_message* events in one of its messages."""

    name: str
    title: str
    version: str = ""
    per_message: int = 1


class Contestant(Protocol):
    """A contestant's module."""

    TITLE: str
    DISTRIBUTION: str

    def prepare(self) -> None:
        """Make what it needs before anything is sent."""

    def enqueue(self, events: Sequence[dict[str, Any]]) -> None:
        """Send the events."""

    def workers(self) -> list[list[str]]:
        """Return the command lines of the workers."""


def names() -> list[str]:
    """Return the contestants' modules."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - _THE_WORK)


def installed(name: str) -> tuple[Contestant, Who] | None:
    """Return a contestant and what it is shown as, None if what it runs on is not installed."""
    try:
        contestant = cast("Contestant", import_module(f"{__name__}.{name}"))
        of = version(contestant.DISTRIBUTION)
    except (ModuleNotFoundError, PackageNotFoundError):
        return None
    return contestant, Who(name, contestant.TITLE, of, getattr(contestant, "PER_MESSAGE", 1))


_THE_WORK = {"work", "work_async"}

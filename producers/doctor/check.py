"""A check of the doctor: what it examines, a `Subject`, and what it returns, `Finding`s.

It changes nothing and knows nothing of the other checks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from shared.addresses import ledger_place
from shared.broker_address import read_broker
from shared.ledger import checkup
from shared.ledger.engine import Transaction, engine, transaction
from shared.settings import Settings

MAKE_UTF8 = "create another database, `create database membersync encoding 'UTF8' template template0`, and move there"


class UnlookedError(Exception):
    """A check cannot be made; *remedy* says what has to be done first."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Subject:
    """One installation: its settings as the processes have them, and the ways to what they name.

    Shape: *beside_stack*: `up` runs on this machine's home, and the settings name what it started; *offline*: call no
    outside system.
    """

    of: Settings
    beside_stack: bool = False
    offline: bool = False

    @property
    def ledger_url(self) -> str:
        """Where the ledger is.

        Raises:
            UnlookedError: there is none.
        """
        return _required("MEMBERSYNC_LEDGER_URL", self.of.ledger_url)

    @property
    def broker_url(self) -> str:
        """Where the broker is.

        Raises:
            UnlookedError: there is none.
        """
        return _required("MEMBERSYNC_BROKER_URL", self.of.broker_url)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a transaction on the ledger whose statements do not take long.

        Raises:
            UnlookedError: there is no ledger.
            LedgerError: it does not serve.
        """
        with transaction(engine(self.ledger_url)) as tx:
            checkup.be_impatient(tx)
            yield tx


def _required(setting: str, value: str | None) -> str:
    if value is None:
        raise UnlookedError(f"{setting} is not set", f"set {setting}, or `membersync up`")
    return value


def place(url: str) -> str:
    """Return where a ledger's or a broker's address points, without user and password."""
    return ledger_place(url) if url.startswith("postgres") else read_broker(url).place


class Level(StrEnum):
    """How bad it is.  `warn`: it works, and somebody should look; `fail`: something does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Shape: *check* names the check, *looked_at* what exactly, without secrets; *found* one sentence; *why* it matters
    and *remedy*, what to type or set, are empty only when the level is ok.
    """

    check: str
    level: Level
    looked_at: str
    found: str
    why: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not (self.why and self.remedy):
            raise ValueError(f"{self.check}: {self.level} without a reason or a remedy")


def ok(check: str, looked_at: str, found: str) -> Finding:
    """Report that nothing is wrong."""
    return Finding(check, Level.OK, looked_at, found)


def warn(check: str, looked_at: str, found: str, why: str, remedy: str) -> Finding:
    """Report that somebody should look."""
    return Finding(check, Level.WARN, looked_at, found, why, remedy)


def fail(check: str, looked_at: str, found: str, why: str, remedy: str) -> Finding:
    """Report that something does not work."""
    return Finding(check, Level.FAIL, looked_at, found, why, remedy)


def unlooked(check: str, looked_at: str, found: str, remedy: str) -> Finding:
    """Report that a check could not be made."""
    return warn(check, looked_at, f"could not be looked at: {found}", "what is not looked at may be wrong", remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name."""

    name: str
    look: Callable[[Subject], Sequence[Finding]]

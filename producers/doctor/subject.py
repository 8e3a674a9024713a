"""Who is examined: the settings as the processes have them, and the ways to what they name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.addresses.servers import ledger_place, read_broker
from shared.ledger import checkup
from shared.ledger.engine import Transaction, engine, transaction
from shared.settings import Settings


class UnlookedError(Exception):
    """A check cannot be made; *remedy* says what has to be done first."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Subject:
    """One installation.

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
        if self.of.ledger_url is None:
            raise UnlookedError("MEMBERSYNC_LEDGER_URL is not set", "set MEMBERSYNC_LEDGER_URL, or `membersync up`")
        return self.of.ledger_url

    @property
    def broker_url(self) -> str:
        """Where the broker is.

        Raises:
            UnlookedError: there is none.
        """
        if self.of.broker_url is None:
            raise UnlookedError("MEMBERSYNC_BROKER_URL is not set", "set MEMBERSYNC_BROKER_URL, or `membersync up`")
        return self.of.broker_url

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


def place(url: str) -> str:
    """Say where a ledger's or a broker's address points, without user and password."""
    return ledger_place(url) if url.startswith("postgres") else read_broker(url).place

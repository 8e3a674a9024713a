"""What keeps the broker from taking messages, in the verdict: the ledger does not show it.

`membersync status` and `doctor` look at once and wait for it; api and console share one look for all who ask.
"""

from contextlib import suppress
from dataclasses import replace

from producers.operations.single_flight import SharedLook
from producers.operations.verdict import Level, Standing, Trouble, Verdict, of_troubles
from shared.broker_address import read_broker
from shared.errors import LedgerError
from shared.settings import Settings

_FRESH_S = 5.0
_PATIENCE = 5
_WITHIN_S = 1.0
"""A page waits so long for a look; the next one has what came of it."""


def with_broker(verdict: Verdict, of: Settings) -> Verdict:
    """Add to *verdict*, which is on the ledger, what keeps the broker from taking messages."""
    return _with_refusal(verdict, of, _refusal(of))


class BrokerLook:
    """The same for many who ask: one look at the broker every few seconds at most, while somebody asks."""

    def __init__(self, of: Settings) -> None:
        self._of = of
        self._shared = SharedLook(lambda: _refusal(of), fresh_s=_FRESH_S, patience=_PATIENCE, within_s=_WITHIN_S)

    def beside(self, found: Standing) -> Standing:
        """Add to *found* what keeps the broker from taking messages; nothing where the look takes long."""
        refusal = ""
        with suppress(LedgerError):  # so a look says that it came to nothing
            refusal = self._shared.get()
        return replace(found, verdict=_with_refusal(found.verdict, self._of, refusal))


def _refusal(of: Settings) -> str:
    """Return in what way the broker takes no message; nothing where it does, or none is set."""
    from producers.operations.broker_reached import refusal_of  # noqa: PLC0415  # Celery, 12 MB that few api need

    return "" if of.broker_url is None else refusal_of(of.broker_url) or ""


def _with_refusal(verdict: Verdict, of: Settings, refusal: str) -> Verdict:
    if not refusal or of.broker_url is None:
        return verdict
    what = f"The broker {read_broker(of.broker_url).place} {refusal}; what is due waits safely"
    blocked = Trouble(Level.PERSON, what, None, 0, "see `membersync doctor`", "the broker")
    return of_troubles([blocked, *verdict.troubles], verdict.waiting)

"""What operators see of planned windows and do about them: look, add, remove.  Used by api, console and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from producers.operations.job_control import AskError, Operator
from producers.operations.reads import UNITS_S, instant_of
from shared.ledger import maintenance
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.maintenance import NewWindow, WindowPage
from shared.ledger.records import MaintenanceWindow
from shared.masking import mask_text
from shared.pipeline import Stage, spoken

ADD, REMOVE = "add maintenance", "remove maintenance"
"""What the audit calls them."""
WHEN_SAID = "RFC 3339 with its offset, a date (UTC unless it says otherwise), or how far ahead: +90s, +15m, +2h, +7d"
_AHEAD = re.compile(r"\+\s*(\d{1,6})([smhdw])")
_BEGUN_S = 60.0
"""A window may begin so long before it is added: clocks differ, and typing takes its time."""


class WindowError(AskError):
    """There can be no such window: it is reversed, past, or overlaps another."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A window as somebody asks for it, in the words that were typed; *begins* empty: now."""

    stage: Stage
    begins: str
    ends: str
    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    """What came of it; *changed* False: nothing was done, and *answer* says why."""

    changed: bool
    answer: str
    window: MaintenanceWindow


def windows(ledger: Ledger, *, limit: int, before: int | None = None) -> WindowPage:
    """List windows, newest first."""
    with transaction(ledger) as tx:
        return maintenance.windows(tx, limit=limit, before=before)


def add(ledger: Ledger, operator: Operator, wanted: Wanted) -> MaintenanceWindow:
    """Plan a window: while it lasts the connection is paused, what is due there is held, and nobody is alarmed.

    Raises:
        WindowError: it is reversed, past, or overlaps another; with the field.
        AskError: the reason is missing, or an instant is none; with the field.
    """
    new = _read(wanted, operator, datetime.now(UTC))

    def added() -> MaintenanceWindow:
        with transaction(ledger) as tx:
            other = maintenance.in_the_way(tx, new)
            if other is not None:
                span = f"{_said(other.from_at)} until {_said(other.until_at)}"
                raise WindowError(
                    "from", f"overlaps window {other.id} of {spoken(new.stage)}, {span}; remove that first"
                )
            window_id = maintenance.add(tx, new)
            asked = {"connection": new.stage.value, "from": _said(new.from_at), "until": _said(new.until_at)}
            record(tx, Action(operator.name, operator.role, ADD, f"window {window_id}", new.reason, asked))
            found = maintenance.window(tx, window_id)
        if found is None:
            raise LookupError("a window that was just added is not there")
        return found

    return repeated(added)


def remove(ledger: Ledger, operator: Operator, window_id: int) -> Removed | None:
    """End a window before its time, or before it begins; None: there is no such window."""

    def removed() -> Removed | None:
        with transaction(ledger) as tx:
            before = maintenance.window(tx, window_id)
            changed = before is not None and maintenance.remove(tx, window_id, by=operator.name)
            after = maintenance.window(tx, window_id)
            if before is None or after is None:
                answer = "refused: there is no such window"
            elif not changed:
                answer = f"refused: it is {before.state}"
            else:
                answer = "ended: what was held goes out" if before.state == "active" else "removed"
            record(tx, Action(operator.name, operator.role, REMOVE, answer, None, {"window": str(window_id)}))
        return None if after is None else Removed(changed, answer, after)

    return repeated(removed)


def _read(wanted: Wanted, operator: Operator, now: datetime) -> NewWindow:
    begins = _instant("from", wanted.begins, now) or now
    ends = _instant("until", wanted.ends, now)
    if ends is None:
        raise AskError("until", "say when it ends")
    if ends <= begins:
        raise WindowError("until", "lies before the window begins" if ends < begins else "is when the window begins")
    if ends <= now:
        raise WindowError("until", "lies in the past")
    if begins < now - timedelta(seconds=_BEGUN_S):
        raise WindowError("from", "lies in the past; leave it out for a window that begins now, +2h is ahead")
    reason = mask_text(wanted.reason.strip())
    if not reason:
        raise AskError("reason", "say why")
    return NewWindow(wanted.stage, begins, ends, reason, operator.name)


def _instant(name: str, words: str, now: datetime) -> datetime | None:
    if ahead := _AHEAD.fullmatch(words.strip()):
        try:
            return now + timedelta(seconds=int(ahead[1]) * UNITS_S[ahead[2]])
        except OverflowError:
            raise AskError(name, "lies beyond the year 9999") from None
    try:
        return instant_of(name, words, now)
    except ValueError:
        raise AskError(name, f"must be {WHEN_SAID}") from None


def _said(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

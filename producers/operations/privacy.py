"""Who has what of whom: everything that is kept of one member, and forgetting it; for all three sides.

People are masked unless somebody is named who sees them; that, and that somebody was forgotten, is recorded.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

from producers.operations.job_control import AskError, Operator
from shared.ledger import privacy
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.filters import has_control
from shared.ledger.personal_columns import TABLES, Holds
from shared.ledger.privacy import Kept, Naming, Row, Search
from shared.ledger.transitions import forgetting
from shared.ledger.transitions.forgetting import FORGET, NotNow
from shared.masking import MASK, mask, mask_text
from shared.personal import unmarked
from shared.settings import Settings
from shared.traces import Traces

__all__ = ["FORGET", "Forgotten", "NotNowError", "Person", "forget", "person"]

SEARCHED_WITHIN_S = 5.0
"""Whoever looks in a browser or over HTTP is not kept for longer; a terminal shows how far it is, and searches all."""
_TRY_AGAIN_S = 0.25
Progress = Callable[[int, int], None]
"""Is told how many pieces of the ledger were searched, and of how many."""


class NotNowError(Exception):
    """The member cannot be forgotten just now; its text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A row that is of others and names the member: its *key*, and in which *columns*."""

    table: str
    key: Mapping[str, Any]
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class Person:
    """Everything that is kept of one member.

    Shape: *rows* counts by table, of *kept*, whose rows are the member's own; *elsewhere* rows of others name it, as
    far as the words of the largest tables were *searched*: that part of them, the newest; 1: all.
    """

    member_number: str
    at: datetime
    unmasked: bool
    rows: Mapping[str, int]
    kept: Mapping[str, Sequence[Row]]
    elsewhere: Sequence[Elsewhere]
    searched: float = 1.0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased.

    Shape: *deleted* the member's own rows by table, *cleared* rows of others that named it; *unsent* events of it that
    had not come to an end.
    """

    member_number: str
    forgotten_at: datetime
    deleted: Mapping[str, int]
    cleared: Mapping[str, int]
    unsent: int


def person(
    ledger: Ledger,
    member_number: str,
    *,
    unmasked_for: Operator | None = None,
    progress: Progress | None = None,
    within_s: float | None = None,
) -> Person | None:
    """Return everything that is kept of a member; None: nothing is.

    Units: *within_s* seconds after which no more is searched for words of others that name it; None: all is.
    """
    if has_control(member_number):
        return None
    with transaction(ledger) as tx:
        traces = privacy.kept(tx, member_number).traces
    found, searched = _searched(ledger, traces, progress, within_s)
    with transaction(ledger) as tx:
        kept = privacy.kept(tx, member_number)
        named = list(privacy.naming(tx, member_number, kept.traces, found))
        if kept.is_nothing and not named:
            return None
        if unmasked_for is not None:
            asked = {"member": member_number, "person": True}
            count = len(kept.rows.get("instance", ()))
            record(tx, Action(unmasked_for.name, unmasked_for.role, "unmask", "shown", None, asked, count))
    return replace(_person(member_number, kept, named, unmasked=unmasked_for is not None), searched=searched)


def forget(  # noqa: PLR0913  # whom, who, why, and how patiently
    ledger: Ledger,
    operator: Operator,
    member_number: str,
    reason: str,
    settings: Settings,
    *,
    wait_s: float,
    within_s: float | None = None,
    progress: Progress | None = None,
) -> Forgotten | None:
    """Erase everything that is kept of a member, in one transaction; None: nothing is kept.

    Units: *wait_s* seconds for which a call of the member that is out is waited for; *within_s* seconds after which the
    words of others are searched no more, and nothing is erased; None: however long that takes.

    Raises:
        AskError: the reason is missing.
        NotNowError: a call of it is out, or may still land, a reconciliation is under way, or the search took too long.
    """
    if not reason.strip():
        raise AskError("reason", "say why")
    if has_control(member_number):
        return None
    with transaction(ledger) as tx:
        traces = privacy.kept(tx, member_number).traces
    found, searched = _searched(ledger, traces, progress, within_s)
    if searched < 1:
        raise NotNowError(
            f"a request has {within_s:g} s to search the ledger, which was enough for {searched:.0%} of it; "
            "`membersync forget` takes the time that it needs"
        )
    settle_s = max(settings.crowdtwist.settle_s, settings.siebel.settle_s)
    who = operator.name, operator.role

    def once() -> forgetting.Erased | NotNow | None:
        with transaction(ledger) as tx:
            return forgetting.forget(tx, member_number, who, reason.strip(), found, settle_s=settle_s)

    give_up_at = time.monotonic() + wait_s
    while isinstance(erased := repeated(once), NotNow):
        if not erased.passes or time.monotonic() >= give_up_at:
            raise NotNowError(f"{erased.why}{'; try again in a minute' if erased.passes else ''}")
        Event().wait(_TRY_AGAIN_S)
    if erased is None:
        return None
    return Forgotten(member_number, erased.at, erased.deleted, erased.cleared, erased.unsent)


def _searched(
    ledger: Ledger, traces: Traces, progress: Progress | None, within_s: float | None = None
) -> tuple[Search, float]:
    """Search the large tables piece by piece, the newest first; return what part of them it was."""
    give_up_at = None if within_s is None else time.monotonic() + within_s
    with transaction(ledger) as tx:
        found = privacy.begin_search(tx)
        pieces = privacy.pieces(tx)[::-1]
    ids: set[int] = set()
    for done, piece in enumerate(pieces, 1):
        if give_up_at is not None and time.monotonic() >= give_up_at:
            return replace(found, instance_ids=ids), (done - 1) / len(pieces)
        with transaction(ledger) as tx:
            ids |= set(privacy.search(tx, traces, piece))
        if progress is not None:
            progress(done, len(pieces))
    return replace(found, instance_ids=ids), 1.0


def _person(member_number: str, kept: Kept, named: Sequence[Naming], *, unmasked: bool) -> Person:
    shown = {
        name: [
            {column: _shown(TABLES[name].columns[column], value, unmasked=unmasked) for column, value in row.items()}
            for row in rows
        ]
        for name, rows in kept.rows.items()
    }
    counts = {name: len(rows) for name, rows in shown.items()}
    elsewhere = [Elsewhere(one.table, one.key, list(one.columns)) for one in named]
    return Person(member_number, datetime.now(UTC), unmasked, counts, shown, elsewhere)


def _shown(holds: Holds, value: Any, *, unmasked: bool) -> object:  # noqa: ANN401  # JSON
    match holds:
        case Holds.WORDS if isinstance(value, str):
            return unmarked(value) if unmasked else mask_text(value)
        case Holds.DOCUMENT if value is not None and not unmasked:
            return mask(value, words=False)
        case Holds.HASH if value is not None and not unmasked:
            return MASK
    return value

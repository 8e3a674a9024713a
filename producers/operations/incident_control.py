"""What operators see of incidents and do to them.  Used by api, console and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.  What they write is masked
before it is kept: an incident names no member.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from producers.operations.job_control import AskError, Operator
from producers.operations.reads import instant_of
from shared.ledger import incident_reads, incident_story
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, Transaction, repeated, transaction
from shared.ledger.filters import has_control
from shared.ledger.incident_reads import IncidentDetail, IncidentPage, Window
from shared.masking import mask_text

ACKNOWLEDGE, NOTE, MERGE, SPLIT = "acknowledge incident", "note on incident", "merge incident", "split incident"
"""What the audit calls them."""
NOTE_MAX = 2_000


@dataclass(frozen=True, slots=True)
class IncidentAnswer:
    """What came of something done to an incident; *changed* False: nothing was done, and *answer* says why.

    Shape: *incident* as it is now; of a merge the one that it was merged into.
    """

    changed: bool
    answer: str
    incident: IncidentDetail


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be noted.  Shape: *at* of when, None: of now; *note_id* the note to change, None: a new one."""

    words: str | None
    at: datetime | None = None
    note_id: int | None = None


class _Act(NamedTuple):
    """What is done, by the audit's name of it; *do* returns what came of it, and which incident shows that."""

    what: str
    reason: str | None
    do: Callable[[Transaction], tuple[str, int]]


def incidents(ledger: Ledger, *, limit: int, before: int | None = None, within: Window | None = None) -> IncidentPage:
    """List incidents, newest first, of those that went on *within* a time."""
    with transaction(ledger) as tx:
        return incident_reads.incidents(tx, limit=limit, before=before, within=within)


def within(since: str, until: str, now: datetime) -> Window:
    """Return the time that is said in words; empty: without a beginning, or an end.

    Raises:
        ValueError: with the name of the field and one sentence.
    """
    return Window(instant_of("since", since, now), instant_of("until", until, now))


def incident(ledger: Ledger, incident_id: int) -> IncidentDetail | None:
    """Return one with all that happened; None: there is none."""
    with transaction(ledger) as tx:
        return incident_reads.detail(tx, incident_id)


def acknowledge(ledger: Ledger, operator: Operator, incident_id: int) -> IncidentAnswer | None:
    """Note who has taken it up; None: there is no such incident."""

    def act(tx: Transaction) -> tuple[str, int]:
        done = incident_story.acknowledge(tx, incident_id, by=operator.name)
        return ("acknowledged" if done else "refused: somebody has it already, or it was merged"), incident_id

    return _done(ledger, operator, incident_id, _Act(ACKNOWLEDGE, None, act))


def note(ledger: Ledger, operator: Operator, incident_id: int, given: Note) -> IncidentAnswer | None:
    """Note something, or change a note; None: there is no such incident.

    Raises:
        AskError: there is nothing to note.
    """
    words, at, note_id = given.words, given.at, given.note_id
    said = None if words is None else mask_text(words.strip())
    if said is not None and (not said or len(said) > NOTE_MAX or has_control(said.replace("\n", " "))):
        raise AskError("text", f"say something, of at most {NOTE_MAX} letters and no control characters")
    if said is None and (note_id is None or at is None):
        raise AskError("text", "say what is to be noted")

    def act(tx: Transaction) -> tuple[str, int]:
        if note_id is None:
            made = incident_story.note(tx, incident_id, by=operator.name, words=said or "", at=at)
            return f"noted as {made}", incident_id
        done = incident_story.change_note(tx, incident_id, note_id, words=said, at=at)
        return (f"note {note_id} changed" if done else f"refused: it has no note {note_id}"), incident_id

    return _done(ledger, operator, incident_id, _Act(NOTE, said, act))


def merge(ledger: Ledger, operator: Operator, incident_id: int, into: int, reason: str) -> IncidentAnswer | None:
    """Make it a part of another; None: there is no such incident.

    Raises:
        AskError: no reason is given, or it is to be merged into itself.
    """
    why = _reason(reason)
    if into == incident_id:
        raise AskError("into", "is the same incident")

    def act(tx: Transaction) -> tuple[str, int]:
        answer = incident_story.merge(tx, incident_id, into, by=operator.name, reason=why)
        return answer, incident_id if answer.startswith("refused") else into

    return _done(ledger, operator, incident_id, _Act(MERGE, why, act))


def split(ledger: Ledger, operator: Operator, incident_id: int, at: datetime, reason: str) -> IncidentAnswer | None:
    """Make what began at *at* or later an incident of its own; None: there is no such incident.

    Raises:
        AskError: no reason is given.
    """
    why = _reason(reason)

    def act(tx: Transaction) -> tuple[str, int]:
        answer, made = incident_story.split(tx, incident_id, at, by=operator.name, reason=why)
        return answer, made or incident_id

    return _done(ledger, operator, incident_id, _Act(SPLIT, why, act))


def _reason(reason: str) -> str:
    said = mask_text(reason.strip())
    if not said or has_control(said):
        raise AskError("reason", "say why, without control characters")
    return said


def _done(ledger: Ledger, operator: Operator, incident_id: int, act: _Act) -> IncidentAnswer | None:
    """Act and record it in one transaction."""

    def done() -> IncidentAnswer | None:
        with transaction(ledger) as tx:
            is_there = incident_reads.incident(tx, incident_id) is not None
            answer, shown = act.do(tx) if is_there else ("refused: there is no such incident", incident_id)
            changed = not answer.startswith("refused")
            asked = {"incident": str(incident_id)}
            record(tx, Action(operator.name, operator.role, act.what, answer, act.reason, asked, int(changed)))
            found = incident_reads.detail(tx, shown)
        return None if found is None else IncidentAnswer(changed, answer, found)

    return repeated(done)

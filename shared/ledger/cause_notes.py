"""Notes on causes: what people know of one, "ticket 4711", shown wherever that cause is shown, whenever it comes again.

A note is on a message at a stage, or on every message of a code.  Its fingerprint is that of an incident of the same
cause, so that a note on a dead letter's cause is on the outage that says the same, and the other way round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from shared.lifecycle.incidents import IncidentKind, fingerprint
from shared.messages import normalised

NOTES_MAX = 500
"""Notes that there may be: they are read together."""


@dataclass(frozen=True, slots=True)
class NoteOnCause:
    """A note to be added.  Shape: *message* normalised, empty: on every message of *code*; it names nobody."""

    stage: str
    code: str
    message: str
    words: str
    who: str

    @property
    def fingerprint(self) -> str:
        """What the cause is known by."""
        if self.message:
            return fingerprint(self.stage, IncidentKind.CONNECTION, self.message)
        return fingerprint(self.stage, IncidentKind.CAUSE, self.code)


@dataclass(frozen=True, slots=True)
class CauseNote:
    """A note on a cause.  Shape: *code* or *message*, the one that it is not on is empty, or says more of the cause."""

    id: str
    fingerprint: str
    stage: str
    code: str
    message: str
    words: str
    who: str
    at: datetime


def notes(tx: Connection) -> list[CauseNote]:
    """List them all, the newest first."""
    return [CauseNote(*row) for row in tx.execute(_NOTES)]


def on_cause(known: Iterable[CauseNote], stage: str | None, code: str | None, message: str) -> list[CauseNote]:
    """Return those of *known* on a cause.  Pure.  Shape: *message* as it was said, or normalised."""
    once = normalised(message)
    said = {message, once, normalised(once)}
    keys = {fingerprint(stage or "", IncidentKind.CONNECTION, one) for one in said}
    keys.add(fingerprint(stage or "", IncidentKind.CAUSE, code or ""))
    return [one for one in known if one.fingerprint in keys]


def on_incident(known: Iterable[CauseNote], key: str) -> list[CauseNote]:
    """Return those of *known* on an incident, or on a message of its code, by the incident's fingerprint.  Pure."""
    return [one for one in known if key in {one.fingerprint, fingerprint(one.stage, IncidentKind.CAUSE, one.code)}]


def said(known: Sequence[CauseNote]) -> str:
    """Say them on one line, with who noted them; empty: there are none."""
    return "; ".join(f"{one.words} ({one.who})" for one in known)


def add(tx: Connection, new: NoteOnCause) -> int | None:
    """Add a note; return its id, None: there are as many as there may be."""
    tx.execute(_LOCK)
    parameters = asdict(new) | {"fingerprint": new.fingerprint, "most": NOTES_MAX}
    added: int | None = tx.execute(_ADD, parameters).scalar_one_or_none()
    return added


def remove(tx: Connection, note_id: int) -> CauseNote | None:
    """Remove a note; return what it was, None: there is no such note."""
    row = tx.execute(_REMOVE, {"id": note_id}).one_or_none()
    return None if row is None else CauseNote(*row)


_COLUMNS = "id::text, fingerprint, stage, code, message, words, who, at"
_NOTES = text(f"select {_COLUMNS} from cause_note order by cause_note.id desc")
_LOCK = text("select pg_advisory_xact_lock(hashtext('membersync cause notes'))")
_ADD = text("""
    insert into cause_note (fingerprint, stage, code, message, words, who)
    select :fingerprint, :stage, :code, :message, :words, :who
    where (select count(*) from cause_note) < :most
    returning id
""")
_REMOVE = text(f"delete from cause_note where id = :id returning {_COLUMNS}")

"""What operators know of causes: look, note, remove.  Used by api, console and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.  What they write is masked
before it is kept: a note names no member.
"""

from dataclasses import dataclass

from producers.operations.job_control import AskError, Operator
from shared.ledger import cause_notes
from shared.ledger.audit import Action, record
from shared.ledger.cause_notes import NOTES_MAX, CauseNote, NoteOnCause
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.filters import has_control
from shared.masking import mask_text
from shared.messages import normalised
from shared.pipeline import Stage

ADD, REMOVE = "note on cause", "remove note on cause"
"""What the audit calls them."""
WORDS_MAX, MESSAGE_MAX, CODE_MAX = 500, 1_000, 100


@dataclass(frozen=True, slots=True)
class WantedNote:
    """A note as somebody asks for it.  Shape: without a *message* it is on every message of *code*."""

    stage: str
    code: str
    message: str
    words: str


@dataclass(frozen=True, slots=True)
class CauseNotes:
    """All notes, the newest first."""

    items: list[CauseNote]
    next: None = None


def notes(ledger: Ledger) -> CauseNotes:
    """List the notes on causes."""
    with transaction(ledger) as tx:
        return CauseNotes(cause_notes.notes(tx))


def add(ledger: Ledger, operator: Operator, wanted: WantedNote) -> CauseNote:
    """Note what is known of a cause.

    Raises:
        AskError: something is missing, too long or no text, or there are as many notes as there may be.
    """
    code, message, words = wanted.code.strip(), wanted.message.strip(), wanted.words.strip()
    if wanted.stage not in set(Stage):
        raise AskError("stage", f"must be one of {', '.join(Stage)}")
    for field, said, most in (("code", code, CODE_MAX), ("message", message, MESSAGE_MAX), ("text", words, WORDS_MAX)):
        if len(said) > most or has_control(said):
            raise AskError(field, f"must have at most {most} letters and no control characters")
    if not words:
        raise AskError("text", "say what is known of it")
    if not (code or message):
        raise AskError("message", "give the message of the cause, or a code for every message of it")
    new = NoteOnCause(wanted.stage, mask_text(code), normalised(message), mask_text(words), operator.name)

    def added() -> CauseNote:
        with transaction(ledger) as tx:
            note_id = cause_notes.add(tx, new)
            if note_id is None:
                raise AskError("text", f"there are {NOTES_MAX} notes already: remove one first")
            asked = {"stage": new.stage, "code": new.code, "message": new.message, "fingerprint": new.fingerprint}
            record(tx, Action(operator.name, operator.role, ADD, f"note {note_id}", new.words, asked))
            return next(one for one in cause_notes.notes(tx) if one.id == str(note_id))

    return repeated(added)


def remove(ledger: Ledger, operator: Operator, note_id: int) -> CauseNote | None:
    """Remove a note; None: there is no such note."""

    def removed() -> CauseNote | None:
        with transaction(ledger) as tx:
            found = cause_notes.remove(tx, note_id)
            answer = "removed" if found else "refused: there is no such note"
            asked = {"note": str(note_id)} | ({"fingerprint": found.fingerprint} if found else {})
            record(tx, Action(operator.name, operator.role, REMOVE, answer, found.words if found else None, asked))
        return found

    return repeated(removed)

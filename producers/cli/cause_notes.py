"""`membersync cause-notes`: what is known of causes; note on one, remove a note."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import Columns, instant, operator, print_rows
from producers.operations import cause_note_control
from producers.operations.cause_note_control import WantedNote
from producers.operations.job_control import AskError
from producers.operations.reads import id_of
from shared.ledger.cause_notes import CauseNote
from shared.ledger.engine import engine
from shared.pipeline import Stage, spoken


class Act(StrEnum):
    """What can be done about notes."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class OnCause:
    """The cause that is noted on."""

    stage: Annotated[Stage | None, typer.Option("--stage", help="Where it failed. Needed to add one.")] = None
    code: Annotated[str, typer.Option("--code", metavar="CODE", help="Its code.")] = ""
    message: Annotated[
        str, typer.Option("--message", metavar="TEXT", help="Its message; without it every message of the code.")
    ] = ""


def cause_notes(
    act: Annotated[Act | None, typer.Argument(metavar="add|remove", help="What to do; nothing: show.")] = None,
    what: Annotated[
        str | None, typer.Argument(metavar="TEXT|ID", help="Add: what is known of it; remove: which note.")
    ] = None,
    *,
    cause: OnCause,
    as_json: AsJson = False,
) -> int:
    """Show the notes on causes; note on one, remove a note."""
    ledger = engine(with_ledger().ledger_url)
    if act is None:
        found = cause_note_control.notes(ledger)
        if as_json:
            print_json(found)
        elif found.items:
            print_rows(found.items, _NOTES, texts=["known", "message"], expendable=["fingerprint", "by"])
        else:
            typer.echo("nothing is noted on any cause")
        return DONE
    if act is Act.ADD:
        wanted = WantedNote(cause.stage or "", cause.code, cause.message, what or "")
        try:
            note = cause_note_control.add(ledger, operator(), wanted)
        except AskError as error:
            raise typer.BadParameter(f"add: {error}") from None
    else:
        number = id_of(what or "")
        if number is None:
            raise typer.BadParameter("remove: give the id of a note; `membersync cause-notes` lists them")
        removed = cause_note_control.remove(ledger, operator(), number)
        if removed is None:
            raise TroubleError(f"there is no note {number}", "`membersync cause-notes` lists them", NOTHING)
        note = removed
    if as_json:
        print_json(note)
    else:
        typer.echo(f"note {note.id} on {note.fingerprint}: {'noted' if act is Act.ADD else 'removed'}")
    return DONE


_NOTES: Columns[CauseNote] = {
    "note": lambda row: row.id,
    "stage": lambda row: spoken(row.stage),
    "code": lambda row: row.code,
    "message": lambda row: row.message or "(every message)",
    "known": lambda row: row.words,
    "fingerprint": lambda row: row.fingerprint,
    "by": lambda row: row.who,
    "at": lambda row: instant(row.at),
}

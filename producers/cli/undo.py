"""`membersync undo`: undo a discard, whole or of some instances."""

from typing import Annotated

import typer

from producers.cli.dead_letters import Manner, carry_out
from producers.operations.job_control import Ask, AskError, Selection
from producers.operations.job_selections import Discarded
from producers.operations.reads import id_of
from shared.ledger.jobs import Kind


def undo(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Instance ids; or give --discard.")] = None,
    *,
    discard: Annotated[str, typer.Option("--discard", metavar="JOB", help="The discard that is to be undone.")] = "",
    manner: Manner,
) -> int:
    """Undo a discard; what something newer of its member has overtaken stays discarded."""
    numbers = [_number(typed) for typed in ids or ()]
    if bool(numbers) == bool(discard):
        raise typer.BadParameter("give instance ids or --discard, one of them")
    try:
        chosen = Discarded(job_id=_number(discard)) if discard else Selection(tuple(numbers))
    except AskError as error:
        raise typer.BadParameter(error.reason) from None
    return carry_out(Ask(Kind.UNDO, chosen, manner.reason), manner)


def _number(typed: str) -> int:
    number = id_of(typed)
    if number is None:
        raise typer.BadParameter(f"{typed} is no id")
    return number

"""The commands about dead letters; what they do stands in `repairing`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.filtered import filtered
from producers.cli.options import AsJson, Cursor, Limit, Unmasked
from producers.operations.filtering import LIMIT_DEFAULT, id_of
from shared.ledger.filters import Filter

if TYPE_CHECKING:
    from producers.operations.job_control import Selection

# Imports inside commands keep the start of the others short.
# ruff: noqa: PLC0415

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Instance ids; or give a filter.")]
Newest = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the newest so many.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would become of them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Why = Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not follow the job; it goes on by itself anyway.")]


@filtered
def dead_letters(  # noqa: PLR0913  # one option each
    where: Filter,
    *,
    listed: Annotated[bool, typer.Option("--list", help="Instances instead of causes.")] = False,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> None:
    """Show dead letters by cause, or listed; --state rejected: Data Errors."""
    from producers.cli.dead_letter_jobs import list_dead_letters, show_causes

    if listed:
        raise typer.Exit(list_dead_letters(where, limit, cursor, unmasked=unmasked, as_json=as_json))
    raise typer.Exit(show_causes(where, limit, as_json=as_json))


@filtered
def requeue(  # noqa: PLR0913  # one option each
    where: Filter,
    ids: Ids = None,
    *,
    limit: Newest = None,
    dry_run: DryRun = False,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Only show what would be sent differently.")] = False,
    yes: Yes = False,
    reason: Why = "",
    rate: Annotated[int | None, typer.Option("--rate", metavar="N", min=1, help="Instances per minute.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Map again with today's settings.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what was requeued too often already.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters on from where they failed; first 1, then 10, then the rest."""
    from producers.cli.dead_letter_jobs import Manner, repair, show_rehearsal
    from producers.operations.job_control import Ask
    from shared.ledger.jobs import Kind

    selection = _selection(ids, where, limit)
    if rehearse:
        raise typer.Exit(show_rehearsal(selection, as_json=as_json))
    ask = Ask(Kind.REQUEUE, selection, reason, rate, from_start, force)
    raise typer.Exit(repair(ask, Manner(dry_run=dry_run, yes=yes, wait=not no_wait, as_json=as_json)))


@filtered
def discard(  # noqa: PLR0913  # one option each
    where: Filter,
    ids: Ids = None,
    *,
    limit: Newest = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    reason: Why = "",
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give instances up for good."""
    from producers.cli.dead_letter_jobs import Manner, repair
    from producers.operations.job_control import Ask
    from shared.ledger.jobs import Kind

    ask = Ask(Kind.DISCARD, _selection(ids, where, limit), reason)
    raise typer.Exit(repair(ask, Manner(dry_run=dry_run, yes=yes, wait=not no_wait, as_json=as_json)))


def jobs(
    job_id: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this one.")] = None,
    *,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it, and put back what has not begun.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show requeues and discards, how far they are, and stop one."""
    from producers.cli.dead_letter_jobs import list_jobs, show_job, stop_job

    if job_id is None:
        if stop:
            raise typer.BadParameter("--stop: name the job")
        raise typer.Exit(list_jobs(limit, cursor, as_json=as_json))
    raise typer.Exit((stop_job if stop else show_job)(job_id, as_json=as_json))


def _selection(ids: Sequence[str] | None, where: Filter, limit: int | None) -> "Selection":
    from producers.operations.job_control import AskError, Selection
    from shared.ledger.transitions.requeues import SELECTION_MAX

    numbers = [id_of(words) for words in ids or ()]
    for words, number in zip(ids or (), numbers, strict=True):
        if number is None:
            raise typer.BadParameter(f"{words} is no instance id")
    try:
        return Selection(
            tuple(number for number in numbers if number is not None),
            None if ids and where.is_empty else where,
            limit or SELECTION_MAX,
        )
    except AskError as error:
        raise typer.BadParameter(error.reason) from None

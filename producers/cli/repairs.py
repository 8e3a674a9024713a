"""The commands about dead letters; what they do stands in `repairing`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import (
    AsJson,
    Codes,
    Cursor,
    InLane,
    Limit,
    Members,
    Since,
    Stages,
    States,
    Statuses,
    Unmasked,
    Until,
    WithText,
)
from producers.filtering import LIMIT_DEFAULT, filter_of, id_of
from shared.ledger.filters import Filter
from shared.pipeline import Lane, Stage, State, SyncStatus

if TYPE_CHECKING:
    from producers.ops import Selection

# Imports inside commands keep the start of the others short.
# ruff: noqa: PLC0415

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Instance ids; or give a filter.")]
Newest = Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest so many.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would become of them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Why = Annotated[str, typer.Option("--reason", help="Why; is kept and shown.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not follow the job; it goes on by itself anyway.")]


def dead_letters(  # noqa: PLR0913  # the filter of spec section 5
    *,
    state: States = None,
    stage: Stages = None,
    status: Statuses = None,
    code: Codes = None,
    member: Members = None,
    since: Since = None,
    until: Until = None,
    lane: InLane = None,
    text: WithText = "",
    listed: Annotated[bool, typer.Option("--list", help="Instances instead of causes.")] = False,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> None:
    """Show dead letters by cause, or listed; --state rejected: Data Errors."""
    from producers.cli.repairing import list_dead_letters, show_causes

    where = _filter(state, stage, status, code, member, since, until, lane, text)
    if listed:
        raise typer.Exit(list_dead_letters(where, limit, cursor, unmasked=unmasked, as_json=as_json))
    raise typer.Exit(show_causes(where, limit, as_json=as_json))


def requeue(  # noqa: PLR0913  # the filter of spec section 5
    ids: Ids = None,
    *,
    state: States = None,
    stage: Stages = None,
    status: Statuses = None,
    code: Codes = None,
    member: Members = None,
    since: Since = None,
    until: Until = None,
    lane: InLane = None,
    text: WithText = "",
    limit: Newest = None,
    dry_run: DryRun = False,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Only show what would be sent differently.")] = False,
    yes: Yes = False,
    reason: Why = "",
    rate: Annotated[int | None, typer.Option("--rate", min=1, help="Instances per minute.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Map again with today's settings.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what was requeued too often already.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters on from where they failed; first 1, then 10, then the rest."""
    from producers.cli.repairing import Manner, repair, show_rehearsal
    from producers.ops import Ask
    from shared.jobs import Kind

    where = _filter(state, stage, status, code, member, since, until, lane, text)
    selection = _selection(ids, where, limit)
    if rehearse:
        raise typer.Exit(show_rehearsal(selection, as_json=as_json))
    ask = Ask(Kind.REQUEUE, selection, reason, rate, from_start, force)
    raise typer.Exit(repair(ask, Manner(dry_run=dry_run, yes=yes, wait=not no_wait, as_json=as_json)))


def discard(  # noqa: PLR0913  # the filter of spec section 5
    ids: Ids = None,
    *,
    state: States = None,
    stage: Stages = None,
    status: Statuses = None,
    code: Codes = None,
    member: Members = None,
    since: Since = None,
    until: Until = None,
    lane: InLane = None,
    text: WithText = "",
    limit: Newest = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    reason: Why = "",
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give instances up for good."""
    from producers.cli.repairing import Manner, repair
    from producers.ops import Ask
    from shared.jobs import Kind

    where = _filter(state, stage, status, code, member, since, until, lane, text)
    ask = Ask(Kind.DISCARD, _selection(ids, where, limit), reason)
    raise typer.Exit(repair(ask, Manner(dry_run=dry_run, yes=yes, wait=not no_wait, as_json=as_json)))


def jobs(
    job_id: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only this one.")] = None,
    *,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it, and put back what has not begun.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show requeues and discards, how far they are, and stop one."""
    from producers.cli.repairing import list_jobs, show_job, stop_job

    if job_id is None:
        if stop:
            raise typer.BadParameter("--stop: name the job")
        raise typer.Exit(list_jobs(limit, cursor, as_json=as_json))
    raise typer.Exit((stop_job if stop else show_job)(job_id, as_json=as_json))


def _filter(  # noqa: PLR0913, PLR0917  # the filter of spec section 5
    state: Sequence[State] | None,
    stage: Sequence[Stage] | None,
    status: Sequence[SyncStatus] | None,
    code: Sequence[str] | None,
    member: Sequence[str] | None,
    since: str | None,
    until: str | None,
    lane: Lane | None,
    text: str,
) -> Filter:
    try:
        return filter_of(
            now=datetime.now(UTC),
            state=state or (),
            stage=stage or (),
            status=status or (),
            code=code or (),
            member=member or (),
            lane=lane,
            since=since,
            until=until,
            text=text,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _selection(ids: Sequence[str] | None, where: Filter, limit: int | None) -> "Selection":
    from producers.ops import AskError, Selection
    from shared.ledger.requeues import SELECTION_MAX

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

"""`membersync dead-letters`, `requeue`, `discard` and `jobs`: show the plan, ask, make the job, follow it."""

import inspect
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from producers.cli.command import DONE, NOTHING, AsJson, Group, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.records import instances
from producers.cli.terminal import (
    FILTER_OPTIONS,
    Columns,
    Cursor,
    Limit,
    Listing,
    Where,
    before_of,
    coloured,
    confirmed,
    console,
    instant,
    operator,
    plain,
    print_rows,
    where_of,
)
from producers.operations import advice, job_control
from producers.operations.foretelling import said
from producers.operations.job_control import Ask, AskError, RehearsalError, Selection
from producers.operations.reads import id_of
from shared.ledger import causes
from shared.ledger.cause_notes import said as said_of
from shared.ledger.causes import Alike, Cause
from shared.ledger.engine import Ledger, engine, transaction
from shared.ledger.jobs import Item, ItemState, Job, JobState, Kind, Plan, Verdict
from shared.ledger.transitions.requeues import SELECTION_MAX
from shared.pipeline import spoken

_POLL_S = 0.2
_PATIENCE_S = 5.0
_OPEN = {ItemState.PLANNED, ItemState.SENT}
_SHOWN = 10
_MEANING = {
    Verdict.SEND: "will be sent",
    Verdict.SUPERSEDED: "closed as superseded: a newer success overtook it",
    Verdict.MERGED: "merged into a newer pending event",
    Verdict.DISCARD: "will be discarded, for good",
    Verdict.RESTORE: "will be what they were before they were discarded",
    Verdict.REFUSED: "refused",
    Verdict.OVERTAKEN: "overtaken since",
    Verdict.MOVING: "moving: an event of the member is on its way",
}
_SIMPLY_DONE = {Verdict.SEND, Verdict.DISCARD, Verdict.RESTORE}


def _selection(ids: Sequence[str] | None, limit: int | None, **words: str | Sequence[str] | None) -> Selection:
    where = where_of(**words)
    numbers = [id_of(typed) for typed in ids or ()]
    for typed, number in zip(ids or (), numbers, strict=True):
        if number is None:
            raise typer.BadParameter(f"{typed} is no instance id")
    try:
        return Selection(
            tuple(number for number in numbers if number is not None),
            None if ids and where.is_empty else where,
            limit or SELECTION_MAX,
        )
    except AskError as error:
        raise typer.BadParameter(error.reason) from None


_IDS = inspect.Parameter(
    "ids",
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    default=typer.Argument(None, metavar="ID", help="Instance ids; or give a filter."),
    annotation=list[str] | None,
)
_NEWEST = inspect.Parameter(
    "limit",
    inspect.Parameter.KEYWORD_ONLY,
    default=typer.Option(None, "--limit", metavar="N", min=1, help="Only the newest so many."),
    annotation=int | None,
)
Chosen = Annotated[Selection, Group((_IDS, *FILTER_OPTIONS, _NEWEST), _selection)]
"""The instances that are meant: ids, or a filter and how many."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How instances are sent again."""

    rate: Annotated[int | None, typer.Option("--rate", metavar="N", min=1, help="Instances per minute.")] = None
    from_start: Annotated[bool, typer.Option("--from-start", help="Map again with today's settings.")] = False
    force: Annotated[bool, typer.Option("--force", help="Also what was requeued too often already.")] = False


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command is to go about it."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would become of them.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown.")] = ""
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the job; it goes on by itself anyway.")] = (
        False
    )
    as_json: AsJson = False


def dead_letters(
    where: Where,
    *,
    listed: Annotated[bool, typer.Option("--list", help="Instances instead of causes.")] = False,
    listing: Listing,
) -> int:
    """Show dead letters by cause, and what to do about each; or listed."""
    if listed:
        return instances(where.of_dead_letters(), listing)
    try:
        with transaction(_ledger()) as tx:
            everything = causes.causes(tx, where, limit=causes.LOOKED_AT)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    found = everything[: listing.limit]
    if listing.as_json:
        print_json({"items": found, "next": None})
    elif found:
        print_rows(found, _CAUSES, texts=["message"], expendable=["first", "last", "newer coming"])
        for todo, meant in groupby(sorted(found, key=_todo), key=_todo):
            whom = ", ".join(f"{cause.count} {cause.code} at {spoken(cause.stage)}" for cause in meant)
            console().print(plain(f"{whom}: {todo}"))
        for cause in found:
            if cause.notes:
                console().print(plain(f"{cause.code} at {spoken(cause.stage)}, known: {said_of(cause.notes)}"))
    else:
        typer.echo("no dead letter matches", err=True)
    if more := len(everything) - len(found):
        typer.echo(f"{more} more {'cause' if more == 1 else 'causes'}; --limit shows them", err=True)
    return DONE if found else NOTHING


def requeue(
    selection: Chosen,
    *,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Only show what would be sent differently.")] = False,
    sending: Sending,
    manner: Manner,
) -> int:
    """Send dead letters on from where they failed."""
    if rehearse:
        return _rehearse(selection, as_json=manner.as_json)
    ask = Ask(Kind.REQUEUE, selection, manner.reason, sending.rate, sending.from_start, sending.force)
    return carry_out(ask, manner)


def discard(selection: Chosen, manner: Manner) -> int:
    """Give instances up for good."""
    return carry_out(Ask(Kind.DISCARD, selection, manner.reason), manner)


def jobs(
    job_id: Annotated[str | None, typer.Argument(metavar="JOB", help="Only this one.")] = None,
    *,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it, and put back what has not begun.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> int:
    """Show requeues, discards and resends, or one of them; stop one."""
    if job_id is None:
        if stop:
            raise typer.BadParameter("--stop: name the job")
        return _list_jobs(limit, before_of(cursor), as_json=as_json)
    ledger = _ledger()
    number = id_of(job_id)
    job = None if number is None else job_control.progress(ledger, None, number)
    if job is None:
        typer.echo(f"there is no job {job_id}", err=True)
        return NOTHING
    if stop:
        if not job_control.stop(ledger, operator(), Kind(job.kind), int(job.job_id)):
            typer.echo(f"job {job_id} is over: there is nothing to stop", err=True)
            return NOTHING
        job = job_control.progress(ledger, None, int(job.job_id)) or job
    job = job_control.foreseen(ledger, job, with_ledger())
    if as_json:
        print_json(job)
    else:
        _print_job(job, job_control.failed_again(ledger, job))
    return DONE


def _rehearse(selection: Selection, *, as_json: bool) -> int:
    """Show what would be sent differently, instance by instance."""
    try:
        found = job_control.rehearse(_ledger(), operator(), selection, with_ledger())
    except RehearsalError as error:
        raise TroubleError(str(error)) from error
    if as_json:
        print_json({"items": found, "next": None})
        return DONE if found else NOTHING
    if not found:
        typer.echo("no instance matches", err=True)
        return NOTHING
    out = console()
    for one in found:
        what = {"same": "the same would be sent", "differs": "differs"}.get(one.outcome, f"Data Error: {one.error}")
        out.print(plain(f"instance {one.instance_id} of member {one.member_number}: {what}"), soft_wrap=True)
        for change in one.changes:
            values = f"{orjson.dumps(change.before).decode()} -> {orjson.dumps(change.after).decode()}"
            out.print(plain(f"  {change.change:<8} {change.field}: {values}"), soft_wrap=True)
    return DONE


def carry_out(ask: Ask, manner: Manner) -> int:
    """Plan, show, ask, and carry out a requeue, discard or resend."""
    ledger, settings = _ledger(), with_ledger()
    plan = job_control.plan(ledger, ask, settings)
    if not manner.as_json:
        _print_plan(plan)
    if not plan.matched:
        typer.echo("no instance matches", err=True)
    if manner.dry_run or not plan.touched:
        if manner.as_json:
            print_json({"plan": plan, "job": None})
        return DONE if plan.touched else NOTHING
    if not _is_confirmed(ask, plan, manner):
        return NOTHING
    try:
        _, job = job_control.start(ledger, operator(), ask, settings)
    except AskError as error:
        raise typer.BadParameter(str(error)) from None
    if job is None:
        typer.echo("nothing is left to do: somebody was faster", err=True)
        return NOTHING
    if not manner.no_wait and job.state != JobState.AWAITING:
        job = _follow(ledger, job, is_shown=not manner.as_json)
    if manner.as_json:
        print_json({"plan": plan, "job": job})
    else:
        _print_job(job, job_control.failed_again(ledger, job))
    return NOTHING if job.state == JobState.STOPPED else DONE


def _is_confirmed(ask: Ask, plan: Plan, manner: Manner) -> bool:
    """Ask before more than one instance is touched, unless told not to.

    Raises:
        BadParameter: a reason is needed, or nobody can be asked.
    """
    is_many = plan.touched > 1
    if (is_many or ask.needs_reason) and not ask.reason.strip():
        raise typer.BadParameter("--reason: say why")
    if not is_many or manner.yes:
        return True
    if manner.as_json:
        raise typer.BadParameter("--json: add --yes, nobody can be asked")
    return confirmed(f"{ask.kind.capitalize()} {plan.touched} instances?")


def _follow(ledger: Ledger, job: Job, *, is_shown: bool) -> Job:
    """Watch a job until it ends; Ctrl-C only stops the watching."""
    err = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[counts]}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=err, disable=not (is_shown and err.is_terminal))
    try:
        with bar:
            return _watch(ledger, job, bar, bar.add_task(f"{job.kind} {job.job_id}", total=job.total, counts=""))
    except KeyboardInterrupt:
        hint = f"`membersync jobs {job.job_id}` shows it, --stop stops it"
        typer.echo(f"job {job.job_id} goes on by itself; {hint}", err=True)
    return job_control.progress(ledger, Kind(job.kind), int(job.job_id)) or job


def _watch(ledger: Ledger, job: Job, bar: Progress, task: TaskID) -> Job:
    began, is_said = time.monotonic(), False
    while job.state in {JobState.PLANNED, JobState.RUNNING}:
        threading.Event().wait(_POLL_S)
        job = job_control.progress(ledger, Kind(job.kind), int(job.job_id)) or job
        ended = job.total - sum(job.counts[state] for state in _OPEN)
        bar.update(task, completed=ended, counts=_counts(job))
        if job.state == JobState.PLANNED and not is_said and time.monotonic() - began > _PATIENCE_S:
            is_said = True
            typer.echo("no dispatcher has taken the job yet; it waits for one", err=True)
    return job


def _list_jobs(limit: int, before: int | None, *, as_json: bool) -> int:
    page = job_control.jobs(_ledger(), None, limit=limit, before=before)
    if as_json:
        print_json(page)
    elif page.items:
        _print_jobs(page.items)
    else:
        typer.echo("there are no jobs", err=True)
    return DONE if page.items else NOTHING


def _ledger() -> Ledger:
    return engine(with_ledger().ledger_url)


def _todo(cause: Cause) -> str:
    return advice.for_failure(cause.stage, cause.code, cause.message)


def _print_plan(plan: Plan) -> None:
    """Print what would become of a selection: when it would end, counts, of the exceptions the first.

    Where there are more than are listed, how many share a reason; one instance that is refused needs no count.
    """
    out = console()
    exceptions = [item for item in plan.items if item.verdict not in _SIMPLY_DONE]
    are_all_listed = sum(count for word, count in plan.counts.items() if word not in _SIMPLY_DONE) <= _SHOWN
    if plan.forecast and plan.touched:
        out.print(plain(said(plan.forecast)), soft_wrap=True)
    for word, count in plan.counts.items():
        if count and not (plan.matched == 1 and exceptions):
            out.print(plain(f"{count:>8}  {_MEANING[Verdict(word)]}"))
            for reason in plan.reasons:
                if reason.verdict == Verdict.REFUSED == word and not are_all_listed:
                    out.print(plain(f"{'':>10}{reason.count} of them: {reason.reason}", "dim"))
    for item in exceptions[:_SHOWN]:
        other = f" (instance {item.newer_instance_id})" if item.newer_instance_id else ""
        out.print(plain(f"{'':>10}{_named(item)}: {item.verdict}, {item.reason}{other}", "dim"))
    if len(exceptions) > _SHOWN:
        out.print(plain(f"{'':>10}and more; --json lists them", "dim"))


def _named(item: Item) -> str:
    whose = f"member {item.member_number}" if item.member_number else ""
    if not item.instance_id:
        return whose
    return f"instance {item.instance_id}" + (f" of {whose}" if whose else "")


def _print_job(job: Job, failed: Sequence[Alike]) -> None:
    """Print one job, its troubles, and what to do about what *failed* again."""
    out = console()
    _print_jobs([job])
    if job.forecast:
        out.print(plain(said(job.forecast)), soft_wrap=True)
    if job.stopped_why:
        why = job.stopped_why
        out.print(plain(why if why.startswith("stopped") else f"stopped: {why}", "bold red"))
    for item in job.troubled[:_SHOWN]:
        words = f"  {_named(item)}: {spoken(item.state)}"
        out.print(plain(f"{words}, {item.reason}" if item.reason else words))
    if len(job.troubled) > _SHOWN:
        out.print(plain("  and more; --json lists them", "dim"))
    for todo, count in advice.by_todo(failed).items():
        out.print(plain(f"{count} failed again: {todo}"))


def _print_jobs(found: Iterable[Job]) -> None:
    print_rows(found, _JOBS, texts=["of them", "reason"], expendable=["created", "by", "instances"])


def _counts(job: Job) -> str:
    return ", ".join(f"{count} {spoken(state)}" for state, count in job.counts.items() if count)


_CAUSES: Columns[Cause] = {
    "count": lambda cause: plain(cause.count, "bold red"),
    "stage": lambda cause: spoken(cause.stage),
    "code": lambda cause: cause.code,
    "message": lambda cause: cause.message,
    "fixed since": lambda cause: cause.fixed or "",
    "newer coming": lambda cause: cause.coming or "",
    "first": lambda cause: instant(cause.first_at),
    "last": lambda cause: instant(cause.last_at),
}
_JOBS: Columns[Job] = {
    "job": lambda job: job.job_id,
    "kind": lambda job: job.kind,
    "state": lambda job: coloured(job.state),
    "by": lambda job: job.requested_by,
    "created": lambda job: instant(job.created_at),
    "instances": lambda job: job.total,
    "of them": _counts,
    "reason": lambda job: job.reason,
}

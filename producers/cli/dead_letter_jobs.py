"""What the commands about dead letters do: show the plan, ask, make the job, follow it."""

import threading
import time
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from producers.cli.command_errors import DONE, NOTHING, TroubleError
from producers.cli.command_settings import with_ledger
from producers.cli.dead_letter_tables import print_causes, print_job, print_jobs, print_plan, print_rehearsals, told
from producers.cli.records import before_of, list_instances
from producers.cli.terminal import console, operator, print_json
from producers.operations import job_control
from producers.operations.filtering import id_of
from producers.operations.job_control import Ask, AskError, Selection
from producers.operations.rehearsal import RehearsalError
from shared.ledger import causes
from shared.ledger.engine import Ledger, engine, transaction
from shared.ledger.filters import Filter
from shared.ledger.jobs import ItemState, Job, JobState, Kind, Plan

_POLL_S = 0.2
_PATIENCE_S = 5.0
_OPEN = {ItemState.PLANNED, ItemState.SENT}


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command is to go about it."""

    dry_run: bool
    yes: bool
    wait: bool
    as_json: bool


def show_causes(where: Filter, limit: int, *, as_json: bool) -> int:
    """Show dead letters by cause; give the exit code."""
    try:
        with transaction(_ledger()) as tx:
            everything = causes.causes(tx, where, limit=causes.LOOKED_AT)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    found = everything[:limit]
    if as_json:
        print_json({"items": found, "next": None})
    elif found:
        print_causes(found)
    else:
        typer.echo("no dead letter matches", err=True)
    if more := len(everything) - len(found):
        typer.echo(f"{more} more {'cause' if more == 1 else 'causes'}; --limit shows them", err=True)
    return DONE if found else NOTHING


def list_dead_letters(where: Filter, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """List dead letters; give the exit code."""
    chosen = where.of_dead_letters()
    return list_instances(chosen, limit, cursor, unmasked=unmasked, as_json=as_json)


def show_rehearsal(selection: Selection, *, as_json: bool) -> int:
    """Show what would be sent differently; give the exit code."""
    try:
        found = job_control.rehearse(_ledger(), operator(), selection, with_ledger())
    except RehearsalError as error:
        raise TroubleError(str(error)) from error
    if as_json:
        print_json({"items": found, "next": None})
    elif found:
        print_rehearsals(found)
    else:
        typer.echo("no instance matches", err=True)
    return DONE if found else NOTHING


def repair(ask: Ask, manner: Manner) -> int:
    """Plan, show, ask, and carry out a requeue or discard; give the exit code."""
    ledger, settings = _ledger(), with_ledger()
    plan = job_control.plan(ledger, ask, settings)
    if not manner.as_json:
        print_plan(plan, console())
    if not plan.matched:
        typer.echo("no instance matches", err=True)
    if manner.dry_run or not plan.touched:
        if manner.as_json:
            print_json({"plan": plan, "job": None})
        return DONE if plan.touched else NOTHING
    _check(ask, plan, manner)
    if plan.touched > 1 and not manner.yes and not _confirmed(ask, plan):
        return NOTHING
    try:
        _, job = job_control.start(ledger, operator(), ask, settings)
    except AskError as error:
        raise typer.BadParameter(str(error)) from None
    if job is None:
        typer.echo("nothing is left to do: somebody was faster", err=True)
        return NOTHING
    if manner.wait:
        job = _follow(ledger, job, manner)
    if manner.as_json:
        print_json({"plan": plan, "job": job})
    else:
        print_job(job, job_control.failed_again(_ledger(), job))
    return NOTHING if job.state == JobState.STOPPED else DONE


def list_jobs(limit: int, cursor: str | None, *, as_json: bool) -> int:
    """List jobs; give the exit code."""
    page = job_control.jobs(_ledger(), None, limit=limit, before=before_of(cursor))
    if as_json:
        print_json(page)
    elif page.items:
        print_jobs(page.items)
    else:
        typer.echo("there are no jobs", err=True)
    return DONE if page.items else NOTHING


def show_job(words: str, *, as_json: bool) -> int:
    """Show one job; give the exit code."""
    number = id_of(words)
    job = None if number is None else job_control.progress(_ledger(), None, number)
    if job is None:
        typer.echo(f"there is no job {words}", err=True)
        return NOTHING
    if as_json:
        print_json(job)
    else:
        print_job(job, job_control.failed_again(_ledger(), job))
    return DONE


def stop_job(words: str, *, as_json: bool) -> int:
    """Stop one job and show it; give the exit code."""
    number = id_of(words)
    job = None if number is None else job_control.progress(_ledger(), None, number)
    if job is None:
        typer.echo(f"there is no job {words}", err=True)
        return NOTHING
    if not job_control.stop(_ledger(), operator(), Kind(job.kind), int(job.job_id)):
        typer.echo(f"job {words} is over: there is nothing to stop", err=True)
        return NOTHING
    return show_job(words, as_json=as_json)


def _check(ask: Ask, plan: Plan, manner: Manner) -> None:
    needs_reason = plan.touched > 1 or ask.kind is Kind.DISCARD
    if needs_reason and not ask.reason.strip():
        raise typer.BadParameter("--reason: say why")
    if plan.touched > 1 and manner.as_json and not manner.yes:
        raise typer.BadParameter("--json: add --yes, nobody can be asked")


def _confirmed(ask: Ask, plan: Plan) -> bool:
    try:
        return typer.confirm(f"{ask.kind.capitalize()} {plan.touched} instances?", err=True)
    except typer.Abort:
        typer.echo("nothing is done; --yes does it without asking", err=True)
        return False


def _follow(ledger: Ledger, job: Job, manner: Manner) -> Job:
    """Watch a job until it ends; Ctrl-C only stops the watching."""
    err = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[told]}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=err, disable=manner.as_json or not err.is_terminal)
    try:
        with bar:
            return _watch(ledger, job, bar, bar.add_task(f"{job.kind} {job.job_id}", total=job.total, told=""))
    except KeyboardInterrupt:
        hint = f"`membersync jobs {job.job_id}` shows it, --stop stops it"
        typer.echo(f"job {job.job_id} goes on by itself; {hint}", err=True)
    return job_control.progress(ledger, Kind(job.kind), int(job.job_id)) or job


def _watch(ledger: Ledger, job: Job, bar: Progress, task: TaskID) -> Job:
    began, is_told = time.monotonic(), False
    while job.state in {JobState.PLANNED, JobState.RUNNING}:
        threading.Event().wait(_POLL_S)
        job = job_control.progress(ledger, Kind(job.kind), int(job.job_id)) or job
        ended = job.total - sum(job.counts[state] for state in _OPEN)
        bar.update(task, completed=ended, told=told(job))
        if job.state == JobState.PLANNED and not is_told and time.monotonic() - began > _PATIENCE_S:
            is_told = True
            typer.echo("no dispatcher has taken the job yet; it waits for one", err=True)
    return job


def _ledger() -> Ledger:
    return engine(with_ledger().ledger_url)

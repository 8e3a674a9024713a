"""`membersync reconcile` and `reconciliations`: start a run, follow it, read runs and the differences they found."""

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_connections, with_ledger
from producers.cli.terminal import (
    Columns,
    Cursor,
    Limit,
    Unmasked,
    before_of,
    coloured,
    console,
    instant,
    operator,
    plain,
    print_rows,
)
from producers.intake.refused import BodyError
from producers.operations.job_control import AskError
from producers.operations.reads import INSTANT_SAID, id_of, instant_of
from producers.operations.reconcile import reads, runs
from producers.operations.reconcile.files import HandedOver, crowdtwist_file, siebel_file
from producers.operations.reconcile.runs import Ask
from shared.ledger.engine import Ledger, engine, transaction
from shared.ledger.reconciliations import Difference, Run
from shared.pipeline import spoken
from shared.reconciling import DriftClass, Phase, RunState, Side

_POLL_S = 0.3
_NICE = 10
"""Reading a file leaves the machine to live events, as the carrying of it does."""
_DOING = {
    Phase.SIEBEL: "reading Siebel",
    Phase.LEDGER: "reading the ledger",
    Phase.FILE: "reading CrowdTwist's file",
    Phase.DRAW: "drawing",
    Phase.CROWDTWIST: "asking CrowdTwist",
    Phase.SECOND: "looking a second time",
    Phase.END: "ending",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compare."""

    full: Annotated[bool, typer.Option("--full", help="Ask CrowdTwist about every member.")] = False
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="Ask it about so many, drawn by strata.")
    ] = None
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help=f"Only what Siebel changed since: {INSTANT_SAID}.")
    ] = None
    member: Annotated[
        list[str] | None, typer.Option("--member", metavar="NUMBER", help="Only this member; repeat for several.")
    ] = None
    siebel_file: Annotated[
        Path | None, typer.Option("--siebel-file", metavar="FILE", help="Siebel's members, an export as CSV.")
    ] = None
    crowdtwist_file: Annotated[
        Path | None, typer.Option("--crowdtwist-file", metavar="FILE", help="CrowdTwist's profiles, ZIP or CSV.")
    ] = None
    share: Annotated[
        float | None, typer.Option("--share", metavar="PART", help="Part of CrowdTwist's budget; above 0, at most 1.")
    ] = None

    def ask(self, files: Mapping[Side, HandedOver]) -> Ask:
        """Return what is asked, with these *files*.

        Raises:
            BadParameter: it cannot be meant.
        """
        try:
            since = instant_of("since", self.since, datetime.now(UTC))
            return Ask(self.full, self.sample, since, tuple(self.member or ()), self.share, files)
        except AskError as error:
            raise typer.BadParameter(f"--{error.field}: {error.reason}") from None
        except ValueError as error:
            raise typer.BadParameter(f"--{error}") from None


def reconcile(
    wanted: Wanted,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it; ends 0 when nothing differs, 1 else.")] = False,
    as_json: AsJson = False,
) -> int:
    """Compare Siebel, CrowdTwist and the ledger."""
    of = with_connections()
    ledger = engine(of.ledger_url)
    with ExitStack() as opened:
        files: dict[Side, HandedOver] = {}
        if wanted.siebel_file or wanted.crowdtwist_file:
            with suppress(OSError):
                os.nice(_NICE)
        try:
            if wanted.siebel_file:
                files[Side.SIEBEL] = opened.enter_context(siebel_file(wanted.siebel_file, of))
            if wanted.crowdtwist_file:
                files[Side.CROWDTWIST] = opened.enter_context(crowdtwist_file(wanted.crowdtwist_file))
            run = runs.start(ledger, operator(), wanted.ask(files), of)
        except AskError as error:
            raise typer.BadParameter(str(error)) from None
        except OSError as error:
            raise TroubleError(f"{error.filename}: cannot be read ({error.strerror})") from None
        except BodyError as error:
            raise TroubleError(str(error)) from None
    if wait:
        run = _follow(ledger, run, is_shown=not as_json)
    if as_json:
        print_json(run)
    elif wait:
        _print_run(run)
    else:
        typer.echo(run.id)
        typer.echo(f"`membersync reconciliations {run.id}` shows how far it is", err=True)
    return NOTHING if wait and not _is_equal(run) else DONE


def reconciliations(  # noqa: PLR0913  # one option each
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this one.")] = None,
    *,
    classes: Annotated[
        list[DriftClass] | None,
        typer.Option("--class", metavar="CLASS", help="Its differences of this class; repeat for several."),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it; what it found stays.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show reconciliations, one with its figures, or its differences; stop one."""
    ledger, before = engine(with_ledger().ledger_url), before_of(cursor)
    if run_id is None:
        if stop or classes:
            raise typer.BadParameter("name the run")
        return _list(ledger, limit, before, as_json=as_json)
    number = id_of(run_id)
    run = None if number is None else runs.read(ledger, number)
    if run is None:
        typer.echo(f"there is no reconciliation {run_id}", err=True)
        return NOTHING
    if stop:
        if not runs.stop(ledger, operator(), int(run.id)):
            typer.echo(f"reconciliation {run.id} is over: there is nothing to stop", err=True)
            return NOTHING
        run = runs.read(ledger, int(run.id)) or run
    if classes:
        with transaction(ledger) as tx:
            shown_to = operator() if unmasked else None
            page = reads.differences(tx, int(run.id), classes=classes, limit=limit, after=before, unmasked_for=shown_to)
        if as_json:
            print_json({"items": [one.shown() for one in page.items], "next": page.next})
        else:
            _print_differences(page.items, page.next)
        return DONE if page.items else NOTHING
    if as_json:
        print_json(run)
        return DONE
    _print_run(run)
    with transaction(ledger) as tx:
        first = reads.differences(
            tx, int(run.id), limit=limit, after=before, unmasked_for=operator() if unmasked else None
        )
    if first.items:
        _print_differences(first.items, first.next)
    return DONE


def _is_equal(run: Run) -> bool:
    """Return whether nothing was found to differ; where nobody could be looked at, that says nothing."""
    return run.state == RunState.DONE and not run.found and bool(run.compared or not run.unread)


def _follow(ledger: Ledger, run: Run, *, is_shown: bool) -> Run:
    """Watch a run until it ends; Ctrl-C only stops the watching."""
    err = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[said]}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=err, disable=not (is_shown and err.is_terminal))
    try:
        with bar:
            return _watch(ledger, run, bar, bar.add_task(f"reconciliation {run.id}", total=None, said=""))
    except KeyboardInterrupt:
        hint = f"`membersync reconciliations {run.id}` shows it, --stop stops it"
        typer.echo(f"reconciliation {run.id} goes on by itself; {hint}", err=True)
    return runs.read(ledger, int(run.id)) or run


def _watch(ledger: Ledger, run: Run, bar: Progress, task: TaskID) -> Run:
    said = None
    while not run.over:
        if run.waiting != said and (said := run.waiting):
            typer.echo(f"reconciliation {run.id} waits for {said}", err=True)
        doing = f"waits for {run.waiting}" if run.waiting else _DOING[Phase(run.phase)]
        total = run.progress["to_look_at"] if run.phase == Phase.CROWDTWIST else None
        bar.update(task, total=total, completed=run.progress["looked_at"], said=f"{doing}, {run.found} differences")
        threading.Event().wait(_POLL_S)
        run = runs.read(ledger, int(run.id)) or run
    return run


def _list(ledger: Ledger, limit: int, before: int | None, *, as_json: bool) -> int:
    page = runs.listed(ledger, limit=limit, before=before)
    if as_json:
        print_json(page)
    elif page.items:
        print_rows(page.items, _RUNS, texts=["why"], expendable=["by", "calls", "moving"])
        if page.next:
            typer.echo(f"more; --cursor {page.next}", err=True)
    else:
        typer.echo("there are no reconciliations", err=True)
    return DONE if page.items else NOTHING


def _print_run(run: Run) -> None:
    out = console()
    print_rows([run], _RUNS, texts=["why"], expendable=["by", "calls", "moving"])
    if run.meaning:
        out.print(plain(run.meaning, "bold"), soft_wrap=True)
    if run.unread:
        out.print(plain("why one could not be looked at: `membersync compare NUMBER`", "dim"), soft_wrap=True)
    for name, count in run.differences.items():
        known = run.classes.get(name)
        if count:
            bounds = f", {known['low']:.2%} to {known['high']:.2%} of all members" if known else ""
            out.print(plain(f"{count:>8}  {spoken(name)}{bounds}", "red"), soft_wrap=True)
    for finding in run.findings:
        out.print(plain(f"{finding['evidence']}; `{finding['todo']}`", "bold red"), soft_wrap=True)
    if run.waiting:
        out.print(plain(f"waits for {run.waiting}", "yellow"), soft_wrap=True)
    if run.state in {RunState.FAILED, RunState.STOPPED}:
        out.print(plain(f"{run.state}: {run.why}; what it did not look at may differ", "bold red"), soft_wrap=True)


def _print_differences(found: Sequence[Difference], after: str | None) -> None:
    print_rows(found, _DIFFERENCES, texts=["evidence"], expendable=["first seen", "evidence"])
    if after:
        typer.echo(f"more; --cursor {after}", err=True)


_RUNS: Columns[Run] = {
    "run": lambda run: run.id,
    "state": lambda run: coloured(run.state),
    "mode": lambda run: run.mode,
    "by": lambda run: run.requested_by,
    "started": lambda run: instant(run.started_at),
    "ended": lambda run: instant(run.ended_at),
    "members": lambda run: max(run.members.values()),
    "looked at": lambda run: f"{run.compared} ({run.covered:.0%})" if run.over else run.compared,
    "moving": lambda run: run.moving or "",
    "differ": lambda run: plain(run.found, "bold red") if run.found else "" if run.state != RunState.DONE else 0,
    "calls": lambda run: f"{run.calls['siebel']} + {run.calls['crowdtwist']}",
    "why": lambda run: run.why or "",
}
_DIFFERENCES: Columns[Difference] = {
    "member": lambda one: one.member_number,
    "class": lambda one: spoken(one.drift_class),
    "field": lambda one: one.field or "",
    "Siebel": lambda one: one.siebel,
    "CrowdTwist": lambda one: one.crowdtwist,
    "ledger": lambda one: one.ledger,
    "first seen": lambda one: instant(one.first_seen_at),
    "evidence": lambda one: one.evidence,
}

"""`membersync status` and `connections`: how it goes, and the connections: their test, pause and resumption."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from threading import Event
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_connections, with_ledger
from producers.cli.terminal import Columns, age, coloured, console, instant, operator, plain, print_rows
from producers.operations import connection_control
from producers.operations.broker_look import with_broker
from producers.operations.foretelling import lane_said
from producers.operations.verdict import Level, Verdict, standing, unseen
from shared.errors import LedgerError, SettingsInvalidError
from shared.ledger.engine import engine, transaction
from shared.ledger.records import Backlog, ConnectionState, DeadLetters, Rate
from shared.ledger.snapshots import SnapshotHolder
from shared.pipeline import Stage, spoken
from shared.settings import Settings

_WATCHED_EVERY_S = 2.0
_LEVELS = {Level.WELL: "bold green", Level.WAITS: "bold yellow", Level.PERSON: "bold red"}


class Act(StrEnum):
    """What can be done to a connection."""

    TEST = "test"
    PAUSE = "pause"
    RESUME = "resume"


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show how it goes, with *watch* again and again until Ctrl-C.

    Raises:
        LedgerError: nothing can be read; the verdict has said so.
        SettingsInvalidError: as before, because of the settings.
        TroubleError: as before, because no ledger is set.
    """
    try:
        of = with_ledger()
        if not watch:
            _print_status(of, as_json=as_json)
            return DONE
    except (LedgerError, SettingsInvalidError, TroubleError) as error:
        typer.echo(unseen(error).sentence, err=True)
        raise
    with suppress(KeyboardInterrupt):
        while True:
            if not as_json:
                console().clear()
            try:
                _print_status(of, as_json=as_json)
            except LedgerError as error:
                print_verdict(unseen(error))
            sys.stdout.flush()
            Event().wait(_WATCHED_EVERY_S)
    return DONE


def _print_status(of: Settings, *, as_json: bool) -> None:
    with transaction(engine(of.ledger_url)) as tx:
        found = standing(tx, of)
    found = replace(found, verdict=with_broker(found.verdict, of))
    if as_json:
        print_json(found)
        return
    print_verdict(found.verdict)
    _print_connections(found.connections)
    if found.backlog:
        print_rows(found.backlog, _BACKLOG)
        for lane in found.lanes:
            if lane.depth:
                console().print(plain(f"{lane.lane}: {lane.depth} on the way, {lane_said(lane)}"), soft_wrap=True)
    else:
        typer.echo("nothing is pending")
    print_rows(found.rates, _RATES, texts=["of them"])
    if found.dead_letters:
        print_rows(found.dead_letters, _DEAD_LETTERS)
    if found.held_snapshots.holders:
        print_rows(found.held_snapshots.holders, _HOLDERS, texts=["query"])


def print_verdict(verdict: Verdict) -> None:
    """Print in one line whether all is well."""
    console().print(plain(verdict.sentence, _LEVELS[verdict.level]))


def connections(
    act: Annotated[Act | None, typer.Argument(metavar="test|pause|resume", help="What to do; nothing: show.")] = None,
    name: Annotated[Stage | None, typer.Argument(metavar="NAME", help="oic, crowdtwist or siebel.")] = None,
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown. A pause needs it.")
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Show the connections; test, pause or resume one."""
    if act is None:
        of = with_ledger()
        found = connection_control.states(engine(of.ledger_url), of)
        if as_json:
            print_json(connection_control.ConnectionPage(found))
        else:
            _print_connections(found)
        return DONE
    if name is None:
        raise typer.BadParameter(f"{act}: name the connection: {', '.join(Stage)}")
    if act is Act.PAUSE and not reason.strip():
        raise typer.BadParameter("--reason: say why")
    return _test(name, reason, as_json=as_json) if act is Act.TEST else _switch(act, name, reason, as_json=as_json)


def _test(stage: Stage, reason: str, *, as_json: bool) -> int:
    of = with_connections()
    found = connection_control.test(engine(of.ledger_url), operator(), stage, reason, of)
    if as_json:
        print_json(found)
    else:
        code = f" [{found.code}]" if found.code else ""
        what = f"  ({found.what})" if found.ok else ""
        console().print(plain(f"{spoken(stage)}: {found.answer}{code}{what}, {found.took_ms:.0f} ms"), soft_wrap=True)
    return DONE if found.ok else NOTHING


def _switch(act: Act, stage: Stage, reason: str, *, as_json: bool) -> int:
    of = with_ledger()
    switch = connection_control.pause if act is Act.PAUSE else connection_control.resume
    found = switch(engine(of.ledger_url), operator(), stage, reason, of)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{spoken(stage)}: {found.answer}")
        _print_connections([found.connection])
    return DONE if found.changed else NOTHING


def _print_connections(rows: Sequence[ConnectionState]) -> None:
    """Print how the connections stand, and below them why one does not serve."""
    print_rows(rows, _CONNECTIONS, expendable=["free now", "in flight", "failures", "breaker", "since"])
    out = console()
    for row in rows:
        whys = []
        if row.state == "paused":
            whys.append(f"paused by {row.paused_by}: {row.paused_reason}")
        if row.maintenance and row.maintenance.state == "planned":
            span = f"{instant(row.maintenance.from_at)} until {instant(row.maintenance.until_at)}"
            whys.append(f"maintenance planned from {span}: {row.maintenance.reason}")
        if row.wait_until:
            whys.append(f"asked us to wait until {instant(row.wait_until)}")
        if row.suspects:
            whys.append(f"{row.suspects} suspects: they failed while it served others")
        if row.calls and row.calls.backoffs:
            whys.append(f"takes {row.calls.limit} calls at once: {row.calls.reason}")
        if row.last_error:
            whys.append(f"last error: {row.last_error}")
        for why in whys:
            out.print(plain(f"{spoken(row.name)}: {why}"))


def _next_probe(row: ConnectionState) -> str:
    if row.breaker == "half_open":
        return f"the {row.probes}. is out"
    if row.next_probe_in_s is None:
        return ""
    return f"in {age(row.next_probe_in_s)}" if row.next_probe_in_s else "now"


_CONNECTIONS: Columns[ConnectionState] = {
    "connection": lambda row: spoken(row.name),
    "state": lambda row: coloured(row.state),
    "since": lambda row: instant(row.since),
    "breaker": lambda row: coloured("" if row.breaker == "closed" else row.breaker),
    "failures": lambda row: row.failures or "",
    "next probe": _next_probe,
    "held": lambda row: row.held or "",
    "calls/min": lambda row: "no limit" if row.budget is None else f"{row.budget.used} of {row.budget.per_minute}",
    "in flight": lambda row: row.calls and f"{row.calls.in_flight} of {row.calls.limit}",
    "free now": lambda row: row.budget and f"{row.budget.free_live} live, {row.budget.free_bulk} bulk",
}
_BACKLOG: Columns[Backlog] = {
    "lane": lambda row: row.lane,
    "stage": lambda row: spoken(row.stage),
    "state": lambda row: coloured(row.state),
    "instances": lambda row: row.count,
    "oldest": lambda row: age(row.oldest_s),
    "next due": lambda row: instant(row.next_due_at),
}
_RATES: Columns[Rate] = {
    "last": lambda row: age(row.period_s),
    "accepted": lambda row: row.accepted,
    "finished": lambda row: sum(row.finished.values()),
    "of them": lambda row: ", ".join(f"{count} {spoken(state, count)}" for state, count in row.finished.items()),
}
_HOLDERS: Columns[SnapshotHolder] = {
    "holds a snapshot": lambda row: f"{row.holds} {row.name}",
    "who": lambda row: row.who,
    "state": lambda row: row.state,
    "for": lambda row: age(row.age_s),
    "query": lambda row: row.query,
}
_DEAD_LETTERS: Columns[DeadLetters] = {
    "dead letters": lambda row: plain(row.count, "bold red"),
    "stage": lambda row: spoken(row.stage),
    "code": lambda row: row.code,
}

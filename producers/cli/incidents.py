"""`membersync incidents`: what went wrong for a while, newest first; one with its windows, counts and cost."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import (
    Columns,
    Cursor,
    Limit,
    age,
    before_of,
    coloured,
    console,
    instant,
    plain,
    print_rows,
)
from producers.operations import incident_control
from producers.operations.reads import LIMIT_DEFAULT, id_of
from shared.ledger.engine import engine
from shared.ledger.incident_reads import Incident, Window
from shared.pipeline import spoken


def incidents(
    incident_id: Annotated[str | None, typer.Argument(metavar="ID", help="Which one; nothing: list all.")] = None,
    *,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> int:
    """List incidents; show one."""
    ledger = engine(with_ledger().ledger_url)
    if incident_id is None:
        page = incident_control.incidents(ledger, limit=limit, before=before_of(cursor))
        if as_json:
            print_json(page)
        elif page.items:
            _print_list(page.items)
            if page.next:
                console().print(plain(f"more: --cursor {page.next}", "dim"))
        else:
            typer.echo("there was no incident")
        return DONE
    number = id_of(incident_id)
    found = None if number is None else incident_control.incident(ledger, number)
    if found is None:
        raise TroubleError(f"there is no incident {incident_id}", "`membersync incidents` lists them", NOTHING)
    if as_json:
        print_json(found)
    else:
        _print_one(found)
    return DONE


def _print_list(rows: Sequence[Incident]) -> None:
    columns: Columns[Incident] = {
        "incident": lambda row: row.id,
        "state": lambda row: coloured(row.state),
        "at": lambda row: spoken(row.stage),
        "cause": lambda row: row.cause,
        "since": lambda row: instant(row.windows.connection.from_at),
        "lasted": lambda row: _lasted(row.windows.connection, row),
        "openings": lambda row: row.counts.openings,
        "late": lambda row: row.counts.instances,
        "waiting": lambda row: row.counts.waiting or "",
        "fingerprint": lambda row: row.fingerprint,
        "acknowledged by": lambda row: row.acknowledged_by or "",
    }
    print_rows(rows, columns, texts=["cause"], expendable=["acknowledged by", "fingerprint", "openings"])


def _print_one(found: Incident) -> None:
    out = console()
    out.print(plain(f"incident {found.id}  ", "bold").append_text(coloured(found.state)), end="")
    out.print(plain(f"  at {spoken(found.stage)}: {found.cause}"), soft_wrap=True)
    cost, windows = found.cost, found.windows
    week_before = "not known" if cost.live_p95_week_before_s is None else age(cost.live_p95_week_before_s)
    facts = {
        "fingerprint": found.fingerprint + (f"  before: {', '.join(found.same_before)}" if found.same_before else ""),
        "connection": _window(windows.connection, found),
        "impact": _window(windows.impact, found) if windows.impact.from_at else "nobody was late",
        "openings": f"{found.counts.openings}, flaps {found.counts.flaps}",
        "late events": f"{cost.late_events}, of which {found.counts.waiting} wait",
        "member-minutes stale": f"{cost.member_minutes_stale:.1f}",
        "worst age": age(cost.worst_age_s),
        "wasted calls": cost.wasted_calls,
        "statuses told": cost.statuses_told,
        "dead letters": cost.dead_letters,
        "live p95": "nobody was told"
        if cost.live_p95_s is None
        else f"{age(cost.live_p95_s)}, a week before {week_before}",
        "acknowledged": f"by {found.acknowledged_by} at {instant(found.acknowledged_at)}"
        if found.acknowledged_by
        else "by nobody",
        "affected": f"membersync instances --incident {found.id}",
    }
    if found.merged_into:
        facts["merged into"] = found.merged_into
    for name, value in facts.items():
        out.print(plain(f"  {name:<22}{value}"), soft_wrap=True)


def _window(window: Window, found: Incident) -> str:
    over = f"to {instant(window.to_at)}" if window.to_at else "not over"
    return f"from {instant(window.from_at)} {over}, {_lasted(window, found)}"


def _lasted(window: Window, found: Incident) -> str:
    until = window.to_at or found.counted_at
    return "" if window.from_at is None else age(max(until - window.from_at, timedelta()).total_seconds())

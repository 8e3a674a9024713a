"""`membersync incidents`: what went wrong for a while; one with all that is known of it, and what people do to it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.text import Text

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import (
    Columns,
    Cursor,
    Limit,
    age,
    before_of,
    console,
    instant,
    operator,
    plain,
    print_rows,
)
from producers.operations import incident_control
from producers.operations.incident_control import Note
from producers.operations.incident_export import Format, exported
from producers.operations.reads import INSTANT_SAID, LIMIT_DEFAULT, id_of, instant_of
from shared.ledger.cause_notes import said
from shared.ledger.engine import Ledger, engine
from shared.ledger.incident_reads import Incident, IncidentDetail, IncidentPage, Window
from shared.pipeline import spoken


@dataclass(frozen=True, slots=True)
class Doing:
    """What is done to an incident; nothing: it is shown."""

    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Note something on its time line.")] = None
    at: Annotated[
        str | None, typer.Option("--at", metavar="WHEN", help=f"Of when the note is, if not of now: {INSTANT_SAID}.")
    ] = None
    change: Annotated[
        int | None, typer.Option("--change", metavar="NOTE", help="Change this note, by --note, --at or both.")
    ] = None
    acknowledge: Annotated[bool, typer.Option("--acknowledge", help="Say that you have taken it up.")] = False
    export: Annotated[Format | None, typer.Option("--export", help="Print it as a document of its own.")] = None
    merge_into: Annotated[
        int | None, typer.Option("--merge-into", metavar="ID", help="Make it a part of another; say why.")
    ] = None
    split_from: Annotated[
        str | None,
        typer.Option("--split-from", metavar="WHEN", help="Make what began then or later one of its own; say why."),
    ] = None
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown.")] = ""

    @property
    def given(self) -> list[str]:
        """What is to be done; more than one cannot be meant."""
        is_note = self.note is not None or self.change is not None
        said = {
            "--note": is_note,
            "--acknowledge": self.acknowledge,
            "--export": self.export is not None,
            "--merge-into": self.merge_into is not None,
            "--split-from": self.split_from is not None,
        }
        return [name for name, is_said in said.items() if is_said]

    def check(self, incident_id: str | None) -> None:
        """Let pass what can be meant.

        Raises:
            BadParameter: it cannot.
        """
        given = self.given
        if len(given) > 1:
            raise typer.BadParameter(f"{given[1]}: not together with {given[0]}")
        if self.at and "--note" not in given:
            raise typer.BadParameter("--at: is of a note; give --note, or --change")
        if given and incident_id is None:
            raise typer.BadParameter(f"{given[0]}: give the id of an incident; `membersync incidents` lists them")


def incidents(
    doing: Doing,
    incident_id: Annotated[str | None, typer.Argument(metavar="ID", help="Which one; nothing: list all.")] = None,
    *,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> int:
    """List incidents; show one, or do something to it."""
    doing.check(incident_id)
    ledger = engine(with_ledger().ledger_url)
    if incident_id is None:
        page = incident_control.incidents(ledger, limit=limit, before=before_of(cursor))
        if as_json:
            print_json(page)
        else:
            _print_list(page)
        return DONE
    number = id_of(incident_id)
    found = None if number is None else incident_control.incident(ledger, number)
    if found is None:
        raise TroubleError(f"there is no incident {incident_id}", "`membersync incidents` lists them", NOTHING)
    if doing.export is not None:
        typer.echo(exported(found, doing.export), nl=False)
    elif doing.given:
        return _do(ledger, int(found.id), doing, as_json=as_json)
    elif as_json:
        print_json(found)
    else:
        _print_one(found)
    return DONE


def _do(ledger: Ledger, incident_id: int, doing: Doing, *, as_json: bool) -> int:
    who, now = operator(), datetime.now(UTC)
    try:
        if doing.acknowledge:
            came = incident_control.acknowledge(ledger, who, incident_id)
        elif doing.merge_into is not None:
            came = incident_control.merge(ledger, who, incident_id, doing.merge_into, doing.reason)
        elif doing.split_from is not None:
            at = instant_of("--split-from", doing.split_from, now) or now
            came = incident_control.split(ledger, who, incident_id, at, doing.reason)
        else:
            note = Note(doing.note, instant_of("--at", doing.at, now), doing.change)
            came = incident_control.note(ledger, who, incident_id, note)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if came is None:
        raise TroubleError(f"there is no incident {incident_id}", "`membersync incidents` lists them", NOTHING)
    if as_json:
        print_json(came)
    else:
        console().print(plain(f"incident {incident_id}: {came.answer}"), soft_wrap=True)
    return DONE if came.changed else NOTHING


def _print_list(page: IncidentPage) -> None:
    if not page.items:
        typer.echo("there was no incident")
        return
    columns: Columns[Incident] = {
        "incident": lambda row: row.id,
        "state": _state,
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
    print_rows(page.items, columns, texts=["cause"], expendable=["acknowledged by", "fingerprint", "openings"])
    if page.next:
        console().print(plain(f"more: --cursor {page.next}", "dim"))


def _print_one(found: IncidentDetail) -> None:
    out = console()
    out.print(plain(f"incident {found.id}  ", "bold").append_text(_state(found)), end="")
    system = f"{spoken(found.stage)}: "
    out.print(plain(f"  {system}{found.cause.removeprefix(system)}"), soft_wrap=True)
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
    if found.cause_notes:
        facts["known"] = said(found.cause_notes)
    if found.merged_into:
        facts["merged into"] = found.merged_into
    for name, value in facts.items():
        out.print(plain(f"  {name:<22}{value}"), soft_wrap=True)
    for line in found.time_line:
        who = f"  {line.who}" if line.who else ""
        note = f" (note {line.note})" if line.note else ""
        where = f"{spoken(line.stage)}: " if line.stage else ""
        out.print(plain(f"  {instant(line.at)}  {where}{line.what}{note}"), plain(who, "dim"), soft_wrap=True)


def _state(found: Incident) -> Text:
    """Return where it is in its life; of a connection the same words are said otherwise."""
    return plain(found.state, "bold red" if found.is_open else "")


def _window(window: Window, found: Incident) -> str:
    over = f"to {instant(window.to_at)}" if window.to_at else "not over"
    return f"from {instant(window.from_at)} {over}, {_lasted(window, found)}"


def _lasted(window: Window, found: Incident) -> str:
    until = window.to_at or found.counted_at
    return "" if window.from_at is None else age(max(until - window.from_at, timedelta()).total_seconds())

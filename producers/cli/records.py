"""`membersync member`, `instances`, `show` and `refusals`: what the ledger knows of each."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.text import Text

from producers.cli.command import DONE, NOTHING, AsJson, print_json
from producers.cli.command_settings import configured, with_ledger
from producers.cli.terminal import (
    Columns,
    Cursor,
    Limit,
    Listing,
    Unmasked,
    Where,
    age,
    before_of,
    coloured,
    console,
    instant,
    operator,
    plain,
    print_rows,
)
from producers.intake.refused import where_of
from producers.operations import reads
from producers.operations.reads import INSTANT_SAID, LIMIT_DEFAULT, id_of, refusals_of
from shared.ledger import refusals as refused_events
from shared.ledger import views
from shared.ledger.engine import engine, transaction
from shared.ledger.records import ActivityLine, InstanceRecord, MemberRecord, Page
from shared.ledger.refusals import RefusalPage, RefusalRecord
from shared.pipeline import spoken


def instances(where: Where, listing: Listing) -> int:
    """List instances, newest first."""
    before = before_of(listing.cursor)
    with transaction(engine(with_ledger().ledger_url)) as tx:
        shown_to = operator() if listing.unmasked else None
        page = reads.instances(tx, where, limit=listing.limit, before=before, unmasked_for=shown_to)
        unreported = views.unreported(tx, [int(one.instance_id) for one in page.items])
    if listing.as_json:
        print_json(page)
    elif page.items:
        _print_page(page, unreported)
    else:
        typer.echo("no instance matches", err=True)
    return DONE if page.items else NOTHING


def show(
    instance_id: Annotated[str, typer.Argument(metavar="ID", help="Instance id.")],
    *,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show one instance with its activity and what it carries."""
    number = id_of(instance_id)
    with transaction(engine(with_ledger().ledger_url)) as tx:
        shown_to = operator() if unmasked else None
        detail = None if number is None else reads.instance(tx, number, unmasked_for=shown_to)
        unreported = set() if number is None else views.unreported(tx, [number])
    if detail is None:
        typer.echo(f"there is no instance {instance_id}, or it was pruned", err=True)
        return NOTHING
    if as_json:
        print_json(detail)
        return DONE
    out = console()
    _print_story(out, detail, detail.activity, unreported)
    for name, content in (("event", detail.event), ("CrowdTwist user", detail.user)):
        if content:
            out.print(plain(name, "bold"))
            out.print(plain(_json(content)), soft_wrap=True)
    if detail.oic_instance_id:
        out.print(plain(f"OIC instance {detail.oic_instance_id}"))
    if detail.trace_id:
        page = configured().tracing.page(detail.trace_id)
        out.print(plain(f"trace {page or detail.trace_id}"), soft_wrap=True)
    return DONE


def member(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Member number.")],
    *,
    limit: Limit = 10,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show one member's timeline."""
    before = before_of(cursor)
    with transaction(engine(with_ledger().ledger_url)) as tx:
        shown_to = operator() if unmasked else None
        found = reads.member(tx, number, limit=limit, before=before, unmasked_for=shown_to)
        unreported = views.unreported(tx, [int(one.instance_id) for one in found.instances] if found else [])
        refused = reads.refusals_of_member(tx, number)
    if found is None:
        return _show_refused(number, refused, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        _print_member(found, unreported)
        if refused.items:
            typer.echo(f"events of this member were refused too: membersync refusals --member {number}")
    return DONE


def _show_refused(number: str, refused: RefusalPage, *, as_json: bool) -> int:
    """Show what was refused of a member that nothing else is known of; return the exit code."""
    if as_json and refused.items:
        print_json({"member_number": number, "instances": [], "next": None, "refusals": refused.items})
        return NOTHING
    typer.echo(reads.unknown_member(refused).replace("this member", f"member {number}"), err=True)
    if refused.items:
        typer.echo(f"  membersync refusals --member {number}", err=True)
    return NOTHING


@dataclass(frozen=True, slots=True)
class Refused:
    """Which refused events are meant."""

    sender: Annotated[list[str] | None, typer.Option("--sender", metavar="NAME", help="Of the token, or user.")] = None
    field: Annotated[list[str] | None, typer.Option("--field", metavar="FIELD", help="What was wrong.")] = None
    member: Annotated[list[str] | None, typer.Option("--member", metavar="NUMBER", help="Member number.")] = None
    since: Annotated[str | None, typer.Option("--since", metavar="WHEN", help=f"Then or later: {INSTANT_SAID}.")] = None
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")] = None


def refusals(meant: Refused, *, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None, as_json: AsJson = False) -> int:
    """List the events that were refused, newest first."""
    try:
        where = refusals_of(now=datetime.now(UTC), **{name: said for name, said in asdict(meant).items() if said})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    before = before_of(cursor)
    with transaction(engine(with_ledger().ledger_url)) as tx:
        page = refused_events.refusals(tx, where, limit=limit, before=before)
    if as_json:
        print_json(page)
    elif page.items:
        print_rows(page.items, _REFUSALS, texts=["reason", "excerpt"], expendable=["excerpt", "source", "sender"])
        if page.next:
            console().print(plain(f"more: --cursor {page.next}", "dim"))
    else:
        typer.echo("no refused event matches", err=True)
    return DONE if page.items else NOTHING


def _print_page(page: Page, unreported: Collection[str]) -> None:
    """Print a page of instances; of those *unreported* Siebel does not show the status, and it stands apart."""
    columns: Columns[InstanceRecord] = {
        "instance": lambda one: one.instance_id,
        "member": lambda one: one.member_number,
        "event": lambda one: one.event_id,
        "lane": lambda one: one.lane,
        "state": lambda one: coloured(one.state),
        "stage": lambda one: spoken(one.failed_stage or one.stage),
        "tries": lambda one: one.attempt or "",
        "status": lambda one: coloured("" if one.instance_id in unreported else one.status),
        "not told yet": lambda one: one.status if one.instance_id in unreported else "",
        "accepted": lambda one: instant(one.accepted_at),
        "why": _why,
    }
    print_rows(page.items, columns, texts=["why"], expendable=["event", "lane", "tries", "accepted", "stage"])
    if page.next:
        console().print(plain(f"more: --cursor {page.next}", "dim"))


def _print_member(member: MemberRecord, unreported: Collection[str]) -> None:
    """Print one member's timeline, newest event first; *unreported* as in `_print_page`."""
    out = console()
    known = f"CrowdTwist user {member.ct_user_id}" if member.ct_user_id else "not known in CrowdTwist yet"
    row = f"ROW_ID {member.row_id}" if member.row_id else "ROW_ID not known yet"
    out.print(Text.assemble(("member ", ""), (plain(member.member_number).plain, "bold"), f"   {row}   {known}"))
    if member.told_status is None:
        unknown = "what Siebel shows is not known: an answer was lost, and it will be told again"
        out.print(plain("Siebel was told nothing yet" if member.told_at is None else unknown))
    else:
        said = f" by instance {member.told_instance_id} at {instant(member.told_at)}"
        out.print(Text.assemble("Siebel shows ", coloured(member.told_status), plain(said)))
        if member.told_error:
            out.print(plain(f"  {member.told_error}"))
    for one in member.instances:
        out.print()
        _print_story(out, one, one.activity, unreported)
    if member.next:
        out.print(plain(f"older: --cursor {member.next}", "dim"))


def _print_story(
    out: Console, one: InstanceRecord, activity: Iterable[ActivityLine], unreported: Collection[str]
) -> None:
    """Print one instance: a heading, then a line for each change, its calls below it.

    *unreported* as in `_print_page`.
    """
    heading = Text.assemble(
        (f"instance {one.instance_id}  ", "bold"),
        plain(f"{one.operation} {one.event_id}  {one.lane}  " + (f"origin {one.origin}  " if one.origin else "")),
        coloured(one.state),
        plain(f" at {spoken(one.failed_stage or one.stage)}  " if one.finished_at is None or one.code else "  "),
        plain(f"not told yet: {one.status}", "dim") if one.instance_id in unreported else coloured(one.status),
    )
    out.print(heading)
    order = "" if one.modification is None else f", modification {one.modification}"
    out.print(plain(f"  occurred {instant(one.occurred_at)}{order}, accepted {instant(one.accepted_at)}", "dim"))
    if why := _why(one):
        out.print(plain(f"  {why}"))
    if one.due_at and one.state != "running":
        out.print(plain(f"  due {instant(one.due_at)}"))
    for line in activity:
        _print_line(out, line, one.accepted_at)


def _print_line(out: Console, line: ActivityLine, accepted_at: datetime) -> None:
    after_ms = (line.at - accepted_at).total_seconds() * 1000
    where = f"{spoken(line.stage or 'intake')}{f' #{line.attempt}' if line.attempt else ''}"
    took = "" if line.took_ms is None else f"{line.took_ms:.0f} ms"
    code = f" [{line.code}]" if line.code else ""
    out.print(
        Text.assemble(
            plain(f"  {line.at.astimezone(UTC):%H:%M:%S.%f}"[:-3], "dim"),
            plain(f" {f'+{age(after_ms / 1000)}':>8}  {where:<14} "),
            coloured(f"{line.state}"),
            plain(" " * max(12 - len(spoken(line.state)), 1) + f"{took:>8}  {line.what}{code}"),
        ),
        soft_wrap=True,
    )
    for call in line.calls:
        answer = call.get("http_status") or "no answer"
        spent = f"{call.get('took_ms') or 0:.0f} ms"
        out.print(plain(f"      {call.get('method')} {call.get('url')} -> {answer}  {spent}", "dim"), soft_wrap=True)
        for name in ("request", "response"):
            if call.get(name) is not None:
                out.print(plain(f"        {name:<8} {_json(call[name])}", "dim"), soft_wrap=True)


def _why(one: InstanceRecord) -> str:
    held = f"held by guard {one.held_by_guard}" if one.held_by_guard else None
    return ": ".join(filter(None, (held, one.code, one.error))) or one.reason or ""


def _json(content: object) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()


_REFUSALS: Columns[RefusalRecord] = {
    "when": lambda one: instant(one.at),
    "sender": lambda one: one.sender,
    "source": lambda one: one.source,
    "where": lambda one: where_of(one.position, one.line),
    "member": lambda one: one.member_number,
    "field": lambda one: one.field,
    "reason": lambda one: f"{one.reason}{f' ({one.count})' if one.count > 1 else ''}",
    "excerpt": lambda one: one.excerpt,
}

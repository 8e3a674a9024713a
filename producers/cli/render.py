"""What the ledger knows, as a person reads it in a terminal: tables and timelines.

Whatever comes from outside is shown as text, never as markup or as control characters of the terminal.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from producers.cli.terminal import age, coloured, console, instant, plain, print_rows
from shared.ledger.records import (
    ActivityLine,
    InstanceDetail,
    InstanceRecord,
    MemberRecord,
    Page,
)
from shared.pipeline import spoken


def print_page(page: Page, untold: Collection[str]) -> None:
    """Print a page of instances; of those *untold* Siebel does not show the status, and it stands apart."""
    out = console()
    rows = [
        {
            "instance": plain(one.instance_id),
            "member": plain(one.member_number),
            "event": plain(one.event_id),
            "lane": plain(one.lane),
            "state": coloured(one.state),
            "stage": plain(spoken(one.failed_stage or one.stage)),
            "tries": plain(one.attempt or ""),
            "status": coloured("" if one.instance_id in untold else one.status),
            "not told yet": plain(one.status if one.instance_id in untold else ""),
            "accepted": plain(instant(one.accepted_at)),
            "why": plain(_why(one)),
        }
        for one in page.items
    ]
    print_rows(out, rows, texts=["why"], expendable=["event", "lane", "tries", "accepted", "stage"])
    if page.next:
        out.print(plain(f"more: --cursor {page.next}", "dim"))


def print_instance(detail: InstanceDetail, untold: Collection[str]) -> None:
    """Print one instance, its activity and what it carries; *untold* as in `print_page`."""
    out = console()
    _print_story(out, detail, detail.activity, untold)
    for name, content in (("event", detail.event), ("CrowdTwist user", detail.user)):
        if content:
            out.print(plain(name, "bold"))
            out.print(plain(_json(content)), soft_wrap=True)
    if detail.oic_instance_id:
        out.print(plain(f"OIC instance {detail.oic_instance_id}"))


def print_member(member: MemberRecord, untold: Collection[str]) -> None:
    """Print one member's timeline, newest event first; *untold* as in `print_page`."""
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
        _print_story(out, one, one.activity, untold)
    if member.next:
        out.print(plain(f"older: --cursor {member.next}", "dim"))


def _print_story(out: Console, one: InstanceRecord, activity: Iterable[ActivityLine], untold: Collection[str]) -> None:
    """Print one instance: a heading, then a line for each change, its calls below it."""
    heading = Text.assemble(
        (f"instance {one.instance_id}  ", "bold"),
        plain(f"{one.operation} {one.event_id}  {one.lane}  "),
        coloured(one.state),
        plain(f" at {spoken(one.failed_stage or one.stage)}  " if one.finished_at is None or one.code else "  "),
        plain(f"not told yet: {one.status}", "dim") if one.instance_id in untold else coloured(one.status),
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
        _print_call(out, call)


def _print_call(out: Console, call: Mapping[str, Any]) -> None:
    answer = call.get("http_status") or "no answer"
    took = call.get("took_ms") or 0
    out.print(plain(f"      {call.get('method')} {call.get('url')} -> {answer}  {took:.0f} ms", "dim"), soft_wrap=True)
    for name in ("request", "response"):
        if call.get(name) is not None:
            out.print(plain(f"        {name:<8} {_json(call[name])}", "dim"), soft_wrap=True)


def _why(one: InstanceRecord) -> str:
    return ": ".join(filter(None, (one.code, one.error))) or one.reason or ""


def _json(content: object) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()

"""`membersync cases`: Data Errors as cases, what unblocks most first; one with both members beside each other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import Columns, Listing, before_of, console, instant, operator, plain, print_rows
from producers.operations import cases as desk
from producers.operations.case_records import Beside, CaseAnswer, CaseCycle, CaseRecord
from producers.operations.cases import Sees
from producers.operations.job_control import AskError
from producers.operations.reads import LIMIT_DEFAULT
from shared.ledger.case_facts import CaseFilter
from shared.ledger.engine import engine
from shared.lifecycle.cases import CaseKind
from shared.pipeline import spoken
from shared.settings import Settings

_OPEN = desk.STATES[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases are meant."""

    kind: Annotated[
        list[CaseKind] | None,
        typer.Option(
            "--kind", metavar="KIND", help=f"{', '.join(CaseKind)}; repeat for several.", case_sensitive=False
        ),
    ] = None
    member: Annotated[list[str] | None, typer.Option("--member", metavar="NUMBER", help="Member number.")] = None
    state: Annotated[str, typer.Option("--state", metavar="STATE", help=f"{', '.join(desk.STATES)}.")] = _OPEN

    def where(self) -> CaseFilter:
        """Return them as a filter.

        Raises:
            BadParameter: there is no such state.
        """
        try:
            return desk.filter_of(tuple(self.kind or ()), tuple(self.member or ()), self.state)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


@dataclass(frozen=True, slots=True)
class Doing:
    """What is done about one case."""

    acknowledge: Annotated[bool, typer.Option("--acknowledge", help="Say that you have taken the case up.")] = False
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A word with --acknowledge.")] = ""
    look_up: Annotated[bool, typer.Option("--look-up", help="Ask CrowdTwist now who has the address.")] = False


def cases(
    wanted: Wanted,
    doing: Doing,
    listing: Listing,
    case: Annotated[str | None, typer.Argument(metavar="[ID]", help="Case id, or member number.")] = None,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all that match as CSV.")] = False,
) -> int:
    """List cases, or show one."""
    of = with_ledger()
    _check(case, wanted, doing, listing, as_csv=as_csv)
    sees = Sees(holder=True, unmasked_for=operator() if listing.unmasked else None)
    if case and (doing.acknowledge or doing.look_up):
        return _do(of, case, doing, sees, as_json=listing.as_json)
    ledger = engine(of.ledger_url)
    if case:
        found = desk.find(ledger, case, sees)
        if found and (other := desk.other_of(ledger, case, found)):
            typer.echo(f"{case} is taken for the id of a case; the open case of member {case} is {other}", err=True)
        return _print_one(case, found, as_json=listing.as_json)
    if as_csv:
        return _print_csv(desk.exported(ledger, wanted.where(), sees))
    page = desk.listed(ledger, wanted.where(), sees, limit=listing.limit, before=before_of(listing.cursor))
    if listing.as_json:
        print_json(page)
    elif page.items:
        print_rows(page.items, _CASES, texts=["what to do", "note"], expendable=["note", "opened", "instance"])
        if page.next:
            console().print(plain(f"more: --cursor {page.next}", "dim"))
    else:
        typer.echo("no case matches", err=True)
    return DONE if page.items else NOTHING


def _check(case: str | None, wanted: Wanted, doing: Doing, listing: Listing, *, as_csv: bool) -> None:
    """Refuse what would be ignored.

    Raises:
        BadParameter: options that do not go together.
    """
    of_lists = {
        "--kind": wanted.kind,
        "--member": wanted.member,
        "--state": wanted.state != _OPEN,
        "--csv": as_csv,
        "--limit": listing.limit != LIMIT_DEFAULT,
        "--cursor": listing.cursor,
    }
    if doing.note and not doing.acknowledge:
        raise typer.BadParameter("--note: goes with --acknowledge, and is not kept without")
    if doing.acknowledge and doing.look_up:
        raise typer.BadParameter("--look-up: --acknowledge is said too; one of them at a time")
    if (doing.acknowledge or doing.look_up) and not case:
        raise typer.BadParameter("ID: say which case")
    if case and (unused := next((name for name, value in of_lists.items() if value), None)):
        raise typer.BadParameter(f"{unused}: is of a list; leave it out to see case {case}, or leave that out")
    paged = {"--json": listing.as_json, "--limit": of_lists["--limit"], "--cursor": listing.cursor}
    if as_csv and (unused := next((name for name, value in paged.items() if value), None)):
        raise typer.BadParameter(f"{unused}: --csv prints all that match, as CSV; leave one of them out")


def _do(of: Settings, case: str, doing: Doing, sees: Sees, *, as_json: bool) -> int:
    ledger = engine(of.ledger_url)
    if doing.acknowledge:
        return _print_answer(case, desk.acknowledge(ledger, operator(), case, doing.note, sees), as_json=as_json)
    try:
        answer = desk.look_up(ledger, operator(), case, of, sees)
    except AskError as mistake:
        raise TroubleError(mistake.reason) from None
    return _print_answer(case, answer, as_json=as_json)


def _print_csv(pieces: Iterator[str]) -> int:
    count = 0
    for piece in pieces:
        typer.echo(piece, nl=False)
        count += 1
    return DONE if count > 1 else NOTHING


def _print_answer(words: str, answer: CaseAnswer | None, *, as_json: bool) -> int:
    if answer is None:
        return _print_one(words, None, as_json=as_json)
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer.answer, err=not answer.done)
    return DONE if answer.done else NOTHING


def _print_one(words: str, one: CaseRecord | None, *, as_json: bool) -> int:
    if one is None:
        typer.echo(f"there is no case {words}, and no open one of a member of this number", err=True)
        return NOTHING
    if as_json:
        print_json(one)
        return DONE
    out = console()
    out.print(plain(f"case {one.case_id} of member {one.member_number}: {spoken(one.kind)}, {one.state}", "bold"))
    out.print(plain(one.what_to_do), soft_wrap=True)
    for name, say in _FACTS.items():
        if said := say(one):
            out.print(plain(f"{name:<12} {said}"), soft_wrap=True)
    if one.beside:
        print_rows(one.beside, _BESIDE, texts=["this member", "who has the address"])
    return DONE


def _cycle(one: CaseCycle) -> str:
    parked = f"member {one.parked_member} parked {instant(one.parked_at)}" if one.parked_at else "nobody parked yet"
    until = "late since" if one.late else "until"
    return f"{one.done} of {one.steps} done, {parked}, {until} {instant(one.deadline_at)}"


_CASES: Columns[CaseRecord] = {
    "case": lambda one: one.case_id,
    "member": lambda one: one.member_number,
    "kind": lambda one: spoken(one.kind),
    "field": lambda one: one.label,
    "holder": lambda one: one.holder and (one.holder.member_number or f"user {one.holder.ct_user_id}"),
    "unblocks": lambda one: one.unblocks or "",
    "who": lambda one: one.who,
    "what to do": lambda one: one.what_to_do,
    "note": lambda one: one.note,
    "closed": lambda one: one.closed_how and spoken(one.closed_how),
    "instance": lambda one: one.instance_id,
    "opened": lambda one: instant(one.opened_at),
}
_FACTS: dict[str, Callable[[CaseRecord], object]] = {
    "said": lambda one: one.message,
    "field": lambda one: one.label and f"{one.label}: {one.value}",
    "rule": lambda one: one.rule,
    "character": lambda one: one.character,
    "path": lambda one: " -> ".join((one.member_number, *one.path)) if one.path else "",
    "unblocks": lambda one: one.unblocks,
    "instance": lambda one: one.instance_id,
    "on its way": lambda one: one.coming_instance_id if one.held_by_guard is None else None,
    "held": lambda one: one.held_by_guard and f"{one.coming_instance_id}, by guard {one.held_by_guard}",
    "cycle": lambda one: one.cycle and _cycle(one.cycle),
    "looked up": lambda one: (
        one.looked_up and f"{one.looked_up}, {instant(one.holder.looked_up_at if one.holder else None)}"
    ),
    "acknowledged": lambda one: one.acknowledged_by and f"{one.acknowledged_by}, {instant(one.acknowledged_at)}",
    "note": lambda one: one.note,
    "opened": lambda one: instant(one.opened_at),
    "closed": lambda one: one.closed_how and f"{spoken(one.closed_how)}, {instant(one.closed_at)}",
}
_BESIDE: Columns[Beside] = {
    "field": lambda one: one.label,
    "this member": lambda one: one.member,
    "who has the address": lambda one: one.holder,
    "same": lambda one: "yes" if one.same else "",
}

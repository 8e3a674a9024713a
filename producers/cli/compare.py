"""`membersync compare`: one member in Siebel, in CrowdTwist and in the ledger, now; `changes`: two events of one."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from producers.cli.command import DONE, NOTHING, AsJson, print_json
from producers.cli.command_settings import with_connections, with_ledger
from producers.cli.terminal import Columns, Unmasked, coloured, console, instant, operator, plain, print_rows
from producers.operations.event_changes import EventChanges, EventEnd, FieldChange, changed_pair, changes_between
from producers.operations.job_control import AskError
from producers.operations.reconcile.compare import compare as compare_now
from producers.operations.reconcile.side_by_side import Comparison, CrowdTwistNow, FieldNow, SiebelNow
from shared.ledger.engine import engine, transaction

_CHANGES = {"added": "green", "changed": "yellow", "removed": "red"}
_STYLES = {"same": "green", "different": "bold red", "moving": "yellow", "unknown": "yellow"}


def compare(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Member number.")],
    *,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Ask Siebel and CrowdTwist for one member now, and show them beside the ledger, field by field."""
    of = with_connections()
    shown_to = operator() if unmasked else None
    found = compare_now(engine(of.ledger_url), number, of, unmasked_for=shown_to)
    if found is None:
        typer.echo(f"no member {number} in Siebel, in CrowdTwist or in the ledger", err=True)
        return NOTHING
    if as_json:
        print_json(found.shown())
    else:
        _print(console(), found)
    return DONE


_Older = Annotated[str, typer.Option("--from", metavar="ID", help="Instance of the older; the one before the newer.")]
_Newer = Annotated[str, typer.Option("--to", metavar="ID", help="Instance of the newer; without it the newest.")]


def changes(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Member number.")],
    *,
    older: _Older = "",
    newer: _Newer = "",
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show what changed between two events of a member, field by field."""
    shown_to = operator() if unmasked else None
    try:
        pair = changed_pair(older, newer)
        with transaction(engine(with_ledger().ledger_url)) as tx:
            found = changes_between(tx, number, *pair, unmasked_for=shown_to)
    except AskError as mistake:
        raise typer.BadParameter(mistake.reason, param_hint=f"--{mistake.field}") from None
    if found is None:
        typer.echo(f"no event of member {number} has arrived", err=True)
        return NOTHING
    if as_json:
        print_json(found)
    else:
        _print_changes(console(), found)
    return DONE


def _print_changes(out: Console, found: EventChanges) -> None:
    out.print(plain(f"member {found.member_number}", "bold"))
    for name, end in (("from", found.older), ("to", found.newer)):
        out.print(plain(f"{name:<5} {_end(end)}"), soft_wrap=True)
    if any(end is not None and not end.kept for end in (found.older, found.newer)):
        out.print(plain("one of the two is kept without its content: they cannot be compared"))
    elif not found.changes:
        out.print(plain(f"nothing changed; {found.same} fields are the same"))
    else:
        out.print()
        print_rows(found.changes, _FIELD_CHANGES, texts=["before", "after"])
        out.print(plain(f"{found.same} fields are the same", "dim"))


def _end(end: EventEnd | None) -> str:
    if end is None:
        return "nothing: it is the first event that is kept"
    order = "" if end.modification is None else f", modification {end.modification}"
    return f"instance {end.instance_id}  {end.operation} {end.event_id}  occurred {instant(end.occurred_at)}{order}"


def _print(out: Console, found: Comparison) -> None:
    out.print(
        Text.assemble(
            plain(f"member {found.member_number}  ", "bold"),
            plain(found.verdict, _STYLES[found.verdict]),
            plain(f"  {found.means}"),
        ),
        soft_wrap=True,
    )
    for name, words in (
        ("Siebel", _siebel(found.siebel)),
        ("CrowdTwist", _crowdtwist(found.crowdtwist)),
        ("ledger", _ledger(found)),
    ):
        out.print(plain(f"{name:<11} {words}"), soft_wrap=True)
    for one in found.differences:
        out.print(Text.assemble(coloured(one.drift_class), plain(f"  {one.evidence}")), soft_wrap=True)
    out.print()
    print_rows(found.fields, _FIELDS, texts=["Siebel", "CrowdTwist", "ledger"], expendable=["at last success"])


def _siebel(side: SiebelNow) -> str:
    if side.found is None and side.trouble is not None:
        return f"could not be read: {side.trouble.message}"
    if not side.found:
        return "has no such member"
    said = [f"ROW_ID {side.row_id}"]
    if side.updated_at is not None:
        said.append(f"updated {instant(side.updated_at)}")
    if side.modification is not None:
        said.append(f"modification {side.modification}")
    if side.is_member is False:
        said.append("not an Individual of the programme")
    if side.trouble is not None:
        said.append(side.trouble.message)
    return ", ".join(said)


def _crowdtwist(side: CrowdTwistNow) -> str:
    if side.found is None and side.trouble is not None:
        return f"could not be read: {side.trouble.message}"
    if not side.found:
        return "has no such member"
    said = [f"user {side.user_id}", "active" if side.is_active else "inactive"]
    if side.updated_at is not None:
        said.append(f"updated {instant(side.updated_at)}")
    return ", ".join(said)


def _ledger(found: Comparison) -> str:
    side = found.ledger
    if not side.found:
        return "knows no event of it"
    said = []
    if side.newest_instance_id is not None:
        outcome = side.status or side.state
        said.append(f"newest instance {side.newest_instance_id}: {outcome}")
    said += [f"instance {one.instance_id} is {one.state}" for one in side.on_its_way]
    taken = "never" if side.applied_instance_id is None else instant(side.acknowledged_at) or "once"
    said.append(f"CrowdTwist acknowledged: {taken}")
    return ", ".join(said)


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _is_unsent(one: FieldNow) -> bool:
    """Say whether CrowdTwist has nothing of a field for the reason that it is sent nothing."""
    return one.unsent and one.crowdtwist in (None, "") and not one.differs


_FIELD_CHANGES: Columns[FieldChange] = {
    "field": lambda one: one.field,
    "change": lambda one: plain(one.change, _CHANGES[one.change]),
    "before": lambda one: _shown(one.before),
    "after": lambda one: _shown(one.after),
}
_FIELDS: Columns[FieldNow] = {
    "field": lambda one: one.field,
    "Siebel": lambda one: _shown(one.siebel),
    "CrowdTwist": lambda one: plain("not sent", "dim") if _is_unsent(one) else _shown(one.crowdtwist),
    "ledger": lambda one: _shown(one.ledger),
    "at last success": lambda one: _shown(one.acknowledged),
    "differs": lambda one: plain(", ".join(one.differs), "bold red"),
}

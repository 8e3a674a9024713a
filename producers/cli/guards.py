"""`membersync guards`: what guards hold instead of letting it go on, with the plan; release or discard it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import (
    Columns,
    Cursor,
    Limit,
    before_of,
    coloured,
    console,
    instant,
    operator,
    plain,
    print_rows,
)
from producers.operations import guard_control, hold_advice
from producers.operations.reads import LIMIT_DEFAULT, id_of
from shared.ledger.engine import engine
from shared.ledger.guards import Hold
from shared.pipeline import spoken


class Act(StrEnum):
    """What can be done to what a guard holds."""

    RELEASE = "release"
    DISCARD = "discard"


def guards(  # noqa: PLR0913  # its options
    act: Annotated[
        Act | None, typer.Argument(metavar="release|discard", help="What to do; nothing: show what is held.")
    ] = None,
    hold_id: Annotated[str | None, typer.Argument(metavar="ID", help="Which hold.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown. Needed.")] = "",
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Show what guards hold; release or discard one hold."""
    of = with_ledger()
    ledger = engine(of.ledger_url)
    if act is None:
        if reason:
            raise typer.BadParameter("--reason: says why something is released or discarded: name which, and the hold")
        page = guard_control.holds(ledger, limit=limit, before=before_of(cursor))
        if as_json:
            print_json(page)
        elif page.items:
            _print(page.items)
        else:
            typer.echo("nothing is held by a guard, and nothing was")
        return DONE
    number = id_of(hold_id or "")
    if number is None:
        raise typer.BadParameter(f"{act}: give the id of a hold; `membersync guards` lists them")
    if not reason.strip():
        raise typer.BadParameter("--reason: say why")
    decide = guard_control.release if act is Act.RELEASE else guard_control.discard
    found = decide(ledger, operator(), number, reason, approval_above=of.operations.approval_above)
    if found is None:
        raise TroubleError(f"there is no hold {number}", "`membersync guards` lists them", NOTHING)
    if as_json:
        print_json(found)
    else:
        console().print(plain(f"guard {number}: {found.answer}"), soft_wrap=True)
        if found.hold.job_id and found.changed and act is Act.RELEASE:
            typer.echo(f"membersync jobs {found.hold.job_id}   # shows how far it is")
    return DONE if found.changed or found.approval_id else NOTHING


def _print(rows: Sequence[Hold]) -> None:
    """Print the holds, and below those that are open what can be done about them."""
    print_rows(rows, _HOLDS, texts=["what"], expendable=["too late for", "decided by"])
    out = console()
    for row in rows:
        if row.ended_at is None:
            out.print(plain(f"guard {row.id}: {hold_advice.about_hold(row)}"), soft_wrap=True)
            if row.answer:
                out.print(plain(f"guard {row.id}: the last release: {row.answer}"), soft_wrap=True)


_HOLDS: Columns[Hold] = {
    "guard": lambda row: row.id,
    "state": lambda row: coloured(row.state),
    "stage": lambda row: spoken(row.stage),
    "what": lambda row: row.message,
    "held": lambda row: row.held,
    "opened on": lambda row: f"{row.alike} of {row.went_out}",
    "too late for": lambda row: row.told,
    "since": lambda row: instant(row.opened_at),
    "decided by": lambda row: row.decided_by or "",
}

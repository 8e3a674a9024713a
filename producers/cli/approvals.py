"""`membersync approve`: what waits for a second person; approve it, or refuse it."""

from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import Columns, Paging, before_of, coloured, instant, operator, print_rows
from producers.operations import approval_control
from producers.operations.approval_control import OwnApprovalError
from producers.operations.reads import id_of
from shared.ledger.approvals import Approval
from shared.ledger.engine import engine


def approve(
    approval_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Which; nothing: show what waits and did.")
    ] = None,
    *,
    refuse: Annotated[bool, typer.Option("--refuse", help="Have it not done.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown.")] = "",
    paging: Paging,
) -> int:
    """Show what waits for a second person; approve or refuse one."""
    ledger = engine(with_ledger().ledger_url)
    if approval_id is None:
        page = approval_control.listed(ledger, limit=paging.limit, before=before_of(paging.cursor))
        if paging.as_json:
            print_json(page)
        elif page.items:
            print_rows(page.items, _APPROVALS, texts=["why"], expendable=["decided by", "since"])
        else:
            typer.echo("nothing waits for a second person, and nothing did")
        return DONE
    number = id_of(approval_id)
    if number is None:
        raise typer.BadParameter(f"{approval_id} is no id; `membersync approve` lists them")
    settle = approval_control.refuse if refuse else approval_control.approve
    try:
        found = settle(ledger, operator(), number, reason)
    except OwnApprovalError as error:
        raise TroubleError(f"approval {number} {error.reason}", "", NOTHING) from None
    if found is None:
        raise TroubleError(f"there is no approval {number}", "`membersync approve` lists them", NOTHING)
    if paging.as_json:
        print_json(found)
    else:
        typer.echo(f"approval {number}: {found.answer}")
    return DONE if found.changed else NOTHING


_APPROVALS: Columns[Approval] = {
    "approval": lambda row: row.id,
    "state": lambda row: coloured(row.state),
    "what": lambda row: f"{row.what} {row.job_id or row.guard_id}",
    "of": lambda row: row.count,
    "asked by": lambda row: row.asked_by,
    "since": lambda row: instant(row.asked_at),
    "why": lambda row: row.reason,
    "decided by": lambda row: row.decided_by or "",
}

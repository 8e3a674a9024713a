"""`membersync maintenance`: planned windows of a connection; add one, remove one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import Columns, Paging, before_of, coloured, instant, operator, print_rows
from producers.operations import maintenance_control
from producers.operations.job_control import AskError
from producers.operations.maintenance_control import WHEN_SAID, Wanted, WindowError
from producers.operations.reads import id_of
from shared.ledger.engine import Ledger, engine
from shared.ledger.records import MaintenanceWindow
from shared.pipeline import Stage, spoken


class Act(StrEnum):
    """What can be done about windows."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Typed:
    """What is said of a window that is added."""

    begins: Annotated[
        str, typer.Option("--from", metavar="T", help=f"When it begins, now if left out: {WHEN_SAID}.")
    ] = ""
    ends: Annotated[str, typer.Option("--until", metavar="T", help="When it ends. Needed to add one.")] = ""
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown. Needed to add one.")
    ] = ""


def maintenance(
    act: Annotated[Act | None, typer.Argument(metavar="add|remove", help="What to do; nothing: show.")] = None,
    which: Annotated[
        str | None, typer.Argument(metavar="NAME|ID", help="Add: oic, crowdtwist or siebel; remove: which window.")
    ] = None,
    *,
    typed: Typed,
    paging: Paging,
) -> int:
    """Show planned windows; add one, remove one."""
    ledger = engine(with_ledger().ledger_url)
    if act is None:
        page = maintenance_control.windows(ledger, limit=paging.limit, before=before_of(paging.cursor))
        if paging.as_json:
            print_json(page)
        elif page.items:
            print_rows(page.items, _WINDOWS, texts=["why"], expendable=["added by"])
        else:
            typer.echo("no window is planned, and none was")
        return DONE
    if act is Act.REMOVE:
        return _remove(ledger, which or "", as_json=paging.as_json)
    if which not in set(Stage):
        raise typer.BadParameter(f"add: name the connection: {', '.join(Stage)}")
    try:
        window = maintenance_control.add(
            ledger, operator(), Wanted(Stage(which), typed.begins, typed.ends, typed.reason)
        )
    except WindowError as error:
        raise TroubleError(
            f"--{error.field}: {error.reason}", "`membersync maintenance` shows the windows", NOTHING
        ) from None
    except AskError as error:
        raise typer.BadParameter(f"--{error.field}: {error.reason}") from None
    if paging.as_json:
        print_json(window)
    else:
        typer.echo(f"window {window.id}: {spoken(window.name)} is paused then, and goes on by itself")
        print_rows([window], _WINDOWS, texts=["why"], expendable=["added by"])
    return DONE


def _remove(ledger: Ledger, which: str, *, as_json: bool) -> int:
    number = id_of(which)
    if number is None:
        raise typer.BadParameter("remove: give the id of a window; `membersync maintenance` lists them")
    found = maintenance_control.remove(ledger, operator(), number)
    if found is None:
        raise TroubleError(f"there is no window {number}", "`membersync maintenance` lists them", NOTHING)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"window {number}: {found.answer}")
    return DONE if found.changed else NOTHING


_WINDOWS: Columns[MaintenanceWindow] = {
    "window": lambda row: row.id,
    "connection": lambda row: spoken(row.name),
    "state": lambda row: coloured(row.state),
    "from": lambda row: instant(row.from_at),
    "until": lambda row: instant(row.ended_at if row.removed_by and row.began_at else row.until_at),
    "why": lambda row: row.reason,
    "added by": lambda row: row.added_by,
}

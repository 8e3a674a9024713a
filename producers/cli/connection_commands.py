"""The command about connections: how they stand; test, pause, resume one."""

from enum import StrEnum
from typing import Annotated

import typer

from producers.cli.command_errors import DONE, NOTHING
from producers.cli.options import AsJson
from shared.pipeline import Stage, spoken

# Imports inside commands keep the start of the others short.
# ruff: noqa: PLC0415


class Act(StrEnum):
    """What can be done to a connection."""

    TEST = "test"
    PAUSE = "pause"
    RESUME = "resume"


def connections(
    act: Annotated[Act | None, typer.Argument(metavar="test|pause|resume", help="What to do; nothing: show.")] = None,
    name: Annotated[Stage | None, typer.Argument(metavar="NAME", help="oic, crowdtwist or siebel.")] = None,
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown. A pause needs it.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show how the connections stand; test, pause or resume one."""
    if act is None:
        raise typer.Exit(_show(as_json=as_json))
    if name is None:
        raise typer.BadParameter(f"{act}: name the connection: {', '.join(Stage)}")
    if act is Act.PAUSE and not reason.strip():
        raise typer.BadParameter("--reason: say why")
    raise typer.Exit(_test(name, reason, as_json=as_json) if act is Act.TEST else _switch(act, name, reason, as_json))


def _show(*, as_json: bool) -> int:
    from producers.cli.ledger_commands import print_json
    from producers.cli.ledger_location import with_ledger
    from producers.cli.overview import print_connections
    from producers.operations import connection_control
    from shared.ledger.engine import engine

    of = with_ledger()
    found = connection_control.states(engine(of.ledger_url), of)
    if as_json:
        print_json(connection_control.ConnectionPage(found))
    else:
        print_connections(found)
    return DONE


def _test(stage: Stage, reason: str, *, as_json: bool) -> int:
    from producers.cli.ledger_commands import print_json
    from producers.cli.ledger_location import operator, with_connections
    from producers.cli.render import console, plain
    from producers.operations import connection_control
    from shared.ledger.engine import engine

    of = with_connections()
    found = connection_control.test(engine(of.ledger_url), operator(), stage, reason, of)
    if as_json:
        print_json(found)
    else:
        code = f" [{found.code}]" if found.code else ""
        what = f"  ({found.what})" if found.ok else ""
        console().print(plain(f"{spoken(stage)}: {found.answer}{code}{what}, {found.took_ms:.0f} ms"), soft_wrap=True)
    return DONE if found.ok else NOTHING


def _switch(act: Act, stage: Stage, reason: str, as_json: bool) -> int:  # noqa: FBT001  # an option as it was typed
    from producers.cli.ledger_commands import print_json
    from producers.cli.ledger_location import operator, with_ledger
    from producers.cli.overview import print_connections
    from producers.operations import connection_control
    from shared.ledger.engine import engine

    of = with_ledger()
    switch = connection_control.pause if act is Act.PAUSE else connection_control.resume
    found = switch(engine(of.ledger_url), operator(), stage, reason, of)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{spoken(stage)}: {found.answer}")
        print_connections([found.connection])
    return DONE if found.changed else NOTHING

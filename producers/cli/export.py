"""`membersync export`: outcomes, attempts or cases as NDJSON or CSV, people masked."""

import sys
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import Where
from producers.operations.export import Format, Wanted, What, exported
from shared.ledger.engine import engine


def export(
    what: Annotated[What, typer.Argument(metavar="outcomes|attempts|cases", help="What to export.")],
    where: Where,
    form: Annotated[Format, typer.Option("--format", help="NDJSON or CSV.")] = Format.NDJSON,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many rows.")] = None,
) -> int:
    """Write what matches to standard output, newest first."""
    ledger = engine(with_ledger().ledger_url)
    pieces = 0
    for piece in exported(ledger, Wanted(what, where, form, limit, sees_holders=True)):
        sys.stdout.write(piece)
        pieces += 1
    sys.stdout.flush()
    if pieces > (form is Format.CSV):
        return DONE
    typer.echo("nothing matches", err=True)
    return NOTHING

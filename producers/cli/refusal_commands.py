"""`membersync refusals`: the events that intake did not take in."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from producers.cli.command_errors import DONE, NOTHING
from producers.cli.command_settings import with_ledger
from producers.cli.options import AsJson, Cursor, Limit
from producers.cli.records import before_of
from producers.cli.terminal import console, instant, plain, print_json, print_rows
from producers.intake.refused import where_of
from producers.operations.filtering import INSTANT_SAID, LIMIT_DEFAULT, refusals_of
from shared.ledger import refusals as refused_events
from shared.ledger.engine import engine, transaction
from shared.ledger.refusals import RefusalPage


def refusals(  # noqa: PLR0913  # one option each
    *,
    sender: Annotated[list[str] | None, typer.Option("--sender", metavar="NAME", help="Of the token, or user.")] = None,
    field: Annotated[list[str] | None, typer.Option("--field", metavar="FIELD", help="What was wrong.")] = None,
    member: Annotated[list[str] | None, typer.Option("--member", metavar="NUMBER", help="Member number.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help=f"Then or later: {INSTANT_SAID}.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the events that were refused, newest first: position, field, reason, sender; people masked."""
    try:
        where = refusals_of(
            now=datetime.now(UTC), sender=sender or (), field=field or (), member=member or (), since=since, until=until
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    before = before_of(cursor)
    with transaction(engine(with_ledger().ledger_url)) as tx:
        page = refused_events.refusals(tx, where, limit=limit, before=before)
    if as_json:
        print_json(page)
    elif page.items:
        print_refusals(page)
    else:
        typer.echo("no refused event matches", err=True)
    raise typer.Exit(DONE if page.items else NOTHING)


def print_refusals(page: RefusalPage) -> None:
    """Print a page of refusals."""
    out = console()
    rows = [
        {
            "when": plain(instant(one.at)),
            "sender": plain(one.sender),
            "source": plain(one.source),
            "where": plain(where_of(one.position, one.line)),
            "member": plain(one.member_number),
            "field": plain(one.field),
            "reason": plain(f"{one.reason}{f' ({one.count})' if one.count > 1 else ''}"),
            "excerpt": plain(one.excerpt),
        }
        for one in page.items
    ]
    print_rows(out, rows, texts=["reason", "excerpt"], expendable=["excerpt", "source", "sender"])
    if page.next:
        out.print(plain(f"more: --cursor {page.next}", "dim"))

"""The commands that look into the ledger."""

from typing import Any

import orjson
import typer

from producers.cli.overview import print_overview
from producers.cli.reach import operator, with_ledger
from producers.cli.render import print_instance, print_member, print_page
from producers.cli.trouble import DONE, NOTHING
from producers.connections import budgets
from producers.filtering import id_of
from producers.unmasking import instance_for, member_for, page_for
from shared.ledger import views
from shared.ledger.engine import engine, transaction
from shared.ledger.filters import Filter, has_control


def list_instances(where: Filter, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """List instances; give the exit code."""
    before = before_of(cursor)
    ledger = engine(with_ledger().ledger_url)
    with transaction(ledger) as connection:
        page = views.instances(connection, where, limit=limit, before=before)
    page = page_for(operator() if unmasked else None, ledger, page)
    if as_json:
        print_json(page)
    elif page.items:
        print_page(page)
    else:
        typer.echo("no instance matches", err=True)
    return DONE if page.items else NOTHING


def show_instance(words: str, *, unmasked: bool, as_json: bool) -> int:
    """Show one instance; give the exit code."""
    number = id_of(words)
    ledger = engine(with_ledger().ledger_url)
    with transaction(ledger) as connection:
        detail = None if number is None else views.instance(connection, number)
    if detail is None:
        typer.echo(f"there is no instance {words}, or it was pruned", err=True)
        return NOTHING
    detail = instance_for(operator() if unmasked else None, ledger, detail)
    if as_json:
        print_json(detail)
    else:
        print_instance(detail)
    return DONE


def show_member(number: str, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """Show one member; give the exit code."""
    before = before_of(cursor)
    ledger = engine(with_ledger().ledger_url)
    member = None
    with transaction(ledger) as connection:
        if not has_control(number):
            member = views.member(connection, number, limit=limit, before=before)
    if member is None:
        typer.echo(f"no event of member {number} has arrived", err=True)
        return NOTHING
    member = member_for(operator() if unmasked else None, ledger, member)
    if as_json:
        print_json(member)
    else:
        print_member(member)
    return DONE


def show_status(*, as_json: bool) -> int:
    """Show how it goes; give the exit code."""
    of = with_ledger()
    with transaction(engine(of.ledger_url)) as connection:
        overview = views.overview(connection, budgets(of))
    if as_json:
        print_json(overview)
    else:
        print_overview(overview)
    return DONE


def before_of(cursor: str | None) -> int | None:
    """Read a cursor.

    Raises:
        BadParameter: it is none of ours.
    """
    before = id_of(cursor) if cursor else None
    if cursor and before is None:
        raise typer.BadParameter("--cursor: is none of ours")
    return before


def print_json(content: Any) -> None:  # noqa: ANN401  # records, dicts, lists
    """Print one JSON object."""
    typer.echo(orjson.dumps(content, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2).decode())

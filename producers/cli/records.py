"""`membersync member`, `instances`, `show` and `refusals`: what the ledger knows, one by one."""

from typing import Annotated

import typer

from producers.cli.command_errors import DONE, NOTHING
from producers.cli.command_settings import with_ledger
from producers.cli.filtered import filtered
from producers.cli.options import AsJson, Cursor, Limit, Unmasked
from producers.cli.render import print_instance, print_member, print_page
from producers.cli.terminal import operator, print_json
from producers.operations import reads
from producers.operations.filtering import LIMIT_DEFAULT, id_of
from shared.ledger import views
from shared.ledger.engine import engine, transaction
from shared.ledger.filters import Filter
from shared.ledger.refusals import RefusalPage


def member(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Member number.")],
    *,
    limit: Limit = 10,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show one member's timeline."""
    return show_member(number, limit, cursor, unmasked=unmasked, as_json=as_json)


@filtered
def instances(
    where: Filter,
    *,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> None:
    """List instances, newest first."""
    raise typer.Exit(list_instances(where, limit, cursor, unmasked=unmasked, as_json=as_json))


def show(
    instance_id: Annotated[str, typer.Argument(metavar="ID", help="Instance id.")],
    *,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show one instance with its activity."""
    return show_instance(instance_id, unmasked=unmasked, as_json=as_json)


def list_instances(where: Filter, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """List instances; give the exit code."""
    before = before_of(cursor)
    ledger = engine(with_ledger().ledger_url)
    with transaction(ledger) as tx:
        page = reads.instances(tx, where, limit=limit, before=before, unmasked_for=operator() if unmasked else None)
        untold = views.untold(tx, [int(one.instance_id) for one in page.items])
    if as_json:
        print_json(page)
    elif page.items:
        print_page(page, untold)
    else:
        typer.echo("no instance matches", err=True)
    return DONE if page.items else NOTHING


def show_instance(words: str, *, unmasked: bool, as_json: bool) -> int:
    """Show one instance; give the exit code."""
    number = id_of(words)
    ledger = engine(with_ledger().ledger_url)
    with transaction(ledger) as tx:
        shown_to = operator() if unmasked else None
        detail = None if number is None else reads.instance(tx, number, unmasked_for=shown_to)
        untold = set() if number is None else views.untold(tx, [number])
    if detail is None:
        typer.echo(f"there is no instance {words}, or it was pruned", err=True)
        return NOTHING
    if as_json:
        print_json(detail)
    else:
        print_instance(detail, untold)
    return DONE


def show_member(number: str, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """Show one member; give the exit code."""
    before = before_of(cursor)
    ledger = engine(with_ledger().ledger_url)
    with transaction(ledger) as tx:
        shown_to = operator() if unmasked else None
        member = reads.member(tx, number, limit=limit, before=before, unmasked_for=shown_to)
        untold = views.untold(tx, [int(one.instance_id) for one in member.instances] if member else [])
        refused = reads.refusals_of_member(tx, number)
    if member is None:
        return _show_refused(number, refused, as_json=as_json)
    if as_json:
        print_json(member)
    else:
        print_member(member, untold)
        if refused.items:
            typer.echo(f"events of this member were refused too: membersync refusals --member {number}")
    return DONE


def _show_refused(number: str, refused: RefusalPage, *, as_json: bool) -> int:
    """Say of a member that nothing else is known of what was refused; give the exit code."""
    if as_json and refused.items:
        print_json({"member_number": number, "instances": [], "next": None, "refusals": refused.items})
        return NOTHING
    typer.echo(reads.unknown_member(refused).replace("this member", f"member {number}"), err=True)
    if refused.items:
        typer.echo(f"  membersync refusals --member {number}", err=True)
    return NOTHING


def before_of(cursor: str | None) -> int | None:
    """Read a cursor.

    Raises:
        BadParameter: it is none of ours.
    """
    before = id_of(cursor) if cursor else None
    if cursor and before is None:
        raise typer.BadParameter("--cursor: is none of ours")
    return before

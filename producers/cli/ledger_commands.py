"""The commands that look into the ledger."""

import sys
from contextlib import suppress
from threading import Event
from typing import Any

import orjson
import typer

from producers.cli.command_errors import DONE, NOTHING, TroubleError
from producers.cli.ledger_location import operator, with_ledger
from producers.cli.overview import print_overview, print_verdict
from producers.cli.render import console, print_instance, print_member, print_page
from producers.operations.filtering import id_of
from producers.operations.refused_member import refusals_of_member, words_of
from producers.operations.standing import standing
from producers.operations.unmasked import instance_for, member_for, page_for
from producers.operations.verdict import Verdict, invalid, unseen, unseen_so_slow, unset
from shared.errors import LedgerError, LedgerSlowError
from shared.ledger import views
from shared.ledger.engine import engine, transaction
from shared.ledger.filters import Filter, has_control
from shared.ledger.refusals import RefusalPage
from shared.setting_types import SettingsInvalidError
from shared.settings import Settings

_WATCHED_EVERY_S = 2.0


def list_instances(where: Filter, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """List instances; give the exit code."""
    before = before_of(cursor)
    ledger = engine(with_ledger().ledger_url)
    with transaction(ledger) as tx:
        page = views.instances(tx, where, limit=limit, before=before)
        untold = views.untold(tx, [int(one.instance_id) for one in page.items])
    page = page_for(operator() if unmasked else None, ledger, page)
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
        detail = None if number is None else views.instance(tx, number)
        untold = set() if number is None else views.untold(tx, [number])
    if detail is None:
        typer.echo(f"there is no instance {words}, or it was pruned", err=True)
        return NOTHING
    detail = instance_for(operator() if unmasked else None, ledger, detail)
    if as_json:
        print_json(detail)
    else:
        print_instance(detail, untold)
    return DONE


def show_member(number: str, limit: int, cursor: str | None, *, unmasked: bool, as_json: bool) -> int:
    """Show one member; give the exit code."""
    before = before_of(cursor)
    ledger = engine(with_ledger().ledger_url)
    member = None
    with transaction(ledger) as tx:
        if not has_control(number):
            member = views.member(tx, number, limit=limit, before=before)
        untold = views.untold(tx, [int(one.instance_id) for one in member.instances] if member else [])
        refused = refusals_of_member(tx, number)
    if member is None:
        return _show_refused(number, refused, as_json=as_json)
    member = member_for(operator() if unmasked else None, ledger, member)
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
    typer.echo(words_of(refused).replace("this member", f"member {number}"), err=True)
    if refused.items:
        typer.echo(f"  membersync refusals --member {number}", err=True)
    return NOTHING


def show_status(*, watch: bool, as_json: bool) -> int:
    """Show how it goes, with *watch* again and again until Ctrl-C; give the exit code.

    Raises:
        LedgerError: nothing can be read; the verdict has said so.
        SettingsInvalidError: as before, because of the settings.
        TroubleError: as before, because no ledger is set.
    """
    try:
        of = with_ledger()
        if not watch:
            _print_status(of, as_json=as_json)
            return DONE
    except (LedgerError, SettingsInvalidError, TroubleError) as error:
        typer.echo(verdict_of(error).sentence, err=True)
        raise
    with suppress(KeyboardInterrupt):
        while True:
            if not as_json:
                console().clear()
            try:
                _print_status(of, as_json=as_json)
            except LedgerError as error:
                print_verdict(verdict_of(error))
            sys.stdout.flush()
            Event().wait(_WATCHED_EVERY_S)
    return DONE


def verdict_of(error: Exception) -> Verdict:
    """Give the verdict where *error* keeps everybody from saying more."""
    match error:
        case TroubleError():
            return unset()
        case SettingsInvalidError():
            return invalid()
        case LedgerSlowError():
            return unseen_so_slow()
        case _:
            return unseen()


def _print_status(of: Settings, *, as_json: bool) -> None:
    with transaction(engine(of.ledger_url)) as tx:
        found = standing(tx, of)
    if as_json:
        print_json(found)
    else:
        print_verdict(found.verdict)
        print_overview(found)


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

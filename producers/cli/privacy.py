"""`membersync person` and `forget`: everything that is kept of one member, and erasing it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import Unmasked, confirmed, console, instant, operator, plain, print_rows
from producers.operations import privacy
from producers.operations.privacy import NotNowError, Person
from shared.ledger.engine import Ledger, engine

_PATIENCE_S = 90.0
"""Longer than a lease: whatever is out ends by then, as a rule."""
_SEARCHED_S = 5.0
"""So long the words of others are searched before it is asked whether to erase."""
_Number = Annotated[str, typer.Argument(metavar="NUMBER", help="Member number.")]


def person(
    number: _Number,
    *,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write it to this file as JSON, for you alone.")
    ] = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> int:
    """Show or export everything that is kept of one member."""
    with _searching() as progress:
        shown_to = operator() if unmasked else None
        found = privacy.person(engine(with_ledger().ledger_url), number, unmasked_for=shown_to, progress=progress)
    if found is None:
        typer.echo(f"nothing is kept of a member {number}", err=True)
        return NOTHING
    if export is not None:
        _write(export, found)
    if as_json:
        print_json(found)
    else:
        _print(found, export)
    return DONE


def forget(
    number: _Number,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept, without the person. Needed.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Nobody is asked but at a terminal.")] = False,
    as_json: AsJson = False,
) -> int:
    """Erase everything that is kept of one member; at a terminal, show what that is and ask first."""
    of = with_ledger()
    if not reason.strip():
        raise typer.BadParameter("--reason: say why")
    ledger = engine(of.ledger_url)
    if sys.stdin.isatty() and not (yes or as_json) and not _is_confirmed(ledger, number):
        return NOTHING
    try:
        with _searching() as progress:
            found = privacy.forget(ledger, operator(), number, reason, of, wait_s=_PATIENCE_S, progress=progress)
    except NotNowError as error:
        raise TroubleError(f"member {number} is not forgotten: {error}", code=NOTHING) from None
    if found is None:
        typer.echo(f"nothing is kept of a member {number}", err=True)
        return NOTHING
    if as_json:
        print_json(found)
        return DONE
    out = console()
    unsent = f", {found.unsent} of which were not sent yet" if found.unsent else ""
    out.print(plain(f"member {number} is forgotten, with {found.deleted.get('instance', 0)} events{unsent}"))
    for what, counts in (("deleted", found.deleted), ("cleared of it", found.cleared)):
        if counts:
            said = ", ".join(f"{count} of {name}" for name, count in counts.items())
            out.print(plain(f"rows {what}: {said}"), soft_wrap=True)
    return DONE


def _is_confirmed(ledger: Ledger, number: str) -> bool:
    """Show what would be erased, and ask; where nothing is kept there is nothing to ask."""
    with _searching() as progress:
        found = privacy.person(ledger, number, progress=progress, within_s=_SEARCHED_S)
    if found is None:
        return True
    _print(found, None)
    return confirmed(f"Erase all of member {number} for good? It cannot be undone")


def _write(path: Path, found: Person) -> None:
    """Write *found* to a file that nobody else may read."""
    content = orjson.dumps(found, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2)
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise TroubleError(f"--export: {path} cannot be written ({error.strerror})") from None


def _print(found: Person, export: Path | None) -> None:
    out = console()
    people = "shown as they are" if found.unmasked else "masked; --unmasked shows people as they are"
    out.print(plain(f"member {found.member_number} at {instant(found.at)}: {people}"), soft_wrap=True)
    print_rows(found.rows.items(), {"table": lambda row: row[0], "rows": lambda row: row[1]})
    for one in found.elsewhere:
        key = ", ".join(f"{name} {value}" for name, value in one.key.items())
        out.print(plain(f"named in {one.table}, {key}: {', '.join(one.columns)}"), soft_wrap=True)
    if export is None:
        out.print(plain("--export FILE or --json has all of it", "dim"))
    else:
        out.print(plain(f"all of it is in {export}"), soft_wrap=True)


@contextmanager
def _searching() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how far the search of the ledger is."""
    err = Console(stderr=True, highlight=False)
    columns = (TextColumn("searching the ledger"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)

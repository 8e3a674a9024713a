"""The options that commands share: of output and lists, and one for each condition of the filter."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import GenericAlias
from typing import Annotated

import typer

from producers.cli.option_groups import Group
from producers.operations.filtering import INSTANT_SAID, LIMIT_DEFAULT, LIMIT_MAX, filter_of, id_of
from shared.ledger.filters import CONDITIONS, Condition, Filter
from shared.pipeline import spoken

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Unmasked = Annotated[bool, typer.Option("--unmasked", help="Show people as they are.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT_MAX, help="At most so many.")]
Cursor = Annotated[str | None, typer.Option("--cursor", metavar="CURSOR", help="`next` of the page before.")]


@dataclass(frozen=True, slots=True)
class Listing:
    """How a list of instances is shown."""

    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None
    unmasked: Unmasked = False
    as_json: AsJson = False


def before_of(cursor: str | None) -> int | None:
    """Read a cursor.

    Raises:
        BadParameter: it is none of ours.
    """
    before = id_of(cursor) if cursor else None
    if cursor and before is None:
        raise typer.BadParameter("--cursor: is none of ours")
    return before


def where_of(**words: str | Sequence[str] | None) -> Filter:
    """Return the filter that was typed, by the names of its conditions.

    Raises:
        BadParameter: there is no such value.
    """
    try:
        return filter_of(datetime.now(UTC), **words)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _option(row: Condition) -> inspect.Parameter:
    is_instant, known = issubclass(row.of, datetime), row.known
    of = str if is_instant else row.of
    words = (word if spoken(word).lower() == word.lower() else f"{word} ({spoken(word)})" for word in row.choices)
    choice = f": {', '.join(words)}" if row.choices else ""
    values = f": {INSTANT_SAID}" if is_instant else f"{choice}{'; repeat for several' if row.several else ''}"
    option = typer.Option(
        [] if row.several else None,
        f"--{row.name}",
        metavar=row.metavar or ("WHEN" if is_instant else row.name.upper()),
        help=f"{row.help[0].upper()}{row.help[1:]}{values}.",
        case_sensitive=False,
        autocompletion=known and (lambda incomplete: [word for word in known() if word.startswith(incomplete)]),
    )
    annotation = GenericAlias(list, (of,)) if row.several else of | None
    return inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=annotation)


FILTER_OPTIONS = tuple(map(_option, CONDITIONS))
Where = Annotated[Filter, Group(FILTER_OPTIONS, where_of)]
"""A filter, with an option for each of its conditions."""

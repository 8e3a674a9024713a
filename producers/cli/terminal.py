"""The terminal: who types at it; the options that commands share; text and tables on it.

Options are of output and lists, and one for each condition of the filter.

Whatever comes from outside is shown as text, never as markup or as control characters of the terminal.
"""

import getpass
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import GenericAlias
from typing import Annotated, TypeAlias, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from producers.cli.command import AsJson, Group
from producers.operations.job_control import Operator
from producers.operations.reads import INSTANT_SAID, LIMIT_DEFAULT, LIMIT_MAX, filter_of, id_of
from shared.ledger.filters import CONDITIONS, Condition, Filter
from shared.pipeline import spoken

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


@dataclass(frozen=True, slots=True)
class Paging:
    """How a list of anything else is shown."""

    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None
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


Row = TypeVar("Row")
Columns: TypeAlias = Mapping[str, Callable[[Row], object]]
"""What stands in a table, by the heading of the column; what is no text yet is shown as it reads."""
_COLOURS = {
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "done": "green",
    "stopped": "bold red",
    "completed": "green",
    "up": "green",
    "Success": "green",
    "running": "cyan",
    "waiting": "yellow",
    "held": "magenta",
    "paused": "yellow",
    "half_open": "yellow",
    "rejected": "red",
    "dead": "bold red",
    "open": "bold red",
    "down": "bold red",
    "being probed": "yellow",
    "OIC Failure": "red",
    "CT Failure": "red",
    "Data Error": "red",
}
_WIDTH_OF_A_PIPE = 200
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_GAP = 3
_FOLDED = 24
"""Running text is still read well at this width."""


def operator() -> Operator:
    """Return who types: whoever is logged in on this machine; whoever reaches the ledger may do everything."""
    try:
        return Operator(getpass.getuser(), "cli")
    except (KeyError, OSError):
        return Operator("unknown", "cli")


def confirmed(question: str) -> bool:
    """Ask on the terminal, and return the answer; where nobody answers it is no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo("nothing is done; --yes does it without asking", err=True)
        return False


def console() -> Console:
    """Return the console on standard output: colours on a terminal only, long lines in a pipe."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH_OF_A_PIPE)


def plain(value: object, style: str = "") -> Text:
    """Return *value* as text that nothing in it can turn into anything else."""
    words = "" if value is None else str(value)
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words), style)


def coloured(word: str | None) -> Text:
    """Return a state or status as people read it, in its colour."""
    return plain(spoken(word), _COLOURS.get(word or "", ""))


def age(seconds: float) -> str:
    """Return a duration as people say it: `42 ms`, `12 s`, `5 min`, `3 h`, `2 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit_s, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


def instant(at: datetime | None) -> str:
    """Return an instant in UTC; nothing for none."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def print_rows(
    rows: Iterable[Row], columns: Columns[Row], *, texts: Collection[str] = (), expendable: Sequence[str] = ()
) -> None:
    """Print *rows* as a table that fits: a column without content is left out.

    Shape: *columns* say what stands in each, by its heading; *texts* are those of running text, which may be folded;
    *expendable* those to do without, first the first.
    """
    out = console()
    contents = [{name: shown(row) for name, shown in columns.items()} for row in rows]
    cells = [{name: one if isinstance(one, Text) else plain(one) for name, one in row.items()} for row in contents]
    names = [name for at, name in enumerate(columns) if at == 0 or any(row[name].plain for row in cells)]
    missing = []
    for name in expendable:
        if _width(cells, names, texts) <= out.width:
            break
        if name in names:
            names.remove(name)
            missing.append(name)
    is_fitting = _width(cells, names, texts) <= out.width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=is_fitting and name not in texts)
    for row in cells:
        table.add_row(*(row[name] for name in names))
    out.print(table)
    if missing:
        out.print(Text(f"no room for {', '.join(missing)}; --json has all", "dim"))


def _width(rows: Sequence[Mapping[str, Text]], columns: Sequence[str], texts: Collection[str]) -> int:
    widths = (max(len(name), *(row[name].cell_len for row in rows)) for name in columns)
    fitted = (min(width, _FOLDED) if name in texts else width for name, width in zip(columns, widths, strict=True))
    return sum(fitted) + _GAP * len(columns)

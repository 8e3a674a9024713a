"""Tables that fit: a column without content is left out, and on a narrow terminal so is what can be done without."""

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 3
_FOLDED = 24
"""Running text is still read well at this width."""


def print_rows(
    out: Console, rows: Sequence[Mapping[str, Text]], *, texts: Collection[str] = (), expendable: Sequence[str] = ()
) -> None:
    """Print *rows*, each with the same columns.

    Shape: *texts* are columns of running text, which may be folded; *expendable* those to do without, first the first.
    """
    columns = [name for at, name in enumerate(rows[0]) if at == 0 or any(row[name].plain for row in rows)]
    missing = []
    for name in expendable:
        if _width(rows, columns, texts) <= out.width:
            break
        if name in columns:
            columns.remove(name)
            missing.append(name)
    is_fitting = _width(rows, columns, texts) <= out.width
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=is_fitting and name not in texts)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    out.print(table)
    if missing:
        out.print(Text(f"no room for {', '.join(missing)}; --json has all", "dim"))


def _width(rows: Sequence[Mapping[str, Text]], columns: Sequence[str], texts: Collection[str]) -> int:
    widths = (max(len(name), *(row[name].cell_len for row in rows)) for name in columns)
    fitted = (min(width, _FOLDED) if name in texts else width for name, width in zip(columns, widths, strict=True))
    return sum(fitted) + _GAP * len(columns)

"""The filter as people and URLs write it: words and instants in text, into what the ledger understands."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.ledger.filters import CONDITIONS, Filter
from shared.ledger.refusals import RefusalFilter

LIMIT_DEFAULT = 50
LIMIT_MAX = 1_000
INSTANT_SAID = "2026-11-23T08:51:00Z (RFC 3339), a date, or an age: 15m, 2h, 7d"
"""How an instant may be said, as `instant_of` reads it."""

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BLANK_FOR_PLUS = re.compile(r" (?=\d\d:\d\d$)", re.ASCII)
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_ID = re.compile(r"\d{1,18}", re.ASCII)


def filter_of(now: datetime, **words: str | Sequence[str] | None) -> Filter:
    """Return the filter that is said in *words*, by the names of its conditions.

    Shape: of an enumeration the member or its word, an instant as `instant_of` reads it; nothing: any.

    Raises:
        ValueError: with the name of the field and one sentence.
    """
    given: dict[str, Any] = {}
    for row in CONDITIONS:
        said = words.pop(row.name, None)
        if said and isinstance(said, str):
            given[row.attribute] = (
                instant_of(row.name, said, now) if issubclass(row.of, datetime) else row.of(said.strip())
            )
        elif said:
            given[row.attribute] = tuple(dict.fromkeys(map(row.of, said)))
    if words:
        raise TypeError(f"no conditions: {', '.join(words)}")
    return Filter(**given)


def refusals_of(  # noqa: PLR0913  # one word each
    *,
    now: datetime,
    sender: Sequence[str] = (),
    field: Sequence[str] = (),
    member: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
) -> RefusalFilter:
    """Build the filter of refusals.

    Raises:
        ValueError: with the name of the field and one sentence.
    """
    bounds = instant_of("since", since, now), instant_of("until", until, now)
    return RefusalFilter(tuple(sender), tuple(field), tuple(member), *bounds)


def id_of(words: str) -> int | None:
    """Read an instance id or cursor; None: there can be no such id."""
    return int(words) if _ID.fullmatch(words) else None


def instant_of(name: str, words: str | None, now: datetime) -> datetime | None:
    """Read RFC 3339, a date, both UTC unless they say otherwise, or how long ago: `90s`, `15m`, `2h`, `7d`, `1w`.

    Nothing was before the year 1900 or will be after 2200: such an instant becomes the nearest of those.

    Raises:
        ValueError: with *name* and one sentence.
    """
    if not words:
        return None
    try:
        if ago := _AGO.fullmatch(words.strip()):
            return now - min(timedelta(seconds=int(ago[1]) * _UNITS_S[ago[2]]), now - _EARLIEST)
        instant = datetime.fromisoformat(_BLANK_FOR_PLUS.sub("+", words.strip()))  # a URL's + that became a blank
    except ValueError:
        raise ValueError(f"{name}: must be an instant like 2026-11-23T08:51:00Z, a date, or an age like 2h") from None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return min(max(aware, _EARLIEST), _LATEST).astimezone(UTC)

"""How values read on a page: instants, ages, numbers.  Pure."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from shared.pipeline import is_a, spoken

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_SECOND_MS = 1000
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def instant(value: datetime | None) -> str:
    """Give an instant in UTC, to the second."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(value: datetime | None) -> str:
    """Give the time of day of an instant in UTC."""
    return "" if value is None else value.astimezone(UTC).strftime("%H:%M:%S")


def machine(value: datetime | None) -> str:
    """Give an instant for the `datetime` attribute."""
    return "" if value is None else value.astimezone(UTC).isoformat()


def span(seconds: float | None) -> str:
    """Give a duration in its two largest units."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def seconds(value: float | None) -> str:
    """Give a duration, short ones to the millisecond."""
    return "" if value is None else took(value * _SECOND_MS)


def since(value: datetime | None, now: datetime) -> str:
    """Say how long ago."""
    return "" if value is None else span((now - value).total_seconds())


def took(milliseconds: float | None) -> str:
    """Give the duration of a call or an attempt."""
    if milliseconds is None:
        return ""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / _SECOND_MS
    return f"{seconds:.1f} s" if seconds < _MINUTE_S else span(seconds)


def number(value: float | None) -> str:
    """Give a number with its thousands apart."""
    return "" if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(part: float, whole: float) -> str:
    """Give *part* of *whole*."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def pretty(value: Any) -> str:  # noqa: ANN401  # JSON
    """Give JSON with a line for each member."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str)


def visible(value: Any) -> Any:  # noqa: ANN401  # whatever a template shows
    """Give a text without what is not seen but changes how the rest is read: control characters, directions."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value) if type(value) is str else value


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (instant, clock, machine, span, seconds, since, took, number, percent, spoken, is_a, pretty)
}

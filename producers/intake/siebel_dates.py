"""The dates that Siebel writes: `MM/DD/YYYY [HH:MM[:SS]] [AM|PM]` or ISO 8601, mostly without an offset."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from shared.errors import InvalidEventError

_SIEBEL_DATE = re.compile(
    r"(?P<date>\d\d?/\d\d?/\d{4})( (?P<time>\d\d?:\d\d:\d\d|\d\d?:\d\d))?( ?(?P<half>[AP]M))?", re.ASCII
)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


def instants(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Give the earliest and the latest instant that a Siebel date means; one without an offset is of *zone*.

    They differ where the zone's clock was changed: an hour that came twice, or one that never was.
    """
    text = text.strip().upper()
    try:
        if found := _SIEBEL_DATE.fullmatch(text):
            time = found["time"] or "00:00"
            clock = ("%I" if found["half"] else "%H") + (":%M:%S" if time.count(":") == len("::") else ":%M")
            stamp = f"{found['date']} {time} {found['half'] or ''}".strip()
            instant = datetime.strptime(stamp, f"%m/%d/%Y {clock}" + (" %p" if found["half"] else ""))  # noqa: DTZ007
        elif _ISO_DATE.fullmatch(text):
            instant = datetime.fromisoformat(text)
        else:
            raise InvalidEventError("occurred_at", "must be MM/DD/YYYY HH:MM:SS or ISO 8601")
        local = instant if instant.tzinfo else instant.replace(tzinfo=zone)
        first, second = sorted(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    except (ValueError, OverflowError):
        raise InvalidEventError("occurred_at", "is a date or time that does not exist") from None
    return first, second

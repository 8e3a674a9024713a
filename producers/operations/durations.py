"""Durations as people guess them."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_FEW_S = 10


def roughly(seconds: float) -> str:
    """Return a duration as one guesses it: upwards to tens of seconds, minutes, hours, days."""
    for unit_s, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * unit_s:
            return f"{-(-seconds // unit_s):.0f} {name}"
    return f"{max(1, -(-seconds // _FEW_S)) * _FEW_S:.0f} s"

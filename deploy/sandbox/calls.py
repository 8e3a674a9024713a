"""The record of one simulator's calls: how many, the busiest minute, how many of one member at once, the last ones.

Of what they asked it to change there is a journal, where the simulator is told to keep one.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from deploy.sandbox.wire import Request

_WINDOW_S = 60.0
_REMEMBERED = 20_000
_OVERLAPS_NAMED = 1_000


@dataclass(slots=True)
class Call:
    """One call at work; ``status`` stays None when it gets no answer."""

    method: str
    path: str
    query: str
    keys: tuple[str, ...]
    at: float
    began: float
    status: int | None = None


@dataclass(slots=True)
class Entry:
    """What a call asked the system to change, and how it answered, whether or not anybody heard it.

    Units: epoch seconds; *received_at* is when the call came, *at* when it was applied, or refused.
    Shape: *late*: nobody waited for the answer any more.
    """

    at: float
    received_at: float
    method: str
    path: str
    keys: tuple[str, ...]
    document: object
    status: int
    late: bool


class CallLog:
    """The record of one simulator's calls.

    A call is in flight from the moment it has arrived until it is answered or its client has gone.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all calls but those in flight, which end as if they had not been."""
        self._last: deque[tuple[Call, float]] = deque(maxlen=_REMEMBERED)
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._window: deque[float] = deque()
        self._busiest = 0
        self._in_flight: dict[str, int] = {}
        self._at_once = 0
        self._max_at_once = 0
        self._max_per_key = 0
        self._overlapping: dict[str, list[float]] = {}

    def begin(self, request: Request, keys: tuple[str, ...]) -> Call:
        """Count a call that has arrived, for the members of *keys*."""
        now = time.monotonic()
        window = self._window
        window.append(now)
        while window[0] <= now - _WINDOW_S:
            window.popleft()
        self._busiest = max(self._busiest, len(window))
        self._at_once += 1
        self._max_at_once = max(self._max_at_once, self._at_once)
        for key in keys:
            at_once = self._in_flight.get(key, 0) + 1
            self._in_flight[key] = at_once
            self._max_per_key = max(self._max_per_key, at_once)
            if at_once > 1 and len(self._overlapping) < _OVERLAPS_NAMED:
                self._overlapping.setdefault(key, []).append(time.time())
        return Call(request.method, request.path, request.query_string, keys, time.time(), now)

    def end(self, call: Call, *, record: bool) -> None:
        """Count its end; keep it among the last calls when *record*."""
        self._counts[call.method, call.status] += 1
        self._at_once = max(0, self._at_once - 1)
        for key in call.keys:
            left = self._in_flight.get(key, 0) - 1
            if left > 0:
                self._in_flight[key] = left
            else:
                self._in_flight.pop(key, None)
        if record:
            self._last.append((call, time.monotonic() - call.began))

    def summary(self) -> dict[str, object]:
        """Return the counts as JSON."""
        by_method: dict[str, dict[str, int]] = {}
        totals: Counter[str] = Counter()
        for (method, status), calls in self._counts.items():
            by_method.setdefault(method, {})["none" if status is None else str(status)] = calls
            totals[method] += calls
        now = time.monotonic()
        return {
            "calls": by_method,
            "calls_total": totals.total(),
            "posts": totals["POST"],
            "puts": totals["PUT"],
            "gets": totals["GET"],
            "deletes": totals["DELETE"],
            "in_flight": self._at_once,
            "max_in_flight": self._max_at_once,
            "max_in_flight_per_member": self._max_per_key,
            "overlapping_keys": sorted(self._overlapping),
            "overlaps": self._overlapping,
            "calls_last_minute": sum(at > now - _WINDOW_S for at in self._window),
            "max_calls_per_minute": self._busiest,
        }

    def last(self, limit: int, key: str | None) -> list[dict[str, object]]:
        """Return the last calls as JSON, newest last; only those of the member *key* when it is given."""
        chosen = [pair for pair in self._last if key is None or key in pair[0].keys]
        return [
            {
                "at": call.at,
                "method": call.method,
                "path": _path_without_api_key(call),
                "key": call.keys[0] if call.keys else None,
                "keys": call.keys,
                "status": call.status,
                "ms": round(took_s * 1000, 3),
            }
            for call, took_s in chosen[-limit:]
        ]


def _path_without_api_key(call: Call) -> str:
    query = parse_qsl(call.query, keep_blank_values=True)
    kept = "&".join(f"{quote(name)}={quote(value)}" for name, value in query if name != "api_key")
    return f"{call.path}?{kept}" if kept else call.path

"""The breaker of a connection: when we stop trying, when we look again, when we go on.  Pure.

1. Closed: calls go out.  `failures` connection failures in a row, of at least `members` different members (fewer if
   fewer are due and the connection's own test fails too), open it.  Any answer to a member that shows the system up - a
   success, a Data Error - starts the count again; so does an operator's test that passed.
2. Open: nothing goes out.  After `probe_first_s`, then twice as long each time up to `probe_cap_s`, one instance does.
3. Half open: that one is out.  Its failure opens again, the first success of anybody closes.

A connection failure is an error whose class says so (`counts_for_breaker`).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

_LARGEST_EXPONENT = 30


class Position(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Rules:
    """When to open and how often to probe.  Units: seconds."""

    failures: int
    members: int
    probe_first_s: float
    probe_cap_s: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """What all processes know of a connection's health."""

    position: Position = Position.CLOSED
    failures: int = 0
    failing_members: frozenset[str] = frozenset()
    failing_since: datetime | None = None
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    probes: int = 0
    probe_instance_id: int | None = None
    healed_at: datetime | None = None
    last_error: str | None = None

    def admits(self, instance_id: int) -> bool:
        """Say whether a call for this instance may go out."""
        is_probe = self.position is Position.HALF_OPEN and self.probe_instance_id == instance_id
        return self.position is Position.CLOSED or is_probe


@dataclass(frozen=True, slots=True)
class Seen:
    """What a batch showed of the connection.

    Shape: *is_up* somebody got an answer that shows it up; *failed* the members that met a connection failure, by
    instance id; *due* how many members there are to try, at most as many as matter; *untried* who came back without a
    call, by instance id.
    """

    is_up: bool
    failed: dict[int, str]
    error: str = ""
    due: int = 1
    untried: frozenset[int] = frozenset()


def after(breaker: Breaker, seen: Seen, rules: Rules, now: datetime) -> Breaker:
    """Say where the breaker stands after a batch."""
    if seen.is_up:
        healed_at = breaker.healed_at if breaker.position is Position.CLOSED else now
        return Breaker(probe_instance_id=breaker.probe_instance_id, healed_at=healed_at)
    if breaker.position is Position.HALF_OPEN and breaker.probe_instance_id in seen.untried:
        return replace(breaker, position=Position.OPEN, probe_at=now + probe_interval(0, rules))
    if not seen.failed:
        return breaker
    if breaker.position is Position.CLOSED:
        return _failed(breaker, seen, rules, now)
    if breaker.position is Position.HALF_OPEN and breaker.probe_instance_id in seen.failed:
        return replace(
            breaker, position=Position.OPEN, probe_at=now + probe_interval(breaker.probes, rules), last_error=seen.error
        )
    return breaker


def _failed(breaker: Breaker, seen: Seen, rules: Rules, now: datetime) -> Breaker:
    failing = replace(
        breaker,
        failures=breaker.failures + len(seen.failed),
        failing_members=breaker.failing_members | set(seen.failed.values()),
        failing_since=breaker.failing_since or now,
        last_error=seen.error,
    )
    enough_members = len(failing.failing_members) >= min(rules.members, max(seen.due, 1))
    if failing.failures < rules.failures or not enough_members:
        return failing
    return replace(
        failing,
        position=Position.OPEN,
        opened_at=now,
        probe_at=now + probe_interval(0, rules),
        probes=0,
        healed_at=None,
    )


def probe_interval(probes: int, rules: Rules) -> timedelta:
    """Give the time to the next probe when *probes* have failed."""
    return timedelta(seconds=min(rules.probe_cap_s, rules.probe_first_s * 2.0 ** min(probes, _LARGEST_EXPONENT)))


def ramp(healed_at: datetime | None, now: datetime, first: float = 0.1, double_s: float = 5.0) -> float:
    """Say how much of the usual may go out after healing: a tenth, doubling each 5 s, up to all (1.0)."""
    if healed_at is None:
        return 1.0
    doublings = max(0, int((now - healed_at).total_seconds() / double_s))
    return min(1.0, first * 2.0 ** min(doublings, _LARGEST_EXPONENT))

"""The breaker of a connection: when we stop trying, when we look again, when we go on.  Pure.

1. Closed: calls go out.  `failures` connection failures in a row, of at least `members` different members (fewer if
   fewer are due), raise the question: the system, or these members?  Any answer to a member that shows the system up -
   a success, a Data Error - starts the count again; so does an operator's test that passed.
2. The question is put to the connection's own test.  It fails: open.  It passes: it is asked on (`verify_at`), of a
   member that is known to be good, whose last acknowledged write is repeated.  That fails too: open.  It is answered:
   the failing ones are suspects, wait by their own policy, and nobody is held.
3. Open: nothing goes out.  After `probe_first_s`, then twice as long each time up to `probe_cap_s`, one instance does.
4. Half open: that one is out.  Its failure opens again, the first success of anybody closes.

A connection failure is an error whose class says so (`counts_for_breaker`).  A stated Retry-After (`wait_until`) is a
floor under all of it.

What a batch's answers show of the connection: an answer to a member shows it up.  A failure counts against it if its
class says so.  What needed no call, what could not be paid for, a bug of ours and a conflict about one record say
nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shared.errors import AddressPendingError, BudgetSpentError, DataError, LeaseLostError
from shared.instances import Answer, Done, Errand, Failed, Result
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import kept
from shared.masking import mask_text
from shared.personal import NOBODY, Company

_DRAIN_STEP_S, _MINUTE_S = 5, 60
_LARGEST_EXPONENT = 30
VOUCHED_FOR = timedelta(seconds=10)
"""Once the evidence has spoken for the system, the question is not raised again for so long."""
RELAPSE = timedelta(minutes=1)
"""Who asks us to wait again so soon after others were served may mean some members: they wait, it is not opened."""
PATIENCE = timedelta(seconds=5)
"""Where no good member is known, those who are still to be tried may prove the system up for so long."""
UNPROVEN_CAP_S = 5.0
"""Longest time between two probes of a connection that passes its own test: whoever comes new may well get through."""


class Position(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Evidence(StrEnum):
    """What is known of who is at fault when a batch failed."""

    SYSTEM = "system"
    """It cannot be the members: nothing was sent, we were all asked to wait, the connection's own test fails too."""
    UNASKED = "unasked"
    """It may be the members: the connection's own test has to be asked."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When to open and how often to probe.  Units: seconds."""

    failures: int
    members: int
    probe_first_s: float
    probe_cap_s: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """What all processes know of a connection's health.

    Shape: *verify_at* when a known good member is to decide, None: there is no question; *vouched_at* when the evidence
    last spoke for the system; *wait_until* the end of a stated Retry-After; *unproven* it was opened though it passes
    its own test, for want of a good member; *probe_instance_id* who probes, or decides.
    """

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
    verify_at: datetime | None = None
    vouched_at: datetime | None = None
    wait_until: datetime | None = None
    unproven: bool = False

    def admits(self, instance_id: int) -> bool:
        """Return whether a call for this instance may go out."""
        is_probe = self.position is Position.HALF_OPEN and self.probe_instance_id == instance_id
        return self.position is Position.CLOSED or is_probe

    @property
    def seeks(self) -> int | None:
        """Who is out to see whether the connection serves, None: nobody."""
        is_asked = self.position is Position.HALF_OPEN or self.verify_at is not None
        return self.probe_instance_id if is_asked else None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a batch showed of the connection.

    Shape: *is_up* somebody got an answer that shows it up; *failed* the members that met a connection failure, by
    instance id; *due* how many members there are to try, at most as many as matter; *untried* whose call could not be
    paid for, *mute* whose attempt says nothing of the system, by instance id; *ends_wait* a person saw that it serves,
    whatever it had asked for.  Units: *wait_s* seconds for which we were asked to wait.
    """

    is_up: bool
    failed: dict[int, str]
    error: str = ""
    due: int = 1
    untried: frozenset[int] = frozenset()
    mute: frozenset[int] = frozenset()
    evidence: Evidence = Evidence.SYSTEM
    wait_s: float = 0.0
    ends_wait: bool = False


def after(breaker: Breaker, seen: Seen, rules: Rules, now: datetime) -> Breaker:
    """Return where the breaker stands after a batch."""
    if seen.is_up:
        return _well(replace(breaker, wait_until=None) if seen.ends_wait else breaker, now)
    if breaker.seeks is not None and breaker.seeks in seen.untried | seen.mute:
        at = now if breaker.seeks in seen.mute else now + probe_interval(0, rules)
        return _sought_in_vain(breaker, at)
    if not seen.failed:
        return breaker
    if seen.wait_s:
        breaker = replace(breaker, wait_until=_later(breaker.wait_until, now + timedelta(seconds=seen.wait_s)))
    if breaker.position is Position.CLOSED:
        return _failed(breaker, seen, rules, now)
    if breaker.position is Position.HALF_OPEN and breaker.probe_instance_id in seen.failed:
        at = now + probe_interval(breaker.probes, rules, unproven=breaker.unproven)
        return replace(breaker, position=Position.OPEN, probe_at=_later(breaker.wait_until, at), last_error=seen.error)
    return breaker


def is_in_question(breaker: Breaker, rules: Rules, now: datetime, *, due: int) -> bool:
    """Return whether so many failed that the connection's own test is to be asked; *due* as in `Seen`."""
    vouched = breaker.vouched_at is not None and now - breaker.vouched_at < VOUCHED_FOR
    waits = breaker.wait_until is not None and breaker.wait_until > now
    is_open_question = breaker.position is Position.CLOSED and breaker.verify_at is None and not vouched and not waits
    enough_members = len(breaker.failing_members) >= min(rules.members, max(due, 1))
    return is_open_question and breaker.failures >= rules.failures and enough_members


def after_test(breaker: Breaker, rules: Rules, now: datetime, *, passed: bool) -> Breaker:
    """Return where a breaker that is in question stands after the connection's own test."""
    return replace(breaker, verify_at=now) if passed else _opened(breaker, rules, now)


def unverified(breaker: Breaker, rules: Rules, now: datetime, *, others: bool) -> Breaker:
    """Return where the breaker stands when there is no known good member to decide.

    *others*: members that may still prove it up are on their way.  Then it is theirs to decide, for a while.
    """
    if others and breaker.verify_at is not None and now - breaker.verify_at < PATIENCE:
        return breaker
    if len(breaker.failing_members) < rules.members:
        return _vouched(breaker, now)
    return replace(_opened(breaker, rules, now), unproven=True)


def _well(breaker: Breaker, now: datetime) -> Breaker:
    healed_at = breaker.healed_at if breaker.position is Position.CLOSED else now
    return replace(_vouched(breaker, now), healed_at=healed_at)


def _vouched(breaker: Breaker, now: datetime) -> Breaker:
    return Breaker(
        probe_instance_id=breaker.probe_instance_id,
        healed_at=breaker.healed_at,
        vouched_at=breaker.vouched_at if breaker.verify_at is None else now,
        wait_until=breaker.wait_until if breaker.wait_until is not None and breaker.wait_until > now else None,
    )


def _sought_in_vain(breaker: Breaker, at: datetime) -> Breaker:
    if breaker.position is Position.CLOSED:
        return replace(breaker, verify_at=at)
    return replace(breaker, position=Position.OPEN, probe_at=_later(breaker.wait_until, at))


def _failed(breaker: Breaker, seen: Seen, rules: Rules, now: datetime) -> Breaker:
    failing = replace(
        breaker,
        failures=breaker.failures + len(seen.failed),
        failing_members=breaker.failing_members | set(seen.failed.values()),
        failing_since=breaker.failing_since or now,
        last_error=seen.error,
    )
    if breaker.seeks is not None and breaker.seeks in seen.failed:
        return _opened(failing, rules, now)
    enough_members = len(failing.failing_members) >= min(rules.members, max(seen.due, 1))
    relapses = breaker.healed_at is not None and now - breaker.healed_at < RELAPSE and bool(seen.wait_s)
    if seen.evidence is Evidence.UNASKED or relapses or failing.failures < rules.failures or not enough_members:
        return failing
    return _opened(failing, rules, now)


def _opened(breaker: Breaker, rules: Rules, now: datetime) -> Breaker:
    return replace(
        breaker,
        position=Position.OPEN,
        opened_at=now,
        probe_at=_later(breaker.wait_until, now + probe_interval(0, rules)),
        probes=0,
        healed_at=None,
        verify_at=None,
        vouched_at=None,
    )


def _later(floor: datetime | None, at: datetime) -> datetime:
    return at if floor is None else max(floor, at)


def probe_interval(probes: int, rules: Rules, *, unproven: bool = False) -> timedelta:
    """Return the time to the next probe when *probes* have failed."""
    cap_s = min(rules.probe_cap_s, UNPROVEN_CAP_S) if unproven else rules.probe_cap_s
    return timedelta(seconds=min(cap_s, rules.probe_first_s * 2.0 ** min(probes, _LARGEST_EXPONENT)))


def ramp(healed_at: datetime | None, now: datetime, first: float = 0.1, double_s: float = 5.0) -> float:
    """Return how much of the usual may go out after healing: a tenth, doubling each 5 s, up to all (1.0)."""
    if healed_at is None:
        return 1.0
    doublings = max(0, int((now - healed_at).total_seconds() / double_s))
    return min(1.0, first * 2.0 ** min(doublings, _LARGEST_EXPONENT))


def drain_s(held: int, per_minute: int) -> float:
    """Return the seconds in which *held* instances go out after an outage, by the ramp and within the budget."""
    begin = datetime.fromtimestamp(0, UTC)
    left, passed_s = float(held), 0.0
    while (part := ramp(begin, begin + timedelta(seconds=passed_s))) < 1:
        step = part * per_minute * _DRAIN_STEP_S / _MINUTE_S
        if left <= step:
            return passed_s + _DRAIN_STEP_S * left / step
        left -= step
        passed_s += _DRAIN_STEP_S
    return passed_s + left * _MINUTE_S / per_minute


def seen(answers: Sequence[Answer], policy: RetryPolicy, *, was_open: bool, company: Company = NOBODY) -> Seen:
    """Return what *answers* show; *was_open*: whoever was due could go when they set out; *company* as in `Rules`."""
    if all(isinstance(result, Done) and result.calls for _, result in answers):  # as mostly: told at a glance
        return Seen(bool(answers), {}, evidence=Evidence.UNASKED)
    failures = [(work, result.error) for work, result in answers if isinstance(result, Failed) and counts(result)]
    is_up = any(shows_it_up(result) for _, result in answers)
    # A suspect that is asked to wait waits alone: others were served since it was asked first.
    waits = [0.0 if work.suspect and was_open else policy.floor_s(error) for work, error in failures]
    untried = frozenset(
        work.instance_id
        for work, result in answers
        if isinstance(result, Failed) and isinstance(result.error, BudgetSpentError | LeaseLostError)
    )
    tell = {work.instance_id for work, result in answers if counts(result) or shows_it_up(result)}
    return Seen(
        is_up,
        {work.instance_id: work.member_number for work, _ in failures},
        mask_text(kept(str(failures[0][1]), failures[0][0], company)) if failures else "",
        untried=untried,
        mute=frozenset(work.instance_id for work, _ in answers) - untried - tell,
        evidence=Evidence.SYSTEM if waits and all(waits) else Evidence.UNASKED,
        wait_s=0.0 if is_up else max(waits, default=0.0),
    )


def counts(result: Result | BaseException) -> bool:
    """Return whether *result* counts against the connection."""
    return isinstance(result, Failed) and result.error.counts_for_breaker


def shows_it_up(result: Result | BaseException) -> bool:
    """Return whether *result* came of an answer; what needed no call shows nothing."""
    if isinstance(result, BaseException) or not result.calls:
        return False
    return isinstance(result, Done) or isinstance(result.error, DataError | AddressPendingError)


def failing(answers: Sequence[Answer]) -> set[str]:
    """Return the numbers of the members whose failure counts against the connection."""
    return {work.member_number for work, result in answers if counts(result)}


def gives_up_unproven(answers: Sequence[Answer], policy: RetryPolicy) -> bool:
    """Return whether a failure that counts against the connection was the last attempt of any, and nobody got through.

    Then it is to be asked whether the system was up at all: a dead letter means that it was.
    """
    gives_up = any(
        counts(result) and work.errand is not Errand.PROBE and work.attempt >= policy.max_attempts
        for work, result in answers
    )
    return gives_up and not any(shows_it_up(result) for _, result in answers)

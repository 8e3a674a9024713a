"""What a batch's answers show of the connection, and when a last attempt proves nothing."""

from dataclasses import replace

import pytest

from shared.errors import (
    AddressPendingError,
    BudgetSpentError,
    DataError,
    LeaseLostError,
    RowConflictError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
)
from shared.instances import Answer, Call, Done, Errand, Failed, Result, Work
from shared.lifecycle.breaker import Evidence, failing, gives_up_unproven, seen
from shared.lifecycle.retry import RetryPolicy

POLICY = RetryPolicy(10, 1800, 3)
CALLS = (Call("PUT", "/v2/users/1", 200, 1.0),)
DOWN = UnavailableError("CrowdTwist", "could not serve us (HTTP 503)", 503)
REFUSED = DataError("CrowdTwist", "Email Address is already taken", 400)
WELL = Done("updated", calls=CALLS)


def work(number: int, attempt: int = 1, errand: Errand | None = None) -> Work:
    return Work(number, 7, attempt, f"M-{number}", "update", {}, errand=errand)


def failed(error: StageError) -> Failed:
    return Failed(error, calls=CALLS)


def waiting(wait_s: float) -> Failed:
    return failed(ThrottledError("CrowdTwist", "asked us to wait", 429, wait_s))


@pytest.mark.parametrize(
    ("result", "is_up", "counts", "is_untried", "is_mute"),
    [
        (WELL, True, False, False, False),
        (Done("Siebel shows it already"), False, False, False, True),
        (failed(REFUSED), True, False, False, False),
        (Failed(DataError("OIC", "Contact Last Name is missing")), False, False, False, True),
        (failed(AddressPendingError("CrowdTwist", "taken", 400, "M-9")), True, False, False, False),
        (failed(DOWN), False, True, False, False),
        (failed(UnauthorisedError("CrowdTwist", "refused our credentials", 401)), False, True, False, False),
        (Failed(BudgetSpentError("CrowdTwist", 3.0)), False, False, True, False),
        (Failed(LeaseLostError("CrowdTwist")), False, False, True, False),
        (failed(RowConflictError("Siebel", "somebody else kept changing the member")), False, False, False, True),
        (TypeError("a bug"), False, False, False, True),
    ],
    ids=lambda one: getattr(getattr(one, "error", one), "code", type(one).__name__),
)
def test_what_one_result_shows(
    result: Result | BaseException, *, is_up: bool, counts: bool, is_untried: bool, is_mute: bool
) -> None:
    shown = seen([(work(1), result)], POLICY, was_open=True)
    assert shown.is_up is is_up
    assert shown.failed == ({1: "M-1"} if counts else {})
    assert shown.untried == (frozenset({1}) if is_untried else frozenset())
    assert shown.mute == (frozenset({1}) if is_mute else frozenset())
    assert failing([(work(1), result)]) == ({"M-1"} if counts else set())


@pytest.mark.parametrize(
    ("results", "evidence", "wait_s"),
    [
        ([failed(DOWN), failed(DOWN)], Evidence.UNASKED, 0),
        ([waiting(30), waiting(60)], Evidence.SYSTEM, 60),
        ([waiting(30), failed(DOWN)], Evidence.UNASKED, 30),
        ([waiting(30), WELL], Evidence.SYSTEM, 0),
        ([WELL], Evidence.UNASKED, 0),
    ],
)
def test_all_of_them_asked_to_wait_is_the_systems_word_and_whoever_got_through_ends_it(
    results: list[Result], evidence: Evidence, wait_s: float
) -> None:
    shown = seen([(work(at), result) for at, result in enumerate(results)], POLICY, was_open=True)
    assert (shown.evidence, shown.wait_s) == (evidence, wait_s)


@pytest.mark.parametrize(("was_open", "wait_s"), [(True, 0), (False, 30)])
def test_a_suspect_that_is_asked_to_wait_waits_alone_while_others_may_go(*, was_open: bool, wait_s: float) -> None:
    assert seen([(replace(work(1), suspect=True), waiting(30))], POLICY, was_open=was_open).wait_s == wait_s


def test_the_words_of_a_failure_name_nobody() -> None:
    one = replace(work(1), event={"member": {"last_name": "Lindqvist"}})
    said = failed(UnavailableError("CrowdTwist", "Lindqvist cannot be served", 500))
    assert "Lindqvist" not in seen([(one, said)], POLICY, was_open=True).error


@pytest.mark.parametrize(
    ("answers", "unproven"),
    [
        ([(work(1, attempt=3), failed(DOWN))], True),
        ([(work(1, attempt=2), failed(DOWN))], False),
        ([(work(1, attempt=3, errand=Errand.REPORT), failed(DOWN))], True),
        ([(work(1, attempt=3, errand=Errand.PROBE), failed(DOWN))], False),
        ([(work(1, attempt=3), failed(REFUSED))], False),
        ([(work(1, attempt=3), failed(DOWN)), (work(2), WELL)], False),
        ([(work(1, attempt=3), failed(DOWN)), (work(2), failed(REFUSED))], False),
        ([(work(1, attempt=3), failed(DOWN)), (work(2), Done("needed no call"))], True),
        ([(work(1, attempt=3), TypeError("a bug"))], False),
        ([], False),
    ],
)
def test_a_last_attempt_proves_nothing_unless_somebody_got_through(answers: list[Answer], *, unproven: bool) -> None:
    assert gives_up_unproven(answers, POLICY) is unproven

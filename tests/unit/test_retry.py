"""What happens after a failed attempt, with the arithmetic in sight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    DataError,
    OutcomeUnknownError,
    RowConflictError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.lifecycle.retry import DeadLetter, Reject, RetryIn, RetryPolicy, decide

CROWDTWIST = RetryPolicy(base_s=10, cap_s=1800, max_attempts=20)
RETRIED = [UnreachableError, UnavailableError, OutcomeUnknownError, UnauthorisedError, ThrottledError]


@pytest.mark.parametrize(
    ("attempt", "jitter", "delay_s"),
    [
        (1, 0.5, 5),  # 10 * 2^0 * 0.5
        (2, 0.5, 10),  # 10 * 2^1 * 0.5
        (4, 0.25, 20),  # 10 * 2^3 * 0.25
        (8, 1.0, 1280),  # 10 * 2^7
        (9, 1.0, 1800),  # 2560, capped
        (19, 0.0, 0),
    ],
)
def test_the_wait_doubles_up_to_the_cap_with_full_jitter(attempt: int, jitter: float, delay_s: float) -> None:
    assert decide(CROWDTWIST, attempt, UnavailableError("CrowdTwist", "503"), jitter) == RetryIn(delay_s)


def test_the_last_attempt_is_followed_by_a_dead_letter() -> None:
    assert isinstance(decide(CROWDTWIST, 20, UnreachableError("CrowdTwist", "refused"), 0.5), DeadLetter)
    assert isinstance(decide(CROWDTWIST, 19, UnreachableError("CrowdTwist", "refused"), 0.5), RetryIn)


def test_a_data_error_is_rejected_at_the_first_attempt() -> None:
    assert decide(CROWDTWIST, 1, DataError("CrowdTwist", "taken"), 0.5) == Reject()


@given(
    policy=st.builds(RetryPolicy, st.floats(0.001, 1e4), st.floats(0.001, 1e5), st.integers(1, 10_000)),
    attempt=st.integers(1, 10_000),
    kind=st.sampled_from(RETRIED),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_negative_nor_over_the_cap(
    policy: RetryPolicy, attempt: int, kind: type[StageError], jitter: float
) -> None:
    match decide(policy, attempt, kind("CrowdTwist", "failed"), jitter):
        case RetryIn(delay_s):
            assert attempt < policy.max_attempts
            assert 0 <= delay_s <= policy.cap_s
        case DeadLetter():
            assert attempt >= policy.max_attempts
        case Reject():
            pytest.fail("only a Data Error is rejected")


@given(retry_after_s=st.floats(0.001, 1e6), attempt=st.integers(1, 19), jitter=st.floats(0, 1, exclude_max=True))
def test_retry_after_is_a_floor_that_nothing_shortens(retry_after_s: float, attempt: int, jitter: float) -> None:
    error = ThrottledError("CrowdTwist", "429", 429, retry_after_s)
    verdict = decide(CROWDTWIST, attempt, error, jitter)
    assert isinstance(verdict, RetryIn)
    assert verdict.delay_s >= retry_after_s


def test_a_retry_after_out_of_all_proportion_counts_up_to_its_limit() -> None:
    policy = RetryPolicy(base_s=10, cap_s=1800, max_attempts=20, retry_after_max_s=600)
    for stated_s, floor_s in ((599.0, 599), (601.0, 600), (30 * 86_400.0, 600)):
        error = ThrottledError("CrowdTwist", "429", 429, stated_s)
        assert decide(policy, 1, error, 0.0) == RetryIn(floor_s)
    for ignored in (None, 0.0):
        assert decide(policy, 1, ThrottledError("CrowdTwist", "429", 429, ignored), 0.5) == RetryIn(5)


def test_a_row_conflict_is_never_given_up_and_says_nothing_of_the_system() -> None:
    error = RowConflictError("Siebel", "somebody else kept changing the member")
    assert isinstance(decide(CROWDTWIST, 10_000, error, 0.5), RetryIn)
    assert not error.counts_for_breaker

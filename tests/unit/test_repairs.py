"""The pure parts of repairing: steps of a requeue, normalised causes, what a rehearsal compares."""

import pytest

from producers.operations.job_control import Change, compare
from shared.lifecycle.rollout import REST, WINDOW, Finished, Next, Send, Stop, Tally, Wait, next_step
from shared.messages import normalised


@pytest.mark.parametrize(
    ("step", "tally", "unsent", "follows"),
    [
        (1, Tally(), 500, Send(1, 1)),
        (1, Tally(sent=1), 499, Wait()),
        (1, Tally(succeeded=1), 499, Send(2, 10)),
        (1, Tally(failed=1), 499, Stop("1 of 1 failed again")),
        (1, Tally(), 0, Finished()),
        (1, Tally(succeeded=1), 0, Finished()),
        (1, Tally(succeeded=1), 3, Send(2, 3)),
        (2, Tally(sent=4, succeeded=2), 100, Send(2, 4)),
        (2, Tally(sent=5, succeeded=1, failed=4), 100, Wait()),
        (2, Tally(sent=3, succeeded=1, failed=6), 100, Stop("6 of 10 failed again")),
        (2, Tally(succeeded=5, failed=5), 100, Send(REST, 100)),
        (2, Tally(succeeded=1, failed=2), 0, Stop("2 of 3 failed again")),
        (REST, Tally(failed=9), 100, Send(REST, 100)),
        (REST, Tally(sent=50, failed=10), 100, Stop("10 of 10 failed again")),
        (REST, Tally(sent=WINDOW - 10, succeeded=10), 5000, Send(REST, 10)),
        (REST, Tally(sent=WINDOW, succeeded=10), 5000, Wait()),
        (REST, Tally(sent=1), 0, Wait()),
        (REST, Tally(succeeded=500), 0, Finished()),
    ],
)
def test_a_requeue_feels_its_way(step: int, tally: Tally, unsent: int, follows: Next) -> None:
    assert next_step(step, tally, unsent) == follows


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("CrowdTwist: answered 503", "CrowdTwist: answered 503"),
        ("could not serve us (HTTP 502), HTTP 5551234", "could not serve us (HTTP 502), HTTP #"),
        ("ann.lee@example.org is already taken", "<e-mail> is already taken"),
        ("Member 1-4XYZ-1 has no 'Last Name'", "Member # has no <value>"),
        ("Value \"Ann\" of the member's name isn't valid", "Value <value> of the member's name isn't valid"),
        ("not before 2026-11-23T08:51:00Z", "not before #"),
        ("Contact Last Name is missing", "Contact Last Name is missing"),
        ("two\r\n\tlines\x1bof it", "two lines of it"),
        ("", ""),
    ],
)
def test_a_cause_has_nothing_of_its_instance(message: str, cause: str) -> None:
    assert normalised(message) == cause


def test_a_rehearsal_compares_field_by_field_and_names_nobody() -> None:
    before = {"first_name": "Ann", "postal_code": None, "city_id": 1, "country_code": "IN", "gender_id": 1}
    after = {"first_name": "Bea", "postal_code": "10010", "country_code": "US", "gender_id": 1}
    assert compare(before, after) == [
        Change("city_id", "removed", "***", None),
        Change("country_code", "changed", "IN", "US"),
        Change("first_name", "changed", "A***", "B***"),
        Change("postal_code", "added", None, "***"),
    ]

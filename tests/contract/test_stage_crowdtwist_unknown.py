"""Calls to CrowdTwist that got no answer, and the reading back of what may have landed late."""

from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from deploy.sandbox.server import SandboxControl
from shared.errors import OutcomeUnknownError, ThrottledError
from shared.instances import Errand
from shared.settings import Settings
from tests.crowdtwist_stage import CREATE, DELETE, NUMBER, UPDATE, USER, attempt, done, failed, methods, stored


@pytest.mark.parametrize("kind", ["drop", "hang"])
def test_an_update_without_an_answer_is_unknown(settings: Settings, control: SandboxControl, kind: str) -> None:
    done(settings, CREATE)
    control.fault("crowdtwist", kind)
    result = failed(settings, UPDATE)
    assert type(result.error) is OutcomeUnknownError
    assert methods(result) == ["PUT"]
    assert result.facts == {"unknown_outcome": True}


def test_a_create_without_an_answer_that_arrived_is_a_success(settings: Settings, control: SandboxControl) -> None:
    control.fault("crowdtwist", "drop_after", times=1)
    result = done(settings, CREATE)
    assert methods(result) == ["POST", "GET"]
    assert result.facts["ct_user_id"] == stored(control)["id"]
    assert control.state("crowdtwist")["posts"] == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_create_that_a_gateway_gave_up_is_looked_for(
    settings: Settings, control: SandboxControl, status: int
) -> None:
    control.fault("crowdtwist", "apply_late", seconds=0, status=status, times=1, method="POST")
    result = attempt(settings, CREATE)
    assert methods(result)[:2] == ["POST", "GET"]
    assert methods(done(settings, replace(CREATE, unknown_outcome=True))) == ["GET"]
    assert control.state("crowdtwist")["posts"] == 1


def test_a_gateway_that_says_when_to_come_back_is_not_asked_before(settings: Settings, control: SandboxControl) -> None:
    control.fault("crowdtwist", "apply_late", seconds=0, status=503, retry_after=7, times=1)
    result = failed(settings, CREATE)
    assert isinstance(result.error, ThrottledError)
    assert result.error.retry_after_s == 7
    assert methods(result) == ["POST"]
    assert result.facts == {"unknown_outcome": True}


def test_a_create_without_an_answer_that_is_not_there_is_looked_for_first_next_time(
    settings: Settings, control: SandboxControl
) -> None:
    control.fault("crowdtwist", "drop", times=1)
    first = failed(settings, CREATE)
    assert type(first.error) is OutcomeUnknownError
    assert first.facts == {"unknown_outcome": True}
    assert methods(first) == ["POST", "GET"]
    second = done(settings, replace(CREATE, attempt=2, unknown_outcome=True))
    assert methods(second) == ["GET", "POST"]


def test_a_create_that_lands_late_is_found(settings: Settings, control: SandboxControl) -> None:
    control.fault("crowdtwist", "apply_late", seconds=0.02, times=1)
    assert type(failed(settings, CREATE).error) is OutcomeUnknownError
    ends = monotonic() + 60
    while control.user(NUMBER) is None:
        assert monotonic() < ends
    assert methods(done(settings, replace(CREATE, unknown_outcome=True))) == ["GET"]


def test_a_create_found_with_other_content_is_updated(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    newer = replace(CREATE, unknown_outcome=True, user=USER | {"last_name": "Smith"})
    assert methods(done(settings, newer)) == ["GET", "PUT"]
    assert stored(control)["last_name"] == "Smith"


@pytest.mark.parametrize("kind", ["hang", "status", "maintenance"])
def test_a_create_that_cannot_be_looked_for_stays_unknown(
    settings: Settings, control: SandboxControl, kind: str
) -> None:
    control.fault("crowdtwist", "drop", method="POST")
    control.fault("crowdtwist", kind, method="GET")
    result = failed(settings, CREATE)
    assert type(result.error) is OutcomeUnknownError
    assert result.facts == {"unknown_outcome": True}
    assert result.took_ms < 1000
    assert failed(settings, replace(CREATE, unknown_outcome=True)).facts == {"unknown_outcome": True}


def test_a_read_back_finds_what_was_sent(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    result = done(settings, replace(UPDATE, errand=Errand.READ_BACK))
    assert methods(result) == ["GET"]
    assert "has what was sent" in result.what
    assert control.state("crowdtwist")["puts"] == 0


@pytest.mark.parametrize(
    "late",
    [
        {"last_name": "Old"},
        {"email_address": "old@example.org"},
        {"gender_id": 1},
        {"is_active": 0},
        {"date_of_birth": 0},
        {"postal_code": "10011"},
        {"middle_name": "Old"},
        {"lang_pref": "fr"},
    ],
    ids=str,
)
def test_a_read_back_repeats_what_a_late_write_overwrote(
    settings: Settings, control: SandboxControl, late: dict[str, Any]
) -> None:
    done(settings, replace(CREATE, user=USER | late))
    result = done(settings, replace(UPDATE, errand=Errand.READ_BACK))
    assert methods(result) == ["GET", "PUT"]
    assert "again" in result.what
    again = done(settings, replace(UPDATE, errand=Errand.READ_BACK))
    assert methods(again) == ["GET"]
    assert stored(control)["last_name"] == "Cole"


def test_a_read_back_after_a_deletion_looks_at_the_flag_alone(settings: Settings, control: SandboxControl) -> None:
    read_back = replace(DELETE, errand=Errand.READ_BACK)
    assert methods(done(settings, read_back)) == ["GET"]
    done(settings, CREATE)
    assert methods(done(settings, read_back)) == ["GET", "PUT"]
    assert stored(control)["is_active"] is False
    assert methods(done(settings, read_back)) == ["GET"]

"""Whoever may see people is shown the calls of an instance as they were made; all others see them masked."""

from dataclasses import replace
from typing import Any

import pytest

from producers.operations import reads
from producers.operations.job_control import Operator
from shared.ledger import causes, views
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter
from shared.ledger.records import InstanceDetail, InstanceWithActivity
from shared.pipeline import State
from tests.rig import Pipeline, eventually, member_event

ADA = Operator("ada", "admin")
PERSON: dict[str, Any] = {
    "first_name": "Zephyrine",
    "last_name": "Quux",
    "email_address": "zephyrine@example.org",
    "gender": "F",
}


@pytest.fixture
def detail(pipeline: Pipeline) -> InstanceDetail:
    """One that went through OIC and was refused by CrowdTwist for its e-mail address."""
    pipeline.settings |= {
        "MEMBERSYNC_OIC__MODE": "remote",
        "MEMBERSYNC_OIC__TOKEN_URL": f"{pipeline.sandbox.oic}/oauth2/v1/token",
        "MEMBERSYNC_OIC__CLIENT_ID": "membersync",
        "MEMBERSYNC_OIC__CLIENT_SECRET": "secret",
    }
    with pipeline.whole():
        pipeline.send(member_event("M-1", **PERSON))
        eventually(lambda: pipeline.states() == {"completed": 1}, "the first one there")
        pipeline.send(member_event("M-2", date_of_birth="1971-05-06", **PERSON))
        eventually(lambda: pipeline.states() == {"completed": 1, "rejected": 1}, "its twin refused")
    with transaction(pipeline.ledger) as tx:
        found = views.instance(tx, 2)
    assert found is not None
    return found


def requests(of: InstanceWithActivity, stage: str) -> list[Any]:
    return [call["request"] for line in of.activity if line.stage == stage for call in line.calls]


def contact(of: InstanceWithActivity) -> dict[str, str]:
    message = requests(of, "oic")[0]["SiebelMessage"]
    found: dict[str, str] = message["ListOfCT LOY Member"]["LOY Member"][0]["ListOfContact"]["Contact"][0]
    return found


def test_requests_are_shown_as_they_were_sent(pipeline: Pipeline, detail: InstanceDetail) -> None:
    with transaction(pipeline.ledger) as tx:
        shown = reads.instance(tx, 2, unmasked_for=ADA)
    assert shown is not None
    assert detail.user is not None
    assert requests(shown, "crowdtwist")[0] == detail.user
    assert contact(shown)["Contact First Name"] == "Zephyrine"
    assert contact(shown)["Email Address"] == "zephyrine@example.org"
    assert contact(shown)["Date of Birth"] == "***"  # Siebel's message has it in a form of its own
    assert requests(shown, "siebel") == requests(detail, "siebel")


def test_whoever_may_not_see_people_sees_calls_masked(pipeline: Pipeline, detail: InstanceDetail) -> None:
    with transaction(pipeline.ledger) as tx:
        shown = reads.instance(tx, 2)
    assert shown is not None
    assert (shown.state, shown.code) == (detail.state, detail.code)
    assert requests(shown, "crowdtwist")[0]["first_name"] == "Z***"
    assert "ephyrine" in str(detail)
    assert "ephyrine" not in str(shown)


def test_what_was_mapped_anew_since_is_not_put_in_the_place_of_what_was_sent(detail: InstanceDetail) -> None:
    assert detail.user is not None
    today = replace(detail, user={**detail.user, "first_name": "Anna", "email_address": "other@example.net"})
    sent = requests(reads.revealed(today, today.event, today.user), "crowdtwist")[0]
    assert (sent["first_name"], sent["last_name"]) == ("Z***", "Quux")
    assert sent["email_address"] == "zephyrine@example.org"  # what the event still has


def test_stars_that_stand_for_something_else_are_left(detail: InstanceDetail) -> None:
    assert detail.user is not None
    odd = replace(detail, user={**detail.user, "email_address": "no address"}, event=None)
    sent = requests(reads.revealed(odd, odd.event, odd.user), "oic")[0]["SiebelMessage"]
    assert "no address" not in str(sent)


def test_a_member_is_shown_with_the_calls_of_all_its_instances(pipeline: Pipeline, detail: InstanceDetail) -> None:
    with transaction(pipeline.ledger) as tx:
        member = reads.member(tx, detail.member_number, limit=5, unmasked_for=ADA)
    assert member is not None
    (story,) = member.instances
    assert requests(story, "crowdtwist")[0] == detail.user


def test_what_crowdtwist_says_of_a_person_is_told_to_siebel_and_shown_to_nobody_else(
    pipeline: Pipeline,
) -> None:
    said = "Zephyrine Quux (born 1971-05-06) is known as zephyrine@example.org"
    pipeline.sandbox.control.fault("crowdtwist", "status", status=400, body={"error": "known", "message": said})
    with pipeline.whole():
        pipeline.send(member_event("M-1", date_of_birth="1971-05-06", **PERSON))
        eventually(lambda: pipeline.states() == {"rejected": 1}, "refused")
    (told,) = pipeline.sandbox.control.members()
    assert told["error"] == f"{said} [instance 1]"
    with transaction(pipeline.ledger) as tx:
        found, masked_one = (reads.instance(tx, 1, unmasked_for=who) for who in (ADA, None))
        member, masked_member = (reads.member(tx, "M-1", limit=5, unmasked_for=who) for who in (ADA, None))
        (cause,) = causes.causes(tx, Filter(states=(State.REJECTED,)), limit=5)
        guessed = views.instances(tx, Filter(text="zephyrine quux"), limit=5)
    assert found is not None
    assert member is not None
    assert found.error == said
    assert member.told_error == f"{said} [instance 1]"
    assert guessed.items == []
    shown = str([masked_one, masked_member, cause])
    assert "***" in shown
    assert not {one for one in ("ephyrine", "Quux", "1971-") if one in shown}
    assert not {one for one in ("Zephyrine", "Quux", "1971-") if one in pipeline.log_text()}

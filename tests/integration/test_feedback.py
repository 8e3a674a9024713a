"""Siebel's own workflow takes each status that is written for a change of the member, and sends it: it must end.

Played by a Siebel that sends the member again, whole and unchanged, after every write of its status.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.lifecycle.cases import RETRIES_MAX
from tests.rig import Pipeline, eventually, member_event

QUIET_S = 3.0
LOOK_UPS = "MEMBERSYNC_CASES__LOOK_UPS_PER_MINUTE"
BAD: dict[str, Any] = {"first_name": "Bad", "status": "Inactive"}
TAKEN = {"error": "invalid_parameter", "message": "Email Address is already taken"}


@pytest.fixture
def echoed(pipeline: Pipeline) -> Pipeline:
    """A pipeline that gives up soon, reports at once, and sends nobody again whose address seems free."""
    for stage in ("OIC", "CROWDTWIST"):
        pipeline.settings |= {
            f"MEMBERSYNC_{stage}__MAX_ATTEMPTS": "3",
            f"MEMBERSYNC_{stage}__RETRY_BASE_S": "0.1",
            f"MEMBERSYNC_{stage}__RETRY_CAP_S": "0.5",
        }
    pipeline.settings |= {"MEMBERSYNC_SIEBEL__REPORT_AFTER_S": "0.2", LOOK_UPS: "0"}
    return pipeline


def writes(pipeline: Pipeline) -> int:
    try:
        return int(pipeline.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()["writes"])
    except Exception:  # noqa: BLE001  # it has no such member yet
        return 0


def feed_back(pipeline: Pipeline, minute: int = 1, seen: int = 0) -> int:
    """Send the member again after each write, until nothing is written any more; give how often it was sent."""
    sent, quiet_since = 0, math.inf
    give_up_at = time.monotonic() + 240
    while time.monotonic() < quiet_since + QUIET_S:
        assert time.monotonic() < give_up_at, "it does not come to rest"
        if (now := writes(pipeline)) > seen:
            seen, sent = now, sent + 1
            assert sent < 8, "it does not end"
            pipeline.send(member_event("BAD", minute + sent, **BAD))
        is_quiet = sent > 0 and pipeline.settled() and pipeline.sql("select count(*) from errand") == [0]
        quiet_since = min(quiet_since, time.monotonic()) if is_quiet else math.inf
        time.sleep(0.05)
    return sent


def serve_others(pipeline: Pipeline) -> None:
    pipeline.send(*(member_event(f"GOOD-{index}") for index in range(4)))
    eventually(lambda: pipeline.states() == {"completed": 4}, "others served")


def nothing(_: Pipeline) -> None:
    """Leave everything well."""


def refuse(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.fault("crowdtwist", "status", status=400, body=TAKEN, member="BAD")


def fail_crowdtwist(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.fault("crowdtwist", "html", status=500, member="BAD")


def fail_oic(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.fault("oic", "html", status=500, member="BAD")


@pytest.mark.parametrize(
    ("trouble", "status", "ends"),
    [
        (nothing, "Success", "unchanged"),
        (refuse, "Data Error", "rejected"),
        (fail_crowdtwist, "CT Failure", "dead"),
        (fail_oic, "OIC Failure", "dead"),
    ],
)
def test_what_is_written_comes_back_and_ends(
    echoed: Pipeline, trouble: Callable[[Pipeline], None], status: str, ends: str
) -> None:
    if trouble is fail_oic:
        echoed.settings |= {
            "MEMBERSYNC_OIC__MODE": "remote",
            "MEMBERSYNC_OIC__USERNAME": "oic",
            "MEMBERSYNC_OIC__PASSWORD": "oic-password",
        }
    trouble(echoed)
    with echoed.whole():
        serve_others(echoed)
        echoed.send(member_event("BAD", **BAD))
        sent = feed_back(echoed)
    assert sent <= 3
    member = echoed.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()
    assert member["status"] == status
    if trouble is nothing:  # what came back before the end was written has gone all the way
        echoed.send(member_event("BAD", 30, **BAD))
    newest = echoed.sql("select state from instance where member_number = 'BAD' order by id desc limit 1")
    assert newest == [ends]


def test_who_is_sent_again_since_its_address_seems_free_is_told_nothing_twice(echoed: Pipeline) -> None:
    echoed.settings |= {LOOK_UPS: "60"}
    refuse(echoed)
    with echoed.whole():
        serve_others(echoed)
        echoed.send(member_event("BAD", **BAD))
        sent = feed_back(echoed)
        retries = "select retries from data_case where closed_at is null"
        eventually(lambda: echoed.sql(retries) == [RETRIES_MAX] and echoed.settled(), "sent again, in vain")
    assert writes(echoed) == sent


def test_an_update_of_a_deleted_member_that_crowdtwist_refuses_ends(echoed: Pipeline) -> None:
    echoed.sandbox.control.set("crowdtwist", inactive_is_forbidden=True)
    with echoed.whole():
        serve_others(echoed)
        echoed.send(member_event("BAD", **BAD | {"status": "Active"}))
        eventually(lambda: echoed.states() == {"completed": 5}, "known")
        echoed.send(member_event("BAD", 1, **BAD) | {"operation": "delete"})
        eventually(lambda: echoed.states() == {"completed": 6}, "deleted")
        known = writes(echoed)
        echoed.send(member_event("BAD", 2, **BAD))
        sent = feed_back(echoed, minute=2, seen=known)
    assert sent == 1
    assert echoed.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()["status"] == "Data Error"


def test_a_member_that_is_touched_after_a_mend_gets_its_try(echoed: Pipeline) -> None:
    refuse(echoed)
    with echoed.whole():
        serve_others(echoed)
        echoed.send(member_event("BAD", **BAD))
        feed_back(echoed)
        told = echoed.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()["error"]
        tried = "select count(*) from activity where stage = 'crowdtwist' and code = 'data_error'"
        before = echoed.sql(tried)[0]
        echoed.send(member_event("BAD", 20, **BAD))
        eventually(lambda: echoed.settled() and echoed.sql(tried)[0] == before + 1, "tried again, in vain")
        assert echoed.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()["error"] == told
        forced = echoed.send(member_event("BAD", 21, **BAD) | {"force": True})[0]
        eventually(lambda: echoed.settled() and echoed.sql(tried)[0] == before + 2, "forced")
        told = echoed.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()["error"]
        assert told == f"Email Address is already taken [instance {forced.instance_id}]"
        echoed.sandbox.control.heal("crowdtwist")
        echoed.send(member_event("BAD", 22, **BAD))
        eventually(lambda: echoed.states().get("completed") == 5, "mended")
    assert echoed.sandbox.control.call("GET", "siebel/members", row_id="1-BAD").json()["status"] == "Success"

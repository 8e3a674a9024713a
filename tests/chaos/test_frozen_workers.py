"""Workers that are frozen with members in hand, and wake when others have long done their work."""

import os
import signal
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import psutil
import pytest

from shared.errors import LedgerError
from tests.chaos.suite.links import links
from tests.rig import Pipeline, eventually, member_event

MEMBERS = 36
NEWEST = 59
"""The minute of the newest event."""
SETTINGS = {
    "MEMBERSYNC_DISPATCHER__LEASE_S": "6.5",
    "MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "2",
    "MEMBERSYNC_OIC__TIMEOUT_S": "1",
    "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "1",
    "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "0",
    "MEMBERSYNC_CROWDTWIST__SETTLE_S": "1",
    "MEMBERSYNC_SIEBEL__TIMEOUT_S": "1",
}
BEGUN = "select count(*) from instance where state = 'running' and begun and stage = 'crowdtwist'"
READ_BACKS = "select count(*) from activity where what like 'read back: CrowdTwist has what was sent last%'"
ERRANDS_BEGUN = "select count(*) from errand where begun and kind = 'report'"
SIEBEL_SETTLES = {"MEMBERSYNC_SIEBEL__SETTLE_S": "1"}
BURY = """
    update instance set state = 'dead', code = 'unavailable', failed_stage = 'oic', attempt = 12, failing_since = now(),
                        status = 'OIC Failure', error = 'OIC: could not serve us (HTTP 503)', finished_at = now()
"""
REPORT = """
    insert into errand (instance_id, member_number, kind, stage, lane, due_at)
    select id, member_number, 'report', 'siebel', lane, now() from instance
"""


def taken_in(pipeline: Pipeline) -> bool:
    """Send the newest; False: a frozen process has members locked, and the sender is to come again."""
    try:
        pipeline.send(*(member_event(f"M-{index}", NEWEST, last_name="Newest") for index in range(MEMBERS)))
    except LedgerError:
        return False
    return True


def test_what_workers_send_that_wake_after_their_lease_does_not_last(pipeline: Pipeline) -> None:
    pipeline.settings |= SETTINGS
    control = pipeline.sandbox.control
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}", 0, last_name="First") for index in range(MEMBERS)))
        eventually(lambda: pipeline.states() == {"completed": MEMBERS}, "the first")
        children = [child.pid for child in psutil.Process(pipeline.running[1].pid).children()]
        older = 0
        while not pipeline.sql(BEGUN)[0]:  # as soon as can be: between the begin and the call
            if pipeline.settled():  # all through between two looks
                older += 1
                assert older < NEWEST
                pipeline.send(
                    *(member_event(f"M-{index}", older, last_name=f"Older {older}") for index in range(MEMBERS))
                )
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            eventually(lambda: taken_in(pipeline), "the newest taken in, once the ledger ends a frozen transaction")
            with pipeline.worker("w2"):
                eventually(lambda: {one["last_name"] for one in control.users()} == {"Newest"}, "the newest")
                eventually(pipeline.settled, "all told")
                until = time.monotonic() + 2  # longer than the settling
                eventually(lambda: time.monotonic() > until, "the read-backs")
                for child in children:
                    os.kill(child, signal.SIGCONT)
                until = time.monotonic() + 3
                eventually(lambda: time.monotonic() > until, "awake for a while")
                # What was on its way into the socket as they froze goes out, whoever asked last of all.  They say so.
                eventually(lambda: {one["last_name"] for one in control.users()} == {"Newest"}, "the newest again")
                eventually(pipeline.settled, "all told again")
        finally:
            for child in children:
                if psutil.pid_exists(child):
                    os.kill(child, signal.SIGCONT)
        assert {one["last_name"] for one in control.users()} == {"Newest"}
    assert {one["status"] for one in control.members()} == {"Success"}


def test_what_arrives_of_a_frozen_worker_that_is_killed_does_not_last(pipeline: Pipeline) -> None:
    """Its calls lie on the way while it is frozen, others do its work and check it; they arrive, and it is killed."""
    pipeline.settings |= SETTINGS
    control = pipeline.sandbox.control
    direct = urlsplit(pipeline.sandbox.crowdtwist)
    with links({"crowdtwist": (str(direct.hostname), int(direct.port or 0))}) as wires, ExitStack() as running:
        wire = wires["crowdtwist"]
        there = {"MEMBERSYNC_CROWDTWIST__BASE_URL": f"http://127.0.0.1:{wire.port}{direct.path}"}
        longer = {"MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "2", "MEMBERSYNC_DISPATCHER__LEASE_S": "7.5"}
        pipeline.settings |= there | longer
        running.enter_context(pipeline.whole())
        for name in there:
            del pipeline.settings[name]
        pipeline.send(*(member_event(f"M-{index}", 0, last_name="First") for index in range(MEMBERS)))
        eventually(lambda: pipeline.states() == {"completed": MEMBERS}, "the first")
        children = [child.pid for child in psutil.Process(pipeline.running[1].pid).children()]
        wire.be_silent(silent=True)
        pipeline.send(*(member_event(f"M-{index}", 1, last_name="Older") for index in range(MEMBERS)))
        eventually(lambda: wire.held > 0, "calls on the way")
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            eventually(lambda: taken_in(pipeline), "the newest taken in, once the ledger ends a frozen transaction")
            running.enter_context(pipeline.worker("w2"))
            eventually(lambda: {one["last_name"] for one in control.users()} == {"Newest"}, "the newest")
            eventually(lambda: pipeline.sql(READ_BACKS)[0] > 0, "the read-backs")
            wire.be_silent(silent=False)
            eventually(lambda: "Older" in {one["last_name"] for one in control.users()}, "what was on the way")
        finally:
            for child in children:
                if psutil.pid_exists(child):
                    os.kill(child, signal.SIGKILL)
        eventually(lambda: {one["last_name"] for one in control.users()} == {"Newest"}, "the newest again")
        eventually(pipeline.settled, "all told again")


@pytest.mark.parametrize("signal_sent", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
def test_a_report_that_a_worker_does_not_come_back_from_is_not_told_over_what_is_newer(
    pipeline: Pipeline, signal_sent: signal.Signals
) -> None:
    """Each member is a dead letter of which Siebel is being told, and is sent again by a newer event meanwhile."""
    pipeline.settings |= SETTINGS | SIEBEL_SETTLES
    control = pipeline.sandbox.control
    pipeline.send(*(member_event(f"M-{index}", 0, last_name="First") for index in range(MEMBERS)))
    pipeline.sql(BURY)
    pipeline.sql(REPORT)
    control.set("siebel", latency_ms=300)
    with pipeline.whole():
        children = [child.pid for child in psutil.Process(pipeline.running[1].pid).children()]
        deadline = time.monotonic() + 60
        while not pipeline.sql(ERRANDS_BEGUN)[0]:
            assert time.monotonic() < deadline, pipeline.states()
        for child in children:
            os.kill(child, signal_sent)
        try:
            assert pipeline.states() == {"dead": MEMBERS}
            control.set("siebel", latency_ms=0)
            eventually(lambda: taken_in(pipeline), "the newest taken in, once the ledger ends a frozen transaction")
            with pipeline.worker("w2"):
                eventually(lambda: pipeline.states() == {"dead": MEMBERS, "completed": MEMBERS}, "the newest")
                eventually(pipeline.settled, "all told")
                for child in children:
                    if psutil.pid_exists(child):
                        os.kill(child, signal.SIGCONT)
                until = time.monotonic() + 3
                eventually(lambda: time.monotonic() > until, "awake for a while")
                eventually(
                    lambda: {one["status"] for one in control.members()} == {"Success"} and pipeline.settled(),
                    "the newest is what Siebel shows",
                )
        finally:
            for child in children:
                if psutil.pid_exists(child):
                    os.kill(child, signal.SIGCONT)
    assert pipeline.sql("select count(*) from instance where losses > 0") == [0]
    if signal_sent is signal.SIGKILL:  # whoever was frozen in the middle of a call may end it beside a newer one
        assert control.state("siebel")["overlapping_keys"] == []
    assert pipeline.sql("select count(*) from member where errand_id is not null") == [0]

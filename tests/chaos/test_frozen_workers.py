"""Workers that are frozen with members in hand, and wake when others have long done their work."""

import os
import signal
import time

import psutil

from tests.rig import Pipeline, eventually, member_event

MEMBERS = 36
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


def test_what_workers_send_that_wake_after_their_lease_does_not_last(pipeline: Pipeline) -> None:
    pipeline.settings |= SETTINGS
    control = pipeline.sandbox.control
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}", 0, last_name="First") for index in range(MEMBERS)))
        eventually(lambda: pipeline.states() == {"completed": MEMBERS}, "the first")
        children = [child.pid for child in psutil.Process(pipeline.running[1].pid).children()]
        pipeline.send(*(member_event(f"M-{index}", 1, last_name="Older") for index in range(MEMBERS)))
        deadline = time.monotonic() + 10
        while not pipeline.sql(BEGUN)[0]:  # as soon as can be: between the begin and the call
            assert time.monotonic() < deadline
        for child in children:
            os.kill(child, signal.SIGSTOP)
        try:
            pipeline.send(*(member_event(f"M-{index}", 2, last_name="Newest") for index in range(MEMBERS)))
            with pipeline.worker("w2"):
                eventually(lambda: {one["last_name"] for one in control.users()} == {"Newest"}, "the newest", 40)
                eventually(pipeline.settled, "all told")
                until = time.monotonic() + 2  # longer than the settling
                eventually(lambda: time.monotonic() > until, "the read-backs", 5)
                for child in children:
                    os.kill(child, signal.SIGCONT)
                until = time.monotonic() + 3
                eventually(lambda: time.monotonic() > until, "awake for a while", 5)
                # What was on its way into the socket as they froze goes out, whoever asked last of all.  They say so.
                eventually(lambda: {one["last_name"] for one in control.users()} == {"Newest"}, "the newest again", 20)
                eventually(pipeline.settled, "all told again")
        finally:
            for child in children:
                if psutil.pid_exists(child):
                    os.kill(child, signal.SIGCONT)
        assert {one["last_name"] for one in control.users()} == {"Newest"}
    assert {one["status"] for one in control.members()} == {"Success"}

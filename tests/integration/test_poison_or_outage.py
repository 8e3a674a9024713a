"""A poisoned member and an outage are told apart, also where a connection's own test passes (decision 0004)."""

import pytest

from tests.rig import Pipeline, eventually, member_event

ATTEMPTS = 4


@pytest.fixture
def hasty(pipeline: Pipeline) -> Pipeline:
    """A pipeline that gives up soon and probes often, with the flow in OIC."""
    for name in ("OIC", "CROWDTWIST"):
        pipeline.settings |= {
            f"MEMBERSYNC_{name}__MAX_ATTEMPTS": str(ATTEMPTS),
            f"MEMBERSYNC_{name}__RETRY_BASE_S": "0.2",
            f"MEMBERSYNC_{name}__PROBE_FIRST_S": "0.2",
            f"MEMBERSYNC_{name}__PROBE_CAP_S": "0.5",
        }
    pipeline.settings |= {
        "MEMBERSYNC_OIC__MODE": "remote",
        "MEMBERSYNC_OIC__TOKEN_URL": f"{pipeline.sandbox.oic}/oauth2/v1/token",
        "MEMBERSYNC_OIC__CLIENT_ID": "membersync",
        "MEMBERSYNC_OIC__CLIENT_SECRET": "secret",
    }
    return pipeline


def one_by_one(pipeline: Pipeline, stage: str, members: int) -> None:
    """Send members so slowly that each travels alone."""
    failed = f"select count(*) from activity where stage = '{stage}' and code is not null"
    for index in range(members):
        before = pipeline.sql(failed)[0]
        pipeline.send(member_event(f"M-{index}"))
        held = f"select count(*) from instance where state = 'held' and member_number = 'M-{index}'"
        eventually(lambda: pipeline.sql(failed)[0] > before or pipeline.sql(held) == [1], "it failed or is held")  # noqa: B023


def opened(pipeline: Pipeline, stage: str) -> bool:
    return pipeline.sql(f"select breaker from connection where name = '{stage}'") != ["closed"]


def test_an_integration_that_is_not_active_is_an_outage_though_its_host_answers(hasty: Pipeline) -> None:
    control = hasty.sandbox.control
    control.set("oic", active=False)
    with hasty.whole():
        one_by_one(hasty, "oic", 6)
        eventually(lambda: opened(hasty, "oic"), "the breaker open")
        eventually(lambda: hasty.states() == {"held": 6} or hasty.states() == {"held": 5, "running": 1}, "all held")
        control.set("oic", active=True)
        eventually(lambda: hasty.states() == {"completed": 6}, "all completed")


def test_writes_that_fail_for_everybody_are_an_outage_though_reads_are_answered(hasty: Pipeline) -> None:
    control = hasty.sandbox.control
    control.fault("crowdtwist", "status", status=500, method="POST")
    with hasty.whole():
        one_by_one(hasty, "crowdtwist", 6)
        eventually(lambda: opened(hasty, "crowdtwist"), "the breaker open")
        control.heal("crowdtwist")
        eventually(lambda: hasty.states() == {"completed": 6}, "all completed")


def test_two_poisoned_members_die_though_nobody_else_is_there(hasty: Pipeline) -> None:
    hasty.sandbox.control.fault("crowdtwist", "status", status=500, member=["P-1", "P-2"])
    with hasty.whole():
        hasty.send(member_event("P-1"), member_event("P-2"))
        eventually(lambda: hasty.states() == {"dead": 2}, "two dead letters")
        assert not opened(hasty, "crowdtwist")
        hasty.send(member_event("M-1"))
        eventually(lambda: hasty.states() == {"dead": 2, "completed": 1}, "the next one through")
    assert hasty.sql("select attempt from instance where state = 'dead'") == [ATTEMPTS, ATTEMPTS]


def test_many_poisoned_members_die_while_others_get_through(hasty: Pipeline) -> None:
    poisoned = [f"P-{index}" for index in range(12)]
    hasty.sandbox.control.fault("crowdtwist", "status", status=500, member=poisoned)
    others = 0
    with hasty.whole():
        hasty.send(*map(member_event, poisoned))

        def all_dead() -> bool:
            nonlocal others
            if hasty.states().get("completed", 0) == others:
                others += 1
                hasty.send(member_event(f"M-{others}"))
            return hasty.states().get("dead") == len(poisoned)

        eventually(all_dead, "all poisoned members given up", within_s=90)
        eventually(lambda: hasty.states() == {"dead": len(poisoned), "completed": others}, "the others through")
        assert not opened(hasty, "crowdtwist")

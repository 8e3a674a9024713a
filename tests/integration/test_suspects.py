"""Members that fail never take a healthy system down, and an outage still does (decision 0006), on the real stack."""

from itertools import pairwise

import pytest

from shared.ledger import connections, views
from tests.rig import Pipeline, eventually, member_event

OPENED = "select count(*) from connection_change where what = 'down'"
HELD_EVER = "select count(distinct instance_id) from activity where state = 'held'"


@pytest.fixture
def brisk(pipeline: Pipeline) -> Pipeline:
    """A pipeline that times out, retries and probes quickly, and gives nobody up soon."""
    pipeline.settings |= {
        "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "3",
        "MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS": "500",
        "MEMBERSYNC_CROWDTWIST__PROBE_FIRST_S": "0.2",
        "MEMBERSYNC_CROWDTWIST__PROBE_CAP_S": "0.5",
        "MEMBERSYNC_SIEBEL__PROBE_FIRST_S": "0.2",
        "MEMBERSYNC_SIEBEL__PROBE_CAP_S": "0.5",
        "MEMBERSYNC_CROWDTWIST__RETRY_CAP_S": "2",
        "MEMBERSYNC_SIEBEL__RETRY_CAP_S": "1",
    }
    return pipeline


def events(prefix: str, count: int, minute: int = 0) -> list[dict[str, object]]:
    return [member_event(f"{prefix}-{index}", minute, city=f"Town {minute}") for index in range(count)]


def served(pipeline: Pipeline, count: int = 5) -> None:
    """Let some members be known to be good."""
    pipeline.send(*events("GOOD", count))
    eventually(lambda: pipeline.states().get("completed", 0) == count, "good members")


def attempts_of(pipeline: Pipeline, prefix: str) -> int:
    """Count the attempts of the member of them that was tried least."""
    counted = f"""
        select coalesce(min(n), 0) from (
            select count(a.id) as n from instance i left join activity a on a.instance_id = i.id
            and a.stage = 'crowdtwist' and a.code is not null and a.attempt is not null
            where i.member_number like '{prefix}%' group by i.id) as c
    """
    return int(pipeline.sql(counted)[0])


@pytest.mark.parametrize("status", [500, 403])
def test_forty_members_that_fail_in_a_row_are_suspects_and_the_system_is_up(brisk: Pipeline, status: int) -> None:
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        bad = [f"BAD-{index}" for index in range(40)]
        control.fault("crowdtwist", "html", status=status, member=bad)
        brisk.send(*events("BAD", 40))
        eventually(lambda: attempts_of(brisk, "BAD") >= 3, "each of them tried by its own policy")
        brisk.send(*events("NEW", 30))
        eventually(lambda: brisk.states().get("completed", 0) == 35, "the others through")
        assert brisk.sql(OPENED) == [0]
        assert brisk.sql(HELD_EVER) == [0]
        others = 35

        def all_are_named() -> bool:
            """Look, and serve one more whenever the last is through: that is what shows the others at fault."""
            nonlocal others
            if brisk.states().get("completed", 0) == others:
                brisk.send(*events(f"MORE-{others}", 1))
                others += 1
            return brisk.sql("select count(*) from instance where suspect and member_number like 'BAD%'") == [40]

        eventually(all_are_named, "all named suspects")
        assert brisk.sql("select count(*) from instance where suspect") == [40]
        assert brisk.sql("select count(*) from activity where code = 'suspect'") >= [40]
        control.heal("crowdtwist")
        eventually(lambda: brisk.states() == {"completed": 40 + others}, "everybody through in the end")
        assert brisk.sql("select count(*) from instance where suspect") == [0]


def test_members_that_hang_hold_up_nobody(brisk: Pipeline) -> None:
    with brisk.whole():
        served(brisk)
        brisk.sandbox.control.fault("crowdtwist", "hang", member=[f"BAD-{index}" for index in range(8)])
        brisk.send(*events("BAD", 8))
        eventually(lambda: attempts_of(brisk, "BAD") >= 2, "each of them tried again")
        brisk.send(*events("NEW", 20))
        eventually(lambda: brisk.states().get("completed", 0) == 25, "the others through", within_s=60)
        assert brisk.sql(OPENED) == [0]
        assert brisk.sql(HELD_EVER) == [0]


def test_many_healthy_members_behind_bad_ones_are_not_held(brisk: Pipeline) -> None:
    """Nobody is known to be good: those who are still to be tried are waited for."""
    bad = [f"BAD-{index}" for index in range(120)]
    brisk.sandbox.control.fault("crowdtwist", "status", status=500, member=bad)
    with brisk.whole():
        brisk.send(*events("BAD", 120), *events("NEW", 280))
        eventually(lambda: brisk.states().get("completed", 0) == 280, "the healthy ones through")
        assert brisk.sql(OPENED) == [0]
        assert brisk.sql(
            f"{HELD_EVER} and instance_id in (select id from instance where member_number like 'NEW%')"
        ) == [0]


def test_an_outage_in_which_only_the_test_passes_opens_it_and_buries_nobody(brisk: Pipeline) -> None:
    brisk.settings |= {"MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS": "3", "MEMBERSYNC_CROWDTWIST__RETRY_BASE_S": "0.3"}
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        for method in ("PUT", "POST"):
            control.fault("crowdtwist", "status", status=500, method=method)
        brisk.send(*events("NEW", 20))
        eventually(lambda: brisk.sql(OPENED) == [1], "the breaker open")
        # In one look: an answer to a call that went out before may close the breaker once more in between.
        held = "select count(*), max(attempt) from instance where state = 'held'"
        eventually(lambda: brisk.sql(held) == [(20, 0)], "everybody held, no attempt spent")
        keys = "select count(distinct instance_id) from activity where what like 'CrowdTwist%' and attempt is null"
        eventually(lambda: brisk.sql(keys)[0] >= 3, "different good members probe")
        control.heal("crowdtwist")
        eventually(lambda: brisk.states() == {"completed": 25}, "all through by itself")
    assert brisk.sql("select count(*) from activity where state = 'dead'") == [0]


def test_two_members_alone_in_such_an_outage_are_not_buried_either(brisk: Pipeline) -> None:
    brisk.settings |= {"MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS": "3", "MEMBERSYNC_CROWDTWIST__RETRY_BASE_S": "0.05"}
    brisk.settings |= {"MEMBERSYNC_CROWDTWIST__RETRY_CAP_S": "1"}
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        brisk.sql("update activity set at = at - interval '10 minutes'")
        for method in ("PUT", "POST"):
            control.fault("crowdtwist", "status", status=500, method=method)
        brisk.send(*events("NEW", 2))
        eventually(lambda: brisk.sql(OPENED) == [1], "a good member shows that it is the system")
        control.heal("crowdtwist")
        eventually(lambda: brisk.states() == {"completed": 7}, "all through by itself")
    assert brisk.sql("select count(*) from activity where state = 'dead'") == [0]


def test_two_bad_members_alone_are_given_up_after_their_attempts(brisk: Pipeline) -> None:
    brisk.settings |= {"MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS": "3", "MEMBERSYNC_CROWDTWIST__RETRY_BASE_S": "0.05"}
    with brisk.whole():
        served(brisk)
        brisk.sandbox.control.fault("crowdtwist", "status", status=500, member=["BAD-0", "BAD-1"])
        brisk.send(*events("BAD", 2))
        eventually(lambda: brisk.states().get("dead") == 2, "two dead letters")
        assert brisk.sql(OPENED) == [0]


@pytest.mark.parametrize("adaptive", ["false", "true"])
def test_a_slow_death_opens_it_and_buries_nobody(brisk: Pipeline, adaptive: str) -> None:
    brisk.settings |= {"MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS": "4", "MEMBERSYNC_CROWDTWIST__RETRY_BASE_S": "0.3"}
    brisk.settings["MEMBERSYNC_CROWDTWIST__ADAPTIVE"] = adaptive
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        control.fault("crowdtwist", "status", status=500, percent=50)
        brisk.send(*events("NEW", 20))
        eventually(lambda: brisk.sql("select count(*) from instance where code is not null")[0] > 3, "some fail")
        control.fault("crowdtwist", "hang")
        control.heal("crowdtwist")
        control.fault("crowdtwist", "hang")
        brisk.send(*events("LATE", 20))
        eventually(lambda: brisk.sql(OPENED) != [0], "the breaker open")
        control.heal("crowdtwist")
        eventually(lambda: brisk.states() == {"completed": 45}, "all through by itself")
    assert brisk.sql("select count(*) from instance where state = 'dead'") == [0]


def test_row_conflicts_say_nothing_of_siebel_and_bury_nobody(brisk: Pipeline) -> None:
    brisk.settings |= {"MEMBERSYNC_SIEBEL__MAX_ATTEMPTS": "2", "MEMBERSYNC_SIEBEL__RETRY_BASE_S": "0.1"}
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        control.fault("siebel", "siebel_error", member=[f"1-BAD-{index}" for index in range(20)])
        brisk.send(*events("BAD", 20), *events("NEW", 20))
        eventually(lambda: brisk.states().get("completed", 0) == 25, "the others through")
        tried = "select count(*) from activity where stage = 'siebel' and code = 'row_conflict'"
        eventually(lambda: brisk.sql(tried)[0] > 60, "the others tried more often than they may")
        assert set(brisk.states()) <= {"completed", "waiting", "running", "pending"}
        assert brisk.sql(OPENED) == [0]
        control.heal("siebel")
        eventually(lambda: brisk.states() == {"completed": 45}, "everybody through in the end")


def test_whose_status_siebel_shows_already_proves_nothing_and_blocks_nobody(brisk: Pipeline) -> None:
    brisk.settings |= {"MEMBERSYNC_SIEBEL__PROBE_FIRST_S": "0.1", "MEMBERSYNC_SIEBEL__PROBE_CAP_S": "5"}
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk, 30)
        control.fault("siebel", "refuse")
        brisk.send(*events("GOOD", 30, 1), *events("NEW", 10))
        eventually(lambda: brisk.sql("select breaker from connection where name = 'siebel'") == ["open"], "Siebel down")
        eventually(lambda: brisk.states().get("held", 0) >= 10, "held")
        control.heal("siebel")
        eventually(lambda: brisk.states().get("completed", 0) == 70, "all through, no 30 probes later", within_s=100)


@pytest.mark.parametrize("kind", ["throttle", "maintenance"])
def test_a_stated_wait_is_heard_by_all_and_one_after_another_goes_out_again(brisk: Pipeline, kind: str) -> None:
    wait_s = 3
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        control.fault("crowdtwist", kind, retry_after=wait_s)
        brisk.send(*events("NEW", 30))
        eventually(lambda: brisk.sql("select count(*) from instance where code = 'throttled'")[0] > 0, "asked to wait")
        brisk.send(*events("LATE", 30))
        eventually(lambda: brisk.states().get("held", 0) >= 55, "held")
        asked = len(times(brisk))
        eventually(lambda: len(times(brisk)) == asked + 2, "two probes")
        probed = times(brisk)[asked - 1 :]
        assert min(later - sooner for sooner, later in pairwise(probed)) >= wait_s - 0.1, "and nobody between them"
        control.heal("crowdtwist")
        eventually(lambda: brisk.states() == {"completed": 65}, "all through by itself")


def test_one_member_alone_that_is_asked_to_wait_silences_the_others_once(brisk: Pipeline) -> None:
    """It may be all of us who are asked; when others have been served since, it is this member."""
    brisk.settings["MEMBERSYNC_CROWDTWIST__RETRY_BASE_S"] = "2"  # it comes back up to so much after the others
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        control.fault("crowdtwist", "throttle", retry_after=2, member=["BAD-0"])
        brisk.send(*events("BAD", 1))
        eventually(lambda: attempts_of(brisk, "BAD") == 1, "asked to wait")
        brisk.send(*events("NEW", 3))
        eventually(lambda: brisk.states().get("completed", 0) == 8, "the others through")
        eventually(lambda: brisk.sql("select suspect from instance where member_number = 'BAD-0'") == [True], "named")
        waits = "select wait_until from connection where name = 'crowdtwist'"
        known = attempts_of(brisk, "BAD")
        eventually(lambda: attempts_of(brisk, "BAD") > known, "asked to wait again, maybe on its way as it was named")
        before = brisk.sql(waits)
        eventually(lambda: attempts_of(brisk, "BAD") > known + 1, "and again")
        assert brisk.sql(waits) in (before, [None])


def test_members_that_are_asked_to_wait_again_and_again_are_suspects_and_the_others_go_on(brisk: Pipeline) -> None:
    control = brisk.sandbox.control
    with brisk.whole():
        served(brisk)
        control.fault("crowdtwist", "throttle", retry_after=1, member=[f"BAD-{index}" for index in range(12)])
        brisk.send(*events("BAD", 12))
        eventually(lambda: attempts_of(brisk, "BAD") >= 1, "asked to wait")
        for minute in range(1, 4):
            brisk.send(*events("NEW", 10, minute))
            eventually(lambda: brisk.states().get("completed", 0) == 5 + 10 * minute, "the others through", 60)  # noqa: B023
        eventually(lambda: attempts_of(brisk, "BAD") >= 4, "asked again and again")
        named = "select count(*) from instance where suspect and member_number like 'BAD%'"
        eventually(lambda: brisk.sql(named) == [12], "all of them named")
        assert brisk.sql(OPENED)[0] <= 1


def times(pipeline: Pipeline) -> list[float]:
    """Return when CrowdTwist was called, oldest first."""
    return sorted(call["at"] for call in pipeline.sandbox.control.calls("crowdtwist", limit=1000))


def test_suspects_are_named_where_operators_look(brisk: Pipeline) -> None:
    with brisk.whole():
        served(brisk)
        brisk.sandbox.control.fault("crowdtwist", "status", status=500, member=["BAD-0", "BAD-1"])
        brisk.send(*events("BAD", 2), *events("NEW", 5))
        eventually(lambda: brisk.sql("select count(*) from instance where suspect") == [2], "both named")
    with brisk.ledger.connect() as tx:
        standing = {one.name: one.suspects for one in connections.connections(tx, {})}
        assert standing == {"oic": 0, "crowdtwist": 2, "siebel": 0}
        (bad,) = brisk.sql("select id from instance where member_number = 'BAD-0'")
        shown = views.instance(tx, bad)
    assert shown is not None
    assert shown.suspect
    assert any(line.code == "suspect" for line in shown.activity)

"""A broken lookup row: a flood of one Data Error is held instead of told, released once it is mended, or condemned."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Engine

from producers.operations import guard_control
from producers.operations.job_control import AskError, Operator
from shared.errors import DataError
from shared.ledger import connections, guards
from shared.ledger.engine import transaction
from shared.ledger.transitions import outages
from shared.pipeline import Lane, Stage
from shared.settings import settings
from tests.flooding import BROKEN, TOLD, Flood, hold_of, numbers
from tests.inside import travel
from tests.rig import DISPATCHER, Pipeline, eventually, member_event

ANN = Operator("ann", "operator")
MANY = 500


def held(ledger: Engine) -> int:
    with transaction(ledger) as tx:
        return sum(one.held for one in guards.holds(tx, limit=10).items)


@contextmanager
def two_of_each(pipeline: Pipeline) -> Iterator[None]:
    """Run two dispatchers and two workers."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(pipeline.process(*DISPATCHER))
        for name in ("w1", "w2"):
            stack.enter_context(pipeline.worker(name))
        yield


def test_a_broken_lookup_row_tells_few_and_heals_all_once_mended(pipeline: Pipeline) -> None:
    pipeline.settings |= {"MEMBERSYNC_OIC__DEFAULT_POSTAL_CODE": "nowhere"}
    bad = [member_event(f"BAD-{index}", postal_code="") for index in range(MANY)]
    good = [member_event(f"GOOD-{index}") for index in range(MANY)]
    with two_of_each(pipeline):
        pipeline.send(*(event for both in zip(bad, good, strict=True) for event in both))
        eventually(
            lambda: pipeline.states().get("completed", 0) == MANY and held(pipeline.ledger) >= MANY - 60,
            "good members pass, bad ones are held",
        )
        eventually(lambda: pipeline.states().keys() == {"completed", "held", "rejected"}, "nothing is on its way")
        told = pipeline.sql(TOLD)[0]
        assert told <= 60, "little more than the threshold"
        assert hold_of(pipeline.ledger).held == MANY - told
    pipeline.settings |= {"MEMBERSYNC_OIC__DEFAULT_POSTAL_CODE": "10010"}  # mended: all are started again
    with two_of_each(pipeline):
        (changed,) = pipeline.sql("select member_number from instance where state = 'held' limit 1")
        pipeline.send(member_event(changed, 1, postal_code="10011"))  # what is newer needs no release
        done = guard_control.release(pipeline.ledger, ANN, int(hold_of(pipeline.ledger).id), "the row is mended")
        assert done is not None
        assert done.changed
        eventually(lambda: hold_of(pipeline.ledger).state == "released", "released")
        eventually(lambda: pipeline.states().get("completed", 0) == 2 * MANY - told, "all are healed")
    assert pipeline.sql(TOLD) == [told]
    assert pipeline.sql("select who, what, reason from operator_action") == [
        ("ann", "release guard", "the row is mended")
    ]
    users = {user["third_party_id"]: user["postal_code"] for user in pipeline.sandbox.control.users()}
    assert users[changed] == "10011"


def test_half_of_all_with_data_errors_of_their_own_hold_nobody(flood: Flood) -> None:
    for index in range(60):
        word = f"{chr(97 + index % 26)}{chr(97 + index // 26)}"
        flood.send(f"M-{index}", error=DataError("CrowdTwist", f"The {word} of it is wrong", 400))
    flood.send(*numbers(60, "GOOD"))
    assert guards.holds(flood.ledger.connect(), limit=1).items == []
    assert flood.told() == 60


def test_a_fifth_of_what_went_out_is_no_flood_and_more_is(flood: Flood) -> None:
    flood.send(*numbers(300, "GOOD"))
    flood.send(*numbers(60), error=BROKEN)
    assert flood.told() == 60
    flood.send(*numbers(25, "N"), error=BROKEN)
    assert (flood.told(), flood.hold.held, flood.hold.alike, flood.hold.went_out) == (60, 25, 85, 385)


def test_one_member_that_is_refused_again_and_again_holds_nobody(flood: Flood) -> None:
    for minute in range(60):
        flood.send("M-1", minute=minute, error=BROKEN)
    assert flood.told() == 1
    assert flood.road.states() == {"rejected": 60}


def test_released_before_it_is_mended_one_is_tried_and_nobody_is_told(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    done = guard_control.release(flood.ledger, ANN, int(flood.hold.id), "is it?")
    flood.travel()
    assert done is not None
    assert (flood.hold.state, flood.hold.held, flood.told()) == ("holding", 60, 0)
    assert flood.hold.answer == "job 1: 1 of 1 failed again"


def test_while_it_is_released_those_who_meet_it_are_held_again_and_the_others_go_on(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    flood.refused = dict.fromkeys(numbers(60)[50:], BROKEN)
    guard_control.release(flood.ledger, ANN, int(flood.hold.id), "most are mended")
    flood.travel()
    assert (flood.hold.state, flood.hold.held, flood.told()) == ("holding", 10, 0)
    assert flood.road.states() == {"completed": 50, "held": 10}


def test_condemned_they_are_told_and_so_is_who_meets_it_afterwards(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    assert flood.told() == 0
    done = guard_control.discard(flood.ledger, ANN, int(flood.hold.id), "they are bad indeed")
    flood.travel()
    assert done is not None
    assert (done.answer, done.hold.state) == (
        "condemned: its members are Data Errors, and Siebel is told",
        "discarding",
    )
    assert (flood.hold.state, flood.hold.held, flood.told()) == ("discarded", 0, 60)
    assert flood.road.sql("select distinct state, status, code, failed_stage, error from instance") == [
        ("rejected", "Data Error", "data_error", "crowdtwist", BROKEN.what)
    ]
    flood.send(*numbers(60, "N"), error=BROKEN)
    assert flood.told() == 120
    assert flood.hold.state == "discarded"


def test_what_is_over_cannot_be_decided_again_and_a_reason_is_needed(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    hold_id = int(flood.hold.id)
    with pytest.raises(AskError, match="reason"):
        guard_control.release(flood.ledger, ANN, hold_id, "  ")
    guard_control.discard(flood.ledger, ANN, hold_id, "bad")
    flood.travel()
    for decide in (guard_control.release, guard_control.discard):
        again = decide(flood.ledger, ANN, hold_id, "again")
        assert again is not None
        assert (again.changed, again.answer) == (False, "refused: it is discarded")
    assert guard_control.release(flood.ledger, ANN, 99, "none") is None


def test_condemned_in_the_middle_of_a_release_what_is_not_out_is_told(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    flood.refused = {}
    guard_control.release(flood.ledger, ANN, int(flood.hold.id), "mended")
    flood.road.turn()
    travel(flood.ledger)
    guard_control.discard(flood.ledger, ANN, int(flood.hold.id), "no: they are bad")
    flood.travel()
    assert flood.hold.state == "discarded"
    assert flood.road.states() == {"completed": 1, "rejected": 59}


def test_a_newer_event_of_a_held_member_goes_its_own_way(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    del flood.refused["M-7"]
    flood.send("M-7", "M-8", minute=5)
    assert flood.road.states() == {"completed": 1, "held": 59, "superseded": 2}
    flood.refused = {}
    guard_control.release(flood.ledger, ANN, int(flood.hold.id), "mended")
    flood.travel()
    assert flood.road.states() == {"completed": 60, "superseded": 2}
    assert (flood.hold.state, flood.told()) == ("released", 0)


def test_a_connection_that_is_paused_and_resumed_lets_go_nobody_of_a_guard(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    with transaction(flood.ledger) as tx:
        for lane in Lane:
            assert outages.release(tx, Stage.CROWDTWIST, lane, limit=100) == 0
        assert connections.connections(tx, {})[1].held == 0
    assert flood.hold.held == 60


def test_nobody_comes_so_one_is_tried_and_the_rest_follow_when_it_is_mended(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    flood.road.sql("update guard_hold set try_at = now()")
    flood.travel()
    assert (flood.hold.state, flood.hold.held, flood.hold.tries, flood.told()) == ("holding", 60, 1, 0)
    flood.refused = {}
    flood.road.sql("update guard_hold set try_at = now()")
    flood.travel()
    assert flood.hold.state == "released"
    assert flood.road.states() == {"completed": 60}
    assert flood.road.sql("select distinct who from operator_action") == ["membersync"]


def test_nobody_ever_comes_so_they_are_told_in_the_end(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    flood.road.sql("update guard_hold set opened_at = now() - interval '25 h'")
    flood.travel()
    assert (flood.hold.state, flood.hold.reason, flood.told()) == ("discarded", "nobody decided in time", 60)


def test_switched_off_nobody_is_held_and_who_was_is_told(flood: Flood, monkeypatch: pytest.MonkeyPatch) -> None:
    flood.send(*numbers(60), error=BROKEN)
    assert flood.hold.held == 60
    monkeypatch.setenv("MEMBERSYNC_GUARD__SAME_ERROR_COUNT", "0")
    settings.cache_clear()
    flood.send(*numbers(60, "N"), error=BROKEN)
    flood.travel(settings().guard.flood_rules)
    assert (flood.hold.state, flood.told()) == ("discarded", 120)

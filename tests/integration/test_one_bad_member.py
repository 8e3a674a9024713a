"""One bad member among thirty good ones: whatever it does at a stage, to the ledger or to the worker, is its own."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.instances import Call, Done, Failed, Result, Work
from shared.ledger.transitions import attempts, claims
from shared.ledger.transitions.claims import Claimed
from shared.lifecycle.verdicts import after_loss
from shared.pipeline import Lane, Stage
from tests.inside import MadeUp, travel, well, worker
from tests.road import REFUSED, Road
from tests.unpacking import unpack_events

GOOD = [f"M-{index}" for index in range(30)]
BAD = "M-bad"
MEMBERS = [*GOOD[:13], BAD, *GOOD[13:]]
DEEP: Any = "x"
for _ in range(300):
    DEEP = [DEEP]


def called(response: object) -> tuple[Call, ...]:
    return (Call("PUT", "/v2/users/M-bad", 200, 1.0, None, response),)


def buggy(_: Work) -> Result:
    raise TypeError("'int' object is not iterable")


CANNOT_BE_KEPT: dict[str, tuple[Stage, Callable[[Work], Result]]] = {
    "a user beyond JSON's integers": (Stage.OIC, lambda work: well(Stage.OIC, work, user={"city_id": 10**30})),
    "a user nested too deep": (Stage.OIC, lambda work: well(Stage.OIC, work, user={"x": DEEP})),
    "a user with half a character": (Stage.OIC, lambda work: well(Stage.OIC, work, user={"x": "\ud83d"})),
    "a user that is no object": (Stage.OIC, lambda work: well(Stage.OIC, work, user={1, 2})),
    "an id beyond the ledger's": (Stage.CROWDTWIST, lambda work: well(Stage.CROWDTWIST, work, ct_user_id=2**64 - 1)),
    "an id beyond JSON's": (Stage.CROWDTWIST, lambda work: well(Stage.CROWDTWIST, work, ct_user_id=2**80)),
    "an id that is no number": (Stage.CROWDTWIST, lambda work: well(Stage.CROWDTWIST, work, ct_user_id="many")),
    "a ROW_ID with half a character": (Stage.SIEBEL, lambda work: well(Stage.SIEBEL, work, row_id="\ud83d")),
    "a bug at oic": (Stage.OIC, buggy),
    "a bug at crowdtwist": (Stage.CROWDTWIST, buggy),
    "a bug at siebel": (Stage.SIEBEL, buggy),
    "an error that cannot be told": (Stage.CROWDTWIST, lambda _: Failed("no error at all")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", CANNOT_BE_KEPT)
def test_what_cannot_be_kept_of_one_is_its_own_dead_letter(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    road = Road(ledger)
    road.accept(*MEMBERS)
    stage, bad = CANNOT_BE_KEPT[kind]
    made_up = MadeUp(lambda work: bad(work) if work.member_number == BAD else well(stage, work))
    with worker(ledger_url, monkeypatch, {stage: made_up}):
        travel(ledger)
    assert road.sql(f"select count(*) from instance where state = 'completed' and member_number <> '{BAD}'") == [30]
    assert road.sql("select member_number, state, code, failed_stage from instance where state <> 'completed'") == [
        (BAD, "dead", "bug", str(stage))
    ]


@pytest.mark.parametrize("response", [DEEP, 10**30, {"what": "\ud83d"}, {"n": {1, 2}}, {"nul": "\0"}])
@pytest.mark.parametrize("fate", ["well", "refused"])
def test_a_record_of_calls_that_cannot_be_kept_changes_no_outcome(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch, response: object, fate: str
) -> None:
    def one(work: Work) -> Result:
        calls = called(response if work.member_number == BAD else {"id": 1})
        if fate == "refused" and work.member_number == BAD:
            return Failed(REFUSED, calls=calls)
        return Done("done", {"ct_user_id": 42}, calls)

    road = Road(ledger)
    road.accept(*MEMBERS)
    with worker(ledger_url, monkeypatch, {Stage.CROWDTWIST: MadeUp(one)}):
        travel(ledger)
    ended = ("completed", "Success") if fate == "well" else ("rejected", "Data Error")
    assert road.sql(f"select state, status from instance where member_number = '{BAD}'") == [ended]
    assert road.sql(f"select count(*) from instance where state = 'completed' and member_number <> '{BAD}'") == [30]


def test_an_event_that_cannot_be_read_back_from_the_ledger_is_its_own_dead_letter(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road(ledger)
    road.accept(*MEMBERS)
    unpack_events(ledger)
    nested = "[" * 1500 + "]" * 1500
    with ledger.begin() as tx:
        tx.execute(
            text("""update payload
                    set event_json = jsonb_set(cast(event_json as jsonb), '{extra}', cast(:nested as jsonb))
                    where instance_id = (select id from instance where member_number = :bad)"""),
            {"nested": nested, "bad": BAD},
        )
    with worker(ledger_url, monkeypatch, {}):
        travel(ledger)
    assert road.states() == {"completed": 30, "dead": 1}
    assert road.sql("select member_number, code, failed_stage from instance where state = 'dead'") == [
        (BAD, "bug", "oic")
    ]


def test_a_bug_of_one_costs_the_others_of_its_group_one_more_try_and_no_more(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road(ledger)
    road.accept(*MEMBERS)
    made_up = MadeUp(lambda work: buggy(work) if work.member_number == BAD else well(Stage.SIEBEL, work))
    with worker(ledger_url, monkeypatch, {Stage.SIEBEL: made_up}):
        travel(ledger)
    assert made_up.runs == 1 + len(MEMBERS)


def lose(road: Road, killer: str) -> None:
    """Let each batch that has *killer* in it lose its worker; all others are well."""
    with road.ledger.begin() as tx:
        limits = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 1000)
        claimed = claims.claim(tx, limits, token=7, lease_s=60)
    for (_, start), some in claimed.items():
        for batch in batches(some):
            for stage in start.rest:
                with road.ledger.begin() as tx:
                    works = attempts.begin(tx, stage, [one.instance_id for one in batch], lease_s=60).works
                if any(one.member_number == killer for one in batch):
                    break
                road.conclude(stage, works)
    road.sql("update instance set lease_until = now() - interval '1 s' where state = 'running'")
    with road.ledger.begin() as tx:
        for one in claims.expired(tx, limit=1000):
            attempts.finish(tx, one.stage, [after_loss(one, losses_max=3)], attempts.Terms(60, 60, 60))


def batches(some: list[Claimed]) -> list[list[Claimed]]:
    apart = [[one] for one in some if one.apart]
    return [*([[one for one in some if not one.apart]] if len(apart) < len(some) else []), *apart]


def test_a_member_that_kills_its_workers_is_counted_alone(ledger: Engine) -> None:
    road = Road(ledger)
    road.accept(*MEMBERS)
    lose(road, BAD)
    assert road.sql("select distinct state, losses, apart from instance") == [("pending", 0, True)]
    for _ in range(3):
        lose(road, BAD)
    assert road.states() == {"completed": 30, "dead": 1}
    assert road.sql("select member_number, code, losses from instance where state = 'dead'") == [
        (BAD, "worker_lost", 3)
    ]
    assert road.sql("select distinct losses, apart from instance where state = 'completed'") == [(0, False)]

"""However documents are kept, as jsonb, as they come or packed, they are sent, shown and sent again alike."""

from dataclasses import asdict

import pytest
from sqlalchemy import Engine, text

from shared.errors import StageError
from shared.instances import Call, Done, Failed, Work
from shared.ledger import people, views
from shared.ledger.records import ActivityLine
from shared.ledger.transitions import attempts
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Rules, conclude
from shared.pipeline import Stage
from tests.road import OUTAGE, REFUSED, Road
from tests.unpacking import unpack_events

OLDER = """
    update payload set event = cast(event_json as jsonb), event_json = null;
    update mapping set user_object = cast(user_json as jsonb), user_json = null;
    update activity set calls = cast(calls_json as jsonb), calls_json = null;
"""


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def older(road: Road) -> None:
    """Have every document as it was kept first."""
    unpack_events(road.ledger)
    road.sql(OLDER)


def begun(road: Road, stage: Stage) -> Work:
    """Begin the first instance at *stage*, whatever has become of it."""
    road.sql(f"""update instance set state = 'running', stage = '{stage}', token = 7, begun = false, finished_at = null,
                                     status = null, lease_until = now() + interval '1 minute' where id = 1""")
    with road.ledger.begin() as tx:
        (work,) = attempts.begin(tx, stage, [1], lease_s=60).works
    return work


@pytest.mark.parametrize("stage", Stage)
def test_each_stage_is_handed_the_same(road: Road, stage: Stage) -> None:
    road.accept("M-1")
    road.travel()
    now = begun(road, stage)
    assert road.sql("select event_packed is not null and event_json is null from payload") == [True]
    unpack_events(road.ledger)
    before = begun(road, stage)
    road.sql(OLDER)
    then = begun(road, stage)
    assert now.event["member"]["member_number"] == "M-1"
    assert (then.event, then.user) == (before.event, before.user) == (now.event, now.user)


def test_people_see_the_same(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.sql("""update activity set calls_json = '[{"method": "PUT", "url": "/v2/users/M-1"}]' where stage = 'oic'""")

    def seen() -> tuple[object, ...]:
        with road.ledger.begin() as tx:
            (carried,) = people.carried(tx, [1])
            return views.instance(tx, 1), carried, people.of_late(tx, limit=1)

    now = seen()
    older(road)
    assert road.sql("select count(*) from activity where calls_json is not null") == [0]
    assert seen() == now


CALL = Call("PUT", "/v2/users/M-1", 200, 12.5, {"first_name": "A***"}, {"id": 42})


def called(road: Road, error: StageError | None = None, *calls: Call) -> list[tuple[object, ...]]:
    """Take M-1 through CrowdTwist with *calls*; return the columns of that line."""
    road.accept("M-1")
    work = begun(road, Stage.CROWDTWIST)
    result = Failed(error, calls=calls) if error else Done("done", {}, calls, 12.5)
    rules = Rules(Stage.CROWDTWIST, RetryPolicy(100, 1000, 1), report_after_s=300, jitter=0.5, carried=True)
    terms = attempts.Terms(60, 0, 0, task_id="0b0e4b6e-91de-4bcf-8d4e-6b7e4f3b7c11")
    with road.ledger.begin() as tx:
        assert attempts.finish(tx, Stage.CROWDTWIST, [conclude(work, result, rules)], terms) == 1
    return road.sql("select calls_json, calls_packed is not null, task_id from activity where stage is not null")


def shown(road: Road) -> ActivityLine:
    with road.ledger.begin() as tx:
        return views.activity(tx, [1])[1][-1]


def test_a_call_that_succeeded_is_kept_packed_and_shown_whole(road: Road) -> None:
    assert called(road, None, CALL) == [([{"method": "PUT", "http_status": 200}], True, None)]
    assert shown(road).calls == [asdict(CALL)]
    assert shown(road).task_id == "0b0e4b6e-91de-4bcf-8d4e-6b7e4f3b7c11"
    road.sql("update activity set task_id = cast(task_uuid as text), task_uuid = null")
    assert shown(road).task_id == "0b0e4b6e-91de-4bcf-8d4e-6b7e4f3b7c11"


@pytest.mark.parametrize("error", [REFUSED, OUTAGE])
def test_what_others_may_be_named_in_can_be_searched(road: Road, error: StageError) -> None:
    assert called(road, error, CALL) == [([asdict(CALL)], False, None)]
    assert shown(road).calls == [asdict(CALL)]


def test_who_is_mapped_anew_has_one_user(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.sql(OLDER)
    with road.ledger.begin() as tx:
        tx.execute(
            text("""update instance set state = 'pending', stage = 'oic', due_stage = 'oic', finished_at = null,
                                               status = null""")
        )
    road.travel()
    ((old, new),) = road.sql("select user_object, user_json from mapping")
    assert old is None
    assert new["third_party_id"] == "M-1"

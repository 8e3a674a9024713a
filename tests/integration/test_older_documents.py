"""What was written as jsonb, before documents were kept as they come, is sent, shown and sent again like the rest."""

import pytest
from sqlalchemy import Engine, text

from shared.instances import Work
from shared.ledger import people, views
from shared.ledger.transitions import attempts
from shared.pipeline import Stage
from tests.road import Road

OLDER = """
    update payload set event = cast(event_json as jsonb), event_json = null;
    update mapping set user_object = cast(user_json as jsonb), user_json = null;
    update activity set calls = cast(calls_json as jsonb), calls_json = null;
"""


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


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
    road.sql(OLDER)
    then = begun(road, stage)
    assert now.event["member"]["member_number"] == "M-1"
    assert (then.event, then.user) == (now.event, now.user)


def test_people_see_the_same(road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.sql("""update activity set calls_json = '[{"method": "PUT", "url": "/v2/users/M-1"}]' where stage = 'oic'""")

    def seen() -> tuple[object, ...]:
        with road.ledger.begin() as tx:
            (carried,) = people.carried(tx, [1])
            return views.instance(tx, 1), carried, people.of_late(tx, limit=1)

    now = seen()
    road.sql(OLDER)
    assert road.sql("select count(*) from activity where calls_json is not null") == [0]
    assert seen() == now


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

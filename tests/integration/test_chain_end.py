"""Where a chain ends and where it goes on: it carries on for whoever is further on, and ends when all stay behind."""

import traceback

import pytest
from celery.exceptions import Retry
from sqlalchemy import Engine

from shared.errors import DataError, StageError, UnavailableError
from shared.instances import Failed, Result, Work
from shared.ledger.transitions import claims
from shared.pipeline import Lane, Stage
from tests.inside import TASK, MadeUp, well, worker
from tests.road import REFUSED, Road
from workers.tasks import AllFailedError, Attempt, attempt

DOWN = UnavailableError("CrowdTwist", "answered 503", 503)
UNMAPPED = DataError("OIC", "Contact Last Name is missing")


def made_up(stage: Stage, **failing: StageError) -> MadeUp:
    """Make a stage at which the members of *failing* fail."""

    def one(work: Work) -> Result:
        error = failing.get(work.member_number)
        return well(stage, work) if error is None else Failed(error)

    return MadeUp(one)


def claim(road: Road) -> list[int]:
    with road.ledger.begin() as tx:
        limits = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 100)
        claimed = claims.claim(tx, limits, token=7, lease_s=60)
    return [one.instance_id for some in claimed.values() for one in some]


@pytest.mark.parametrize(
    ("at_oic", "at_crowdtwist", "ends"),
    [
        ({}, {"A": DOWN, "B": DOWN}, Retry),
        ({}, {"A": REFUSED, "B": REFUSED}, AllFailedError),
        ({}, {"A": REFUSED, "B": DOWN}, None),
        ({"A": UNMAPPED}, {"B": DOWN}, None),
        ({"A": UNMAPPED}, {"B": REFUSED}, None),
        ({"A": DOWN}, {"B": DOWN}, Retry),
        ({"A": DOWN}, {"B": REFUSED}, AllFailedError),
        ({}, {"A": DOWN}, None),
    ],
)
def test_a_chain_ends_when_all_stay_behind_and_goes_on_for_whoever_is_ahead(  # noqa: PLR0913, PLR0917
    ledger: Engine,
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
    at_oic: dict[str, StageError],
    at_crowdtwist: dict[str, StageError],
    ends: type[Exception] | None,
) -> None:
    road = Road(ledger)
    road.accept("A", "B")
    stages = {
        Stage.OIC: made_up(Stage.OIC, **at_oic),
        Stage.CROWDTWIST: made_up(Stage.CROWDTWIST, **at_crowdtwist),
    }
    with worker(ledger_url, monkeypatch, stages):
        ids = claim(road)
        attempt(TASK, Stage.OIC, ids)
        if ends is not None:
            with pytest.raises(ends) as ended:
                attempt(TASK, Stage.CROWDTWIST, ids)
            held = {type(one) for frame, _ in traceback.walk_tb(ended.tb) for one in frame.f_locals.values()}
            assert Attempt not in held, "Celery keeps the error: no member may stay with it"
            assert road.sql("select count(*) from instance where state = 'running'") == [0]
        else:
            attempt(TASK, Stage.CROWDTWIST, ids)
            assert road.sql("select count(*) from instance where state = 'running'") != [0]
            attempt(TASK, Stage.SIEBEL, ids)
            assert road.sql("select count(*) from instance where state = 'running'") == [0]


def test_a_message_that_finds_nobody_passes_on(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road(ledger)
    road.accept("A", "B")
    with worker(ledger_url, monkeypatch, {}):
        ids = claim(road)
        attempt(TASK, Stage.OIC, ids)
        assert attempt(TASK, Stage.OIC, ids) == {}

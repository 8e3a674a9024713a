"""An attempt that was held up beyond its lease sends nothing, and costs nothing."""

import threading
from collections.abc import Sequence

import pytest

from deploy.sandbox.server import RunningSandbox
from shared.instances import Result, Work
from shared.pipeline import Stage
from shared.settings import settings
from shared.systems.permits import MARGIN_S
from tests.inside import MadeUp, travel, worker
from tests.road import Road
from workers.stages import Runner, build_one

LEASE_S = 5.3
BEYOND_S = LEASE_S - MARGIN_S + 0.2


class HeldUp(MadeUp):
    """The real crowdtwist stage, which does nothing at all for a while before its first call: frozen, as it were."""

    def __init__(self, for_s: float) -> None:
        super().__init__(lambda _work: pytest.fail("not asked"), group=1)
        self._for_s = for_s
        self._real: Runner | None = None

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        if self._real is None:
            self._real = build_one(Stage.CROWDTWIST, settings())
            threading.Event().wait(self._for_s)
        return await self._real.run(works)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, running_simulators: RunningSandbox) -> RunningSandbox:
    """Short leases; the shortest that the settings allow."""
    running_simulators.control.reset()
    monkeypatch.setenv("MEMBERSYNC_CROWDTWIST__BASE_URL", running_simulators.crowdtwist)
    monkeypatch.setenv("MEMBERSYNC_CROWDTWIST__API_KEY", "sandbox-key")
    monkeypatch.setenv("MEMBERSYNC_DISPATCHER__LEASE_S", str(LEASE_S))
    for stage in Stage:
        monkeypatch.setenv(f"MEMBERSYNC_{stage.upper()}__TIMEOUT_S", "0.3")
    return running_simulators


@pytest.mark.parametrize(("for_s", "calls"), [(0.0, 1), (BEYOND_S, 0)])
def test_who_wakes_after_the_lease_sends_nothing_and_is_due_again(
    road: Road, monkeypatch: pytest.MonkeyPatch, hasty: RunningSandbox, for_s: float, calls: int
) -> None:
    road.accept("M-1")
    ledger_url = road.ledger.url.render_as_string(hide_password=False)
    with worker(ledger_url, monkeypatch, {Stage.CROWDTWIST: HeldUp(for_s)}):
        travel(road.ledger)
    assert hasty.control.state("crowdtwist")["posts"] == calls
    if not calls:
        assert road.sql("select state, stage, attempt, losses from instance") == [("pending", "crowdtwist", 0, 0)]
        assert road.sql("select breaker, failures from connection where name = 'crowdtwist'") == [("closed", 0)]

"""The stages: each knows one outside system and nothing of Celery, SQL or the others.

A stage answers each `Work` with one `Result`, in order.  What can be expected to fail is a `Failed` with the error that
says what to do; only a bug is raised.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.instances import Result, Work
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.crowdtwist.client import Client as CrowdTwist
from shared.systems.oic.client import Client as Oic
from shared.systems.permits import Permits
from shared.systems.siebel.client import Client as Siebel
from workers.stages import crowdtwist, oic, siebel


class Runner(Protocol):
    """A stage: up to *group* instances share one `run`."""

    group: int

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Try each."""

    async def test(self) -> None:
        """Test the connection.

        Raises:
            StageError: what is wrong with it.
        """

    async def close(self) -> None:
        """Give the connections back."""


def build(settings: Settings, permits: Mapping[Stage, Permits]) -> dict[Stage, Runner]:
    """Open the three connections.  For one process and one event loop; nothing is called yet."""
    return {stage: build_one(stage, settings, permits.get(stage)) for stage in Stage}


def build_one(stage: Stage, settings: Settings, permits: Permits | None = None) -> Runner:
    """Open the connection of *stage*; *permits* is its budget, None: it has no limit."""
    at_once = settings.worker.calls_in_flight
    match stage:
        case Stage.OIC if settings.oic.mode == "builtin":
            return oic.BuiltinOic(settings.oic)
        case Stage.OIC:
            return oic.RemoteOic(Oic(settings.oic, settings.siebel, at_once, permits))
        case Stage.CROWDTWIST:
            return crowdtwist.CrowdTwist(CrowdTwist(settings.crowdtwist, at_once, permits))
        case Stage.SIEBEL:
            return siebel.Siebel(Siebel(settings.siebel, at_once, permits), settings.siebel)

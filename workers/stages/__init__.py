"""The stages: the order in which an attempt makes its calls; each knows one client, and nothing of Celery or SQL.

A stage answers each `Work` with one `Result`, in order.  What can be expected to fail is a `Failed` with the error that
says what to do; only a bug is raised.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.instances import Result, Work
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.connect import open_client
from shared.systems.crowdtwist import CrowdTwist
from shared.systems.oic import Oic
from shared.systems.permits import Permits
from shared.systems.siebel import Siebel
from shared.systems.transport import Client
from workers.stages.crowdtwist import CrowdTwistStage
from workers.stages.oic import BuiltinOic, RemoteOic
from workers.stages.siebel import SiebelStage


class Runner(Protocol):
    """A stage: up to *group* instances share one `run`; *client* None: it reaches nothing outside."""

    group: int

    @property
    def client(self) -> Client | None:
        """The connection that is tested when this stage fails."""

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Try each; expected failures are results, only bugs are raised."""


def build(settings: Settings, permits: Mapping[Stage, Permits]) -> dict[Stage, Runner]:
    """Return the stages with their connections.  For one process and one event loop; nothing is called yet."""
    return {stage: build_one(stage, settings, permits.get(stage)) for stage in Stage}


def build_one(stage: Stage, settings: Settings, permits: Permits | None = None) -> Runner:
    """Return *stage* with its connection; *permits* is the budget of that, None: it has no limit."""
    match open_client(stage, settings, settings.worker.calls_in_flight, permits):
        case CrowdTwist() as client:
            return CrowdTwistStage(client, settings.oic.default_email)
        case Siebel() as client:
            return SiebelStage(client, settings.siebel)
        case Oic() as client:
            return RemoteOic(client)
        case None:
            return BuiltinOic(settings.oic)

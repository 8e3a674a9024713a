"""A worker's attempts inside the test's own process: the real ledger and attempt, stages that the test makes up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry
from sqlalchemy import Engine

from shared.instances import Done, Result, Work
from shared.ledger.transitions import claims
from shared.pipeline import Lane, Stage
from shared.settings import settings
from shared.systems.transport import Client
from workers.loop import CallLoop
from workers.tasks import AllFailedError, attempt, process

TASK: Any = SimpleNamespace(request=SimpleNamespace(id="T-1"))


@dataclass
class MadeUp:
    """A stage that does to each work what the test says, *group* at a time."""

    one: Callable[[Work], Result]
    group: int = 1000
    runs: int = 0
    client: Client | None = None
    """None: always up."""

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        self.runs += 1
        return [self.one(work) for work in works]


def well(stage: Stage, work: Work, **facts: Any) -> Done:  # noqa: ANN401 - facts are JSON
    """Return the good result of *stage*."""
    status = (work.status.value if work.status else "") if stage is Stage.SIEBEL else ""
    known: dict[Stage, dict[str, Any]] = {
        Stage.OIC: {"user": {"third_party_id": work.member_number}},
        Stage.CROWDTWIST: {"ct_user_id": 42},
        Stage.SIEBEL: {"row_id": "1-R", "told_status": status, "told_error": work.error},
    }
    return Done("done", known[stage] | facts)


@contextmanager
def worker(ledger_url: str, monkeypatch: pytest.MonkeyPatch, stages: Mapping[Stage, MadeUp]) -> Iterator[CallLoop]:
    """Make this process a worker with *stages*, all others well."""
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    settings.cache_clear()
    all_well = {stage: MadeUp(lambda work, stage=stage: well(stage, work)) for stage in Stage}  # type: ignore[misc]
    loop = CallLoop(lambda: all_well | dict(stages))
    monkeypatch.setattr(process, "loop", loop)
    try:
        yield loop
    finally:
        loop.close(5)
        settings.cache_clear()


def travel(ledger: Engine) -> None:
    """Claim what is due and take it through the stages, a batch for each queue."""
    limits = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 10_000)
    with ledger.begin() as tx:
        claimed = claims.claim(tx, limits, token=7, lease_s=60)
    for (_, start), some in claimed.items():
        for stage in start.rest:
            with suppress(Retry, AllFailedError):
                attempt(TASK, stage, [one.instance_id for one in some])

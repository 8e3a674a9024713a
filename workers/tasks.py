"""The three tasks and the one attempt they share.

1. *Read*, in one transaction: which of these ids are at this stage, unbegun; count the attempt; read their inputs.
2. *Call*, with no transaction open: all members of the batch at once.
3. *Write*, in one transaction: advanced, waiting, dead, with a line of activity each, fenced by token.

Who fails leaves the batch and is due again alone.  The task's own end only informs Flower: RETRY when its members all
wait, FAILURE when they all failed for good, else the counts by outcome.
"""

import random
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import Any

from celery import Task
from celery.exceptions import Retry

from shared.broker import app
from shared.instances import Errand, Failed
from shared.ledger import attempts
from shared.ledger.endings import Advanced, Ending, ErrandEnded, Parked
from shared.ledger.engine import engine, repeated, transaction
from shared.logs import logger
from shared.pipeline import Stage, State, SyncStatus
from shared.settings import Settings, settings
from workers.crew import Answer, Crew
from workers.verdicts import Rules, bug, conclude, is_data_error

log = logger(__name__)


class AllFailedError(Exception):
    """No member of the batch goes on; shown in Flower, e.g. `2 dead, 1 rejected`."""


class _Process:
    """What `workers.app` puts in place when a worker process starts."""

    crew: Crew | None = None


process = _Process()


@app.task(name=Stage.OIC.task, bind=True, throws=(AllFailedError,))
def oic_flow(task: "Task[..., Any]", ids: list[int]) -> dict[str, int]:
    """Stage 1 of 3: map the members to CrowdTwist users, here or in Oracle Integration."""
    return attempt(task, Stage.OIC, ids)


@app.task(name=Stage.CROWDTWIST.task, bind=True, throws=(AllFailedError,))
def crowdtwist_call(task: "Task[..., Any]", ids: list[int]) -> dict[str, int]:
    """Stage 2 of 3: create or update the members in CrowdTwist."""
    return attempt(task, Stage.CROWDTWIST, ids)


@app.task(name=Stage.SIEBEL.task, bind=True, throws=(AllFailedError,))
def siebel_result(task: "Task[..., Any]", ids: list[int]) -> dict[str, int]:
    """Stage 3 of 3: write the outcome on the members in Siebel."""
    return attempt(task, Stage.SIEBEL, ids)


def attempt(task: "Task[..., Any]", stage: Stage, ids: Sequence[int]) -> dict[str, int]:
    """Try one stage once for those of *ids* that are there; give the counts by outcome.

    Raises:
        celery.exceptions.Retry: all of them wait; the ledger has their time, nothing is published.
        AllFailedError: all of them failed for good.
    """
    if process.crew is None:
        raise RuntimeError("this process was not started as a worker")
    of = settings()
    with transaction(engine()) as connection:
        works = attempts.begin(connection, stage, ids, lease_s=of.dispatcher.lease_s)
    if not works:
        return {}
    task_id = str(task.request.id or "")
    answers = process.crew.run(
        stage, works, of.worker.patience_s, lambda late: _write(stage, late, of, task_id, carried=False)
    )
    carried = not all(is_data_error(result) for _, result in answers)
    endings = _write(stage, answers, of, task_id, carried=carried)
    return _tell_flower(endings, late=len(works) - len(answers))


def _write(stage: Stage, answers: Sequence[Answer], of: Settings, task_id: str, *, carried: bool) -> list[Ending]:
    """Conclude *answers* and write the endings."""
    endings = [_ending(stage, answer, of, carried=carried) for answer in answers]
    if endings:
        terms = attempts.Terms(of.dispatcher.unbegun_lease_s, of.crowdtwist.settle_s, task_id)
        written = repeated(lambda: _finish(stage, endings, terms))
        counts = Counter(_outcome(ending) for ending in endings)
        log.info(
            "attempt", stage=stage, task_id=task_id, instances=len(endings), overtaken=len(endings) - written, **counts
        )
    return endings


def _finish(stage: Stage, endings: Sequence[Ending], terms: attempts.Terms) -> int:
    with transaction(engine(), durable=False) as connection:
        return attempts.finish(connection, stage, endings, terms)


def _ending(stage: Stage, answer: Answer, of: Settings, *, carried: bool) -> Ending:
    work, result = answer
    if isinstance(result, BaseException):
        # Frames only: the message of a foreign exception may carry a member's data.
        frames = "".join(traceback.format_tb(result.__traceback__))
        log.error("bug", stage=stage, instance_id=work.instance_id, kind=type(result).__name__, frames=frames)
        return bug(work, result, stage)
    if isinstance(result, Failed):
        log.warning("failed", stage=stage, instance_id=work.instance_id, attempt=work.attempt, code=result.error.code)
    rules = Rules(
        stage=stage,
        policy=of.connection(stage).policy,
        report_after_s=of.siebel.report_after_s,
        jitter=random.random(),  # noqa: S311  # spreads retries, guards nothing
        carried=carried,
    )
    return conclude(work, result, rules)


def _outcome(ending: Ending) -> str:
    match ending:
        case Advanced(status=SyncStatus.DATA_ERROR):
            return "data_error"
        case Advanced():
            return "done"
        case Parked(state=state):
            return str(state)
        case ErrandEnded(errand=Errand.REPORT):
            return "reported"
        case ErrandEnded():
            return "read_back"


def _tell_flower(endings: Sequence[Ending], late: int) -> dict[str, int]:
    counts = Counter(_outcome(ending) for ending in endings)
    if late:
        counts["slow"] = late
    parked = [ending for ending in endings if isinstance(ending, Parked)]
    refused = [ending for ending in endings if isinstance(ending, Advanced) and ending.state is State.PENDING]
    if late or len(parked) + len(refused) < len(endings):
        return dict(counts)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    if any(ending.state is State.WAITING for ending in parked):
        soonest_s = min(ending.delay_s for ending in parked)
        raise Retry(f"{summary}; tried again in {soonest_s:.0f} s")
    raise AllFailedError(summary)

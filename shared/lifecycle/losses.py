"""What becomes of an instance whose worker fell silent.  Pure."""

from dataclasses import dataclass

from shared.instances import Errand
from shared.lifecycle.endings import ErrandEnded, Line, Parked
from shared.pipeline import FAILURE_STATUS, Stage, State, SyncStatus


@dataclass(frozen=True, slots=True)
class Lost:
    """An instance whose lease ran out."""

    instance_id: int
    token: int
    member_number: str
    stage: Stage
    attempt: int
    begun: bool
    losses: int
    alone: bool
    errand: Errand
    status: SyncStatus | None


def after_loss(lost: Lost, *, losses_max: int) -> Parked | ErrandEnded:
    """Say what becomes of an instance whose lease ran out.

    One that no worker had begun costs nothing.  One that was begun in company is tried again alone: any of them may be
    at fault.  One that was begun alone counts a loss; the *losses_max*-th buries it, code `worker_lost`.  What it
    called for may have been applied, or may yet be.
    """
    if lost.errand is not Errand.SYNC:
        line = Line("the worker was lost on this errand" if lost.begun else "no worker took this errand in time")
        apart = lost.begun and not lost.alone
        return ErrandEnded(
            lost.instance_id,
            lost.token,
            lost.member_number,
            lost.errand,
            line,
            again_in_s=0.0,
            apart=apart,
            unsure=lost.begun,
        )
    if not lost.begun:
        return _due_again(lost, Line("no worker took it in time, due again"))
    if not lost.alone:
        return _due_again(lost, Line("the worker was lost with its whole batch, due again alone", "worker_lost"))
    if lost.losses + 1 < losses_max:
        return _due_again(lost, Line("the worker was lost, due again", "worker_lost"))
    what = f"the worker was lost {lost.losses + 1} times with it"
    return Parked(
        lost.instance_id,
        lost.token,
        lost.member_number,
        State.DEAD,
        lost.stage,
        lost.attempt,
        Line(what, "worker_lost"),
        status=FAILURE_STATUS.get(lost.stage),
        error=what,
        code="worker_lost",
        failed_stage=lost.stage,
        report_after_s=0.0 if lost.stage in FAILURE_STATUS else None,
        lost=True,
        unsure=lost.stage is not Stage.OIC,
    )


def _due_again(lost: Lost, line: Line) -> Parked:
    return Parked(
        lost.instance_id,
        lost.token,
        lost.member_number,
        State.PENDING,
        lost.stage,
        lost.attempt,
        line,
        lost=lost.begun and lost.alone,
        apart=lost.begun and not lost.alone,
        unsure=lost.begun and lost.stage is not Stage.OIC,
    )

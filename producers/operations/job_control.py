"""What operators can do to instances: plan, requeue, discard, stop, rehearse.  Used by the api and the command line.

Whatever changes something is recorded with who asked, in the transaction that does it; so is what was denied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producers.operations import rehearsal
from producers.operations.rehearsal import Rehearsal
from shared.ledger import causes
from shared.ledger.causes import Alike
from shared.ledger.engine import Ledger, Transaction, repeated, transaction
from shared.ledger.filters import Filter
from shared.ledger.jobs import ItemState, Job, JobPage, Kind, Plan, list_jobs, put_back, read_job
from shared.ledger.operators import Action, record
from shared.ledger.transitions import requeues
from shared.ledger.transitions.requeues import SELECTION_MAX, Order
from shared.logs import logger
from shared.masking import mask_text
from shared.settings import Settings

log = logger(__name__)

_IDS_FILED = 50


class AskError(ValueError):
    """Something is missing from what was asked; *field* names it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class ReasonError(AskError):
    """It is of more than one instance, as the ledger stands now, and nobody says why."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which instances are meant: *ids*, or else what matches *where*, of dead letters unless it names a state.

    Raises:
        AskError: it names neither, both, or a filter that lets everything through.
    """

    ids: tuple[int, ...] = ()
    where: Filter | None = None
    limit: int = SELECTION_MAX

    def __post_init__(self) -> None:
        if bool(self.ids) == (self.where is not None):
            raise AskError("ids", "give instance ids or a filter, one of them")
        if self.where is not None and self.where.is_empty:
            raise AskError("filter", "give instance ids, or at least one condition; state dead means every dead letter")
        if len(self.ids) > SELECTION_MAX:
            raise AskError("ids", f"are more than {SELECTION_MAX}")

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        if self.where is None:
            return {"ids": [str(one) for one in self.ids]}
        return {"filter": self.where.stored()}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Give the ids."""
        return self.ids if self.where is None else requeues.select(tx, self.where, limit=self.limit)


@dataclass(frozen=True, slots=True)
class Cause(Selection):
    """The instances of *where* that failed with this *message*, as `shared.ledger.causes` writes it."""

    message: str = ""

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        return {**super(Cause, self).asked, "message": mask_text(self.message)}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Return the ids."""
        return [] if self.where is None else causes.instances_of(tx, self.where, self.message)


@dataclass(frozen=True, slots=True)
class Rest(Selection):
    """What the job of *job_id* has put back when it was stopped; *where* lets dead letters and Data Errors pass."""

    job_id: int = 0

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        return {"job_id": str(self.job_id)}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Return the ids."""
        return put_back(tx, self.job_id)


@dataclass(frozen=True, slots=True)
class Ask:
    """A requeue or discard as somebody asks for it.  Units: *rate* instances per minute; None: as fast as it goes."""

    kind: Kind
    selection: Selection
    reason: str = ""
    rate: int | None = None
    from_start: bool = False
    force: bool = False


def plan(ledger: Ledger, ask: Ask, settings: Settings) -> Plan:
    """Say what would become of a selection; changes nothing."""
    with transaction(ledger) as tx:
        return _plan(tx, ask, ask.selection.pick(tx), settings)


def start(ledger: Ledger, operator: Operator, ask: Ask, settings: Settings) -> tuple[Plan, Job | None]:
    """Make the job; it goes on by itself from here.  No job: nothing matched, or all was refused.

    Raises:
        ReasonError: the reason is missing.
    """
    return repeated(lambda: _start(ledger, operator, ask, settings))


def stop(ledger: Ledger, operator: Operator, kind: Kind, job_id: int) -> bool:
    """Stop a job and put back what has not begun; False: there is none, or it is over."""

    def stopped() -> bool:
        with transaction(ledger) as tx:
            is_stopped = requeues.stop(tx, kind, job_id, f"stopped by {operator.name}")
            answer = "stopped" if is_stopped else "refused: no such job, or it is over"
            _record(tx, operator, f"stop {kind}", answer, asked={"job": str(job_id)})
        return is_stopped

    return repeated(stopped)


def progress(ledger: Ledger, kind: Kind | None, job_id: int) -> Job | None:
    """Say how far a job is; None: there is no such job."""
    with transaction(ledger) as tx:
        return read_job(tx, kind, job_id)


def failed_again(ledger: Ledger, job: Job) -> list[Alike]:
    """Count what failed again in *job* and is not put right since, the most first."""
    if not job.counts[ItemState.FAILED]:
        return []
    with transaction(ledger) as tx:
        return causes.failed_again(tx, int(job.job_id))


def jobs(ledger: Ledger, kind: Kind | None, *, limit: int, before: int | None = None) -> JobPage:
    """List jobs, newest first."""
    with transaction(ledger) as tx:
        return list_jobs(tx, kind, limit=limit, before=before)


def rehearse(ledger: Ledger, operator: Operator, selection: Selection, settings: Settings) -> list[Rehearsal]:
    """Say how what would be sent now differs from what failed.

    Raises:
        RehearsalError: today's mapping cannot be asked.
    """
    with transaction(ledger) as tx:
        ids = selection.pick(tx)
    found = rehearsal.rehearse(ledger, ids, settings)
    with transaction(ledger) as tx:
        _record(tx, operator, "rehearse", "shown", asked=selection.asked, count=len(found))
    return found


def deny(ledger: Ledger, operator: Operator, what: str, why: str, *, asked: Mapping[str, Any] | None = None) -> None:
    """Record what somebody was not allowed to do; *asked* what it would have been done to."""
    with transaction(ledger) as tx:
        record(tx, Action(operator.name, operator.role, what, why, asked=asked, denied=True))


def instances_asked(ids: Sequence[str]) -> dict[str, Any]:
    """Give the instances of an action as they are filed: the first 50, and how many there are beside them."""
    more = len(ids) - _IDS_FILED
    return {"ids": list(ids[:_IDS_FILED])} | ({"and_more": more} if more > 0 else {})


def _start(ledger: Ledger, operator: Operator, ask: Ask, settings: Settings) -> tuple[Plan, Job | None]:
    reason = mask_text(ask.reason.strip())
    with transaction(ledger) as tx:
        ids = ask.selection.pick(tx)
        planned = _plan(tx, ask, ids, settings)
        if not reason and (planned.touched > 1 or ask.kind is Kind.DISCARD):
            raise ReasonError("reason", "say why")
        order = Order(ask.kind, operator.name, reason, ask.selection.asked, ask.from_start, ask.force, ask.rate)
        job_id = requeues.create(tx, order, ids, resubmits_max=settings.requeue_max) if ids else None
        answer = "refused: nothing to do" if job_id is None else f"job {job_id}"
        touched = 0 if job_id is None else planned.touched
        _record(tx, operator, ask.kind, answer, reason=reason, asked=ask.selection.asked, count=touched)
        return planned, None if job_id is None else read_job(tx, ask.kind, job_id)


def _plan(tx: Transaction, ask: Ask, ids: Sequence[int], settings: Settings) -> Plan:
    return requeues.plan(tx, ask.kind, ids, resubmits_max=settings.requeue_max, forced=ask.force)


def _record(  # noqa: PLR0913  # one column each
    tx: Transaction,
    operator: Operator,
    what: str,
    answer: str,
    *,
    reason: str | None = None,
    asked: Mapping[str, Any] | None = None,
    count: int = 0,
) -> None:
    record(tx, Action(operator.name, operator.role, what, answer, reason, asked, count))

"""What operators can do to instances: plan, requeue, discard, undo, resend, stop, rehearse, send again; for all sides.

Whatever changes something is recorded with who asked, in the transaction that does it; so is what was denied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Literal

from producers.intake.accept import IntakeRules, Receipt, accept
from producers.operations.foretelling import foretold_job, foretold_plan
from shared.errors import DataError
from shared.events import parse_event
from shared.ledger import approvals, causes, people, reconciliations, views
from shared.ledger.approvals import Wanted
from shared.ledger.audit import Action, record
from shared.ledger.causes import Alike
from shared.ledger.engine import Ledger, Transaction, repeated, transaction
from shared.ledger.filters import Filter
from shared.ledger.jobs import ItemState, Job, JobPage, Kind, Plan, list_jobs, put_back, read_job
from shared.ledger.transitions import repairs, requeues, undos
from shared.ledger.transitions.job_turns import Caps
from shared.ledger.transitions.requeues import SELECTION_MAX, Order
from shared.masking import mask, mask_text
from shared.pipeline import Lane
from shared.settings import Settings
from shared.systems.oic import map_member

REHEARSED_MAX = 1_000
"""Instances of one rehearsal; who needs more has seen enough in these."""
SEND_AGAIN = "send again"
"""What the audit calls it."""
_ANY_SIZE = 2**31  # it was taken in once
_IDS_FILED = 50


class AskError(ValueError):
    """Something is missing from what was asked; *field* names it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    @classmethod
    def of(cls, error: ValueError) -> "AskError":
        """Return it for an *error* that says the field and what is wrong, as `filtering` does."""
        field, _, reason = str(error).partition(": ")
        return cls(field, reason)


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
            raise AskError(
                "filter", "give instance ids, or at least one condition; state `dead` alone means every dead letter"
            )
        if len(self.ids) > SELECTION_MAX:
            raise AskError("ids", f"are more than {SELECTION_MAX}")

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        if self.where is None:
            return {"ids": [str(one) for one in self.ids]}
        return {"filter": self.where.stored()}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Return the ids."""
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
    """A requeue, discard, undo, resend or repair as somebody asks for it.

    Units: *rate* instances per minute; None: as fast as it goes.  Shape: *recreate* of a resend: create again whom
    CrowdTwist created since then and does not have any more.
    """

    kind: Kind
    selection: Selection
    reason: str = ""
    rate: int | None = None
    from_start: bool = False
    force: bool = False
    recreate: bool = False

    @property
    def needs_reason(self) -> bool:
        """Whether it must be said why, however few it is about."""
        return self.kind is not Kind.REQUEUE


class RehearsalError(Exception):
    """Today's mapping cannot be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of the request that would differ.  Shape: values as they may be shown."""

    field: str
    change: Literal["added", "changed", "removed"]
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One instance: *outcome* `same`, `differs`, or `refused` with the *error* of today's mapping."""

    instance_id: str
    member_number: str
    outcome: Literal["same", "differs", "refused"]
    error: str
    changes: Sequence[Change]


def plan(ledger: Ledger, ask: Ask, settings: Settings) -> Plan:
    """Return what would become of a selection; changes nothing."""
    with transaction(ledger) as tx:
        planned = _plan(tx, ask, ask.selection.pick(tx), settings)
        return foretold_plan(tx, planned, settings, rate=ask.rate)


def start(ledger: Ledger, operator: Operator, ask: Ask, settings: Settings) -> tuple[Plan, Job | None]:
    """Make the job; it goes on by itself from here.  No job: nothing matched, or all was refused.

    Raises:
        ReasonError: the reason is missing.
    """
    reason = mask_text(ask.reason.strip())

    def started() -> tuple[Plan, Job | None]:
        with transaction(ledger) as tx:
            ids = ask.selection.pick(tx)
            planned = _plan(tx, ask, ids, settings)
            if not reason and (planned.touched > 1 or ask.needs_reason):
                raise ReasonError("reason", "say why")
            asked = ask.selection.asked
            above = settings.operations.approval_above
            awaits = 0 < above < planned.touched
            order = Order(
                ask.kind, operator.name, reason, asked, ask.from_start, ask.force, ask.rate, ask.recreate, awaits
            )
            caps, most = _caps(settings), settings.requeue_max
            job_id = requeues.create(tx, order, ids, resubmits_max=most, caps=caps) if ids else None
            answer = "refused: nothing to do" if job_id is None else f"job {job_id}"
            if awaits and job_id is not None:
                approval_id = approvals.ask(tx, Wanted(ask.kind, planned.touched, operator.name, reason, job_id=job_id))
                answer += f", which waits for a second person: approval {approval_id}"
            touched = 0 if job_id is None else planned.touched
            done_to = asked | {"force": True} if ask.force else asked
            record(tx, Action(operator.name, operator.role, ask.kind, answer, reason, done_to, touched))
            return planned, None if job_id is None else read_job(tx, ask.kind, job_id)

    return repeated(started)


def stop(ledger: Ledger, operator: Operator, kind: Kind, job_id: int) -> bool:
    """Stop a job and put back what has not begun; False: there is none, or it is over."""

    def stopped() -> bool:
        with transaction(ledger) as tx:
            is_stopped = requeues.stop(tx, kind, job_id, f"stopped by {operator.name}")
            answer = "stopped" if is_stopped else "refused: no such job, or it is over"
            record(tx, Action(operator.name, operator.role, f"stop {kind}", answer, asked={"job": str(job_id)}))
        return is_stopped

    return repeated(stopped)


def has_run(ledger: Ledger, run_id: int) -> bool:
    """Return whether there is such a reconciliation."""
    with transaction(ledger) as tx:
        return reconciliations.read_run(tx, run_id) is not None


def progress(ledger: Ledger, kind: Kind | None, job_id: int) -> Job | None:
    """Return how far a job is; None: there is no such job."""
    with transaction(ledger) as tx:
        return read_job(tx, kind, job_id)


def foreseen(ledger: Ledger, job: Job, settings: Settings) -> Job:
    """Return *job* with when it ends, as long as it goes on."""
    with transaction(ledger) as tx:
        return foretold_job(tx, job, settings)


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
    """Map the newest `REHEARSED_MAX` of a selection with today's settings; return how that differs from what failed.

    Raises:
        RehearsalError: the mapping runs in OIC.
    """
    if settings.oic.mode != "builtin":
        raise RehearsalError("the mapping runs in Oracle Integration (MEMBERSYNC_OIC__MODE=remote), not here")
    with transaction(ledger) as tx:
        carried = people.carried(tx, sorted(selection.pick(tx))[-REHEARSED_MAX:])
    found = []
    for one in carried:
        if one.event is None:
            continue
        number = str(one.instance_id)
        try:
            changes = compare(one.user or {}, map_member(one.event, settings.oic))
        except DataError as error:
            found.append(Rehearsal(number, one.member_number, "refused", error.what, []))
        else:
            found.append(Rehearsal(number, one.member_number, "differs" if changes else "same", "", changes))
    with transaction(ledger) as tx:
        record(tx, Action(operator.name, operator.role, "rehearse", "shown", None, selection.asked, len(found)))
    return found


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the fields in which two requests differ, null being none; masked.  Pure."""
    changes = []
    for field in sorted(before.keys() | after.keys()):
        old, new = before.get(field), after.get(field)
        if old != new:
            change: Literal["added", "changed", "removed"] = (
                "added" if old is None else "removed" if new is None else "changed"
            )
            changes.append(Change(field, change, mask({field: old})[field], mask({field: new})[field]))
    return changes


def send_again(ledger: Ledger, operator: Operator, number: str, reason: str, settings: Settings) -> Receipt:
    """Take the newest accepted event of a member in once more, as an event of its own; it is recorded.

    It has the version of the one that it repeats, so that whatever is newer goes before it.

    Raises:
        AskError: there is no such member, no event of it was to be sent, or nobody says why.
    """
    if not reason.strip():
        raise AskError("reason", "say why")
    with transaction(ledger) as tx:
        member = views.member(tx, number, limit=1)
        newest = int(member.newest_instance_id) if member and member.newest_instance_id else None
        found = None if newest is None else views.instance(tx, newest)
    if found is None or found.event is None:
        raise AskError("member", "no event of this member was to be sent so far")
    again = {**found.event, "event_id": f"again-{found.instance_id}-{token_hex(6)}", "force": True}
    event = parse_event(again, max_bytes=_ANY_SIZE)
    rules = IntakeRules.of(settings, Lane.LIVE)
    (receipt,) = accept(ledger, [(0, event)], rules)
    answer = f"instance {receipt.instance_id}" if receipt.instance_id else f"{receipt.outcome}: {receipt.reason}"
    asked = {"number": number, "instance_id": found.instance_id}
    with transaction(ledger) as tx:
        record(tx, Action(operator.name, operator.role, SEND_AGAIN, answer, mask_text(reason.strip()), asked, 1))
    return receipt


def deny(ledger: Ledger, operator: Operator, what: str, why: str, *, asked: Mapping[str, Any] | None = None) -> None:
    """Record what somebody was not allowed to do; *asked* what it would have been done to."""
    with transaction(ledger) as tx:
        record(tx, Action(operator.name, operator.role, what, why, asked=asked, denied=True))


def instances_asked(ids: Sequence[str]) -> dict[str, Any]:
    """Return the instances of an action as they are filed: the first 50, and how many there are beside them."""
    more = len(ids) - _IDS_FILED
    return {"ids": list(ids[:_IDS_FILED])} | ({"and_more": more} if more > 0 else {})


def _plan(tx: Transaction, ask: Ask, ids: Sequence[int], settings: Settings) -> Plan:
    if ask.kind is Kind.REPAIR:
        return repairs.plan(tx, ids, _caps(settings), forced=ask.force)
    if ask.kind is Kind.UNDO:
        return undos.plan(tx, ids, undo_s=settings.operations.undo_discard_s)
    return requeues.plan(tx, ask.kind, ids, resubmits_max=settings.requeue_max, forced=ask.force)


def _caps(settings: Settings) -> Caps:
    return Caps(*settings.reconcile.repair_caps, undo_s=settings.operations.undo_discard_s)

"""What a reader of the ledger gets: plain records in the words of the spec, as the CLI and the API show them.

Ids are text, because JSON readers lose digits of large numbers.  Instants are aware, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.ledger.approvals import Approval
from shared.ledger.guards import Hold
from shared.ledger.snapshots import SnapshotHolder
from shared.lifecycle.forecasts import LaneForecast
from shared.lifecycle.silence import Silence


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance without its payload.  Shape: *stage* where it stands, *failed_stage* where its trouble came from."""

    instance_id: str
    event_id: str
    member_number: str
    operation: str
    lane: str
    state: str
    stage: str
    attempt: int
    status: str | None
    error: str
    code: str | None
    failed_stage: str | None
    reason: str | None
    modification: int | None
    occurred_at: datetime
    accepted_at: datetime
    due_at: datetime | None
    failing_since: datetime | None
    finished_at: datetime | None
    resubmits: int
    suspect: bool = field(default=False, kw_only=True)
    """It failed at its stage while the system served others."""
    origin: str | None = field(default=None, kw_only=True)
    """Where its event comes from; None: a producer sent it."""
    held_by_guard: str | None = field(default=None, kw_only=True)
    """The hold of a guard that it waits for; None: of none."""


@dataclass(frozen=True, slots=True)
class ActivityLine:
    """One change of an instance.  Units: *took_ms* milliseconds.  Shape: *calls* as `shared.instances.Call`, masked."""

    at: datetime
    stage: str | None
    attempt: int | None
    state: str
    what: str
    code: str | None
    took_ms: float | None
    task_id: str | None
    calls: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """Instances, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[InstanceRecord]
    next: str | None


@dataclass(frozen=True, slots=True)
class InstanceWithActivity(InstanceRecord):
    """One instance and what happened to it."""

    activity: list[ActivityLine]


@dataclass(frozen=True, slots=True)
class InstanceDetail(InstanceWithActivity):
    """One instance with what happened to it and what it carries: the event as accepted, the CrowdTwist user of it.

    Shape: *trace_id* of the trace that its attempts are in; None: it is not traced.
    """

    event: Mapping[str, Any] | None
    user: Mapping[str, Any] | None
    oic_instance_id: str | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What we know of one member across all its events, and its instances, newest first."""

    member_number: str
    row_id: str | None
    ct_user_id: int | None
    known_in_crowdtwist: bool
    synced: bool
    newest_instance_id: str | None
    newest_modification: int | None
    newest_occurred_at: datetime | None
    applied_instance_id: str | None
    told_status: str | None
    told_error: str | None
    told_instance_id: str | None
    told_at: datetime | None
    instances: list[InstanceWithActivity]
    next: str | None


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The calls of a connection.  Units: *per_minute* calls in any 60 s, *used* those that count now.

    The live lane may use all that is free, the bulk lane no more than its part.
    """

    per_minute: int
    used: int
    used_live: int
    used_bulk: int
    free_live: int
    free_bulk: int


@dataclass(frozen=True, slots=True)
class CallsState:
    """The calls of all workers to a connection that are in flight at once, as far as it takes them.

    Shape: *limit* of them, for *reason*, since *changed_at*; *in_flight* at most in the last second, *wanted* with
    those that waited for the limit; *backoffs* how often it went down, ever; *unloaded_ms* what an answer takes when
    nothing waits, by operation, as far as it is known.
    """

    limit: int
    in_flight: int
    wanted: int
    reason: str
    backoffs: int
    changed_at: datetime
    unloaded_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A planned window of a connection: *from_at* is included, *until_at* is not.

    Shape: *state* `planned`, `active`, `over`, or `removed` before it began; *began_at* when it did, null: it has not,
    or nobody was there; *ended_at* before *until_at* where *removed_by* ended it.
    """

    id: str
    name: str
    state: str
    from_at: datetime
    until_at: datetime
    reason: str
    added_by: str
    added_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    removed_by: str | None


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """One outside system.  *state*: `up`, or why nothing goes out: `paused`, `open` (down), `half_open` (being probed).

    Shape: *since* when it stands so, None: ever since; *failures* in a row, and the *last_error* of them, masked;
    *held* instances that wait for it; *budget* None: no limit; *suspects* instances that failed there, and wait or were
    given up, while it served others, *suspects_given_up* of them dead letters; *wait_until* the end of a wait that it
    asked for; *calls* None: no call was made yet, or their number does not follow how it answers; *maintenance* the
    planned window that lasts, or else the next one, None: there is none.  Units: *next_probe_in_s* seconds.
    """

    name: str
    state: str
    since: datetime | None
    breaker: str
    failures: int
    last_error: str | None
    opened_at: datetime | None
    probes: int
    probe_at: datetime | None
    next_probe_in_s: float | None
    healed_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    paused_at: datetime | None
    held: int
    budget: BudgetState | None
    suspects: int = field(default=0, kw_only=True)
    suspects_given_up: int = field(default=0, kw_only=True)
    wait_until: datetime | None = field(default=None, kw_only=True)
    calls: CallsState | None = field(default=None, kw_only=True)
    maintenance: MaintenanceWindow | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Instances that are not finished, of one lane, stage and state.  Units: *oldest_s* seconds since acceptance."""

    lane: str
    stage: str
    state: str
    count: int
    oldest_s: float
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters of one code, and when the first of them was given up."""

    stage: str
    code: str
    count: int
    first_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process or a dispatcher.

    Shape: *lanes* that a worker serves; *heard_at* when it last went round.  Units: *silent_s* seconds since then.
    """

    kind: str
    name: str
    lanes: list[str]
    started_at: datetime
    heard_at: datetime
    silent_s: float


@dataclass(frozen=True, slots=True)
class Rate:
    """What came in and what ended within the last *period_s* seconds, ended by state."""

    period_s: int
    accepted: int
    finished: dict[str, int]


@dataclass(frozen=True, slots=True)
class UnsentMail:
    """Mail to operators that no server has taken.  Shape: *since* when the oldest was written, None: there is none."""

    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class HeldSnapshots:
    """Who has held a snapshot of the ledger for longer than *over_s* seconds, the oldest first."""

    over_s: float
    holders: list[SnapshotHolder]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the last reconciliation of all members found.

    Shape: *run* its id, None: none came to its end; *found* differences; *meaning* its figures in one sentence;
    *failed* why the newest failed; *overdue* none has come to its end for too long.  Units: *age_s* seconds since then.
    """

    run: str | None = None
    age_s: float | None = None
    found: int = 0
    meaning: str = ""
    failed: str | None = None
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An incident that goes on, in few words."""

    id: str
    kind: str
    stage: str
    fingerprint: str
    cause: str
    opened_at: datetime
    acknowledged_by: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """How it goes, on one page.

    Shape: *refused_last_day* events that intake refused within 24 hours; *guards* their holds that are not over;
    *incidents* those that go on; *approvals* what waits for a second person; *cases* open ones by kind; *parked_late*
    members parked past their deadline; *lanes* whether what waits in them comes to its end; *silence* how long Siebel
    has sent nothing.
    """

    at: datetime
    connections: list[ConnectionState]
    backlog: list[Backlog]
    dead_letters: list[DeadLetters]
    rates: list[Rate]
    processes: list[Process]
    refused_last_day: int = field(default=0, kw_only=True)
    unsent_mail: UnsentMail = field(default=UnsentMail(0, None), kw_only=True)
    held_snapshots: HeldSnapshots = field(default=HeldSnapshots(0, []), kw_only=True)
    guards: Sequence[Hold] = field(default=(), kw_only=True)
    incidents: Sequence[OpenIncident] = field(default=(), kw_only=True)
    approvals: Sequence[Approval] = field(default=(), kw_only=True)
    cases: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    parked_late: int = field(default=0, kw_only=True)
    reconciled: Reconciled = field(default=Reconciled(), kw_only=True)
    lanes: Sequence[LaneForecast] = field(default=(), kw_only=True)
    silence: Silence = field(default=Silence(), kw_only=True)


def id_text(value: int | None) -> str | None:
    """Return an id as readers get it; None: there is none."""
    return None if value is None else str(value)

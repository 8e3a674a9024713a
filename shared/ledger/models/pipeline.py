"""What goes on the road: members, instances, what they carry, what happened to them, and the connections.

`instance` is thin and changes often; what is fat (`payload`) or only ever added (`activity`) stands beside it.  Partial
unique indexes make the promises physical: a member has at most one instance queued and at most one running.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSON, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.instances import Errand
from shared.pipeline import QUEUED, STAGES, Lane, Origin, Stage, State, SyncStatus

INSTANT = DateTime(timezone=True)
KEY = Text(collation="C")
"""Compared byte by byte: cheap, and the beginning of one can be searched for on any server."""


class Base(DeclarativeBase):
    """Declarative base; its metadata is what migrations are compared with."""


def one_of(column: str, words: tuple[str, ...]) -> str:
    """Return the condition that *column* holds one of *words*."""
    return f"{column} in ({', '.join(repr(str(word)) for word in words)})"


_ENDED = tuple(state for state in State if state not in (*QUEUED, State.RUNNING))


_IS_QUEUED = one_of("state", QUEUED)


class Member(Base):
    """What we know of one member across all its events; the lock that orders them."""

    __tablename__ = "member"
    __table_args__ = (
        Index("member_row_id", "row_id", postgresql_where=text("row_id is not null")),
        Index("member_proven_row_id", "proven_row_id", postgresql_where=text("proven_row_id is not null")),
        Index("member_email_key", "email_key", postgresql_where=text("email_key is not null")),
        Index("member_held_email_key", "held_email_key", postgresql_where=text("held_email_key is not null")),
        Index("member_ct_user_id", "ct_user_id", postgresql_where=text("ct_user_id is not null")),
        Index("member_read_back", "read_back_at", postgresql_where=text("read_back_at is not null")),
        Index("member_tell_again", "tell_again_at", postgresql_where=text("tell_again_at is not null")),
    )

    member_number: Mapped[str] = mapped_column(KEY, primary_key=True)
    row_id: Mapped[str | None] = mapped_column(Text)
    """As the events say; the row whose modifications order them."""
    proven_row_id: Mapped[str | None] = mapped_column(Text)
    """Siebel showed this row with this Member Number."""
    sequence_from: Mapped[datetime | None] = mapped_column(INSTANT)
    newest_id: Mapped[int | None] = mapped_column(BigInteger)
    newest_modification: Mapped[int | None] = mapped_column(BigInteger)
    newest_occurred_at: Mapped[datetime | None] = mapped_column(INSTANT)
    newest_occurred_until: Mapped[datetime | None] = mapped_column(INSTANT)
    newest_operation: Mapped[str | None] = mapped_column(Text)
    applied_id: Mapped[int | None] = mapped_column(BigInteger)
    acknowledged_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When CrowdTwist last showed that it has what `applied_id` wrote."""
    applied_hash: Mapped[bytes | None] = mapped_column(BYTEA)
    email_key: Mapped[bytes | None] = mapped_column(BYTEA)
    held_email_key: Mapped[bytes | None] = mapped_column(BYTEA)
    synced: Mapped[bool] = mapped_column(server_default=text("false"))
    ct_user_id: Mapped[int | None] = mapped_column(BigInteger)
    echoed: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What CrowdTwist last showed of the synced fields, under its names.  Names the person: for no page as it is."""
    known_in_crowdtwist: Mapped[bool] = mapped_column(server_default=text("false"))
    unknown_outcome: Mapped[bool] = mapped_column(server_default=text("false"))
    lost_write_id: Mapped[int | None] = mapped_column(BigInteger)
    """The newest instance whose write to CrowdTwist may still land: it got no answer.  Cleared by a read-back."""
    read_back_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When what `applied_id` wrote is to be read back, unless a newer write may be out."""
    lost_tell_id: Mapped[int | None] = mapped_column(BigInteger)
    """The newest instance whose status may still land in Siebel: what Siebel shows is not known until told again."""
    tell_again_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When what `told_id` told is to be told once more, unless a newer status may be out."""
    told_status: Mapped[str | None] = mapped_column(Text)
    told_error: Mapped[str | None] = mapped_column(Text)
    told_id: Mapped[int | None] = mapped_column(BigInteger)
    told_at: Mapped[datetime | None] = mapped_column(INSTANT)
    errand_id: Mapped[int | None] = mapped_column(BigInteger)
    """The errand that is out for it: while there is one, no instance of it goes out."""
    shown: Mapped[int | None]
    """What its newest accepted event shows, as bits (`shared.lifecycle.mass_changes`); null: not noted yet."""


class Instance(Base):
    """One run of the sync flow for one event: where it stands and when it is due.

    No index names `stage`, `begun`, `attempt`, `lease_until`, `status` or `error`, so that the way through the stages
    is HOT: claim and end touch the indexes, the five writes between them do not.
    """

    __tablename__ = "instance"
    __table_args__ = (
        CheckConstraint(one_of("state", tuple(State)), "instance_state"),
        CheckConstraint(one_of("stage", STAGES), "instance_stage"),
        CheckConstraint(one_of("lane", tuple(Lane)), "instance_lane"),
        CheckConstraint(f"status is null or {one_of('status', tuple(SyncStatus))}", "instance_status"),
        CheckConstraint("operation in ('enroll', 'update', 'delete')", "instance_operation"),
        CheckConstraint(f"origin is null or {one_of('origin', tuple(Origin))}", "instance_origin"),
        CheckConstraint("(state = 'running') = (token <> 0)", "instance_running_has_token"),
        CheckConstraint("(state = 'running') = (lease_until is not null)", "instance_running_has_lease"),
        CheckConstraint("state = 'running' or not begun", "instance_only_running_is_begun"),
        CheckConstraint(f"({one_of('state', _ENDED)}) = (finished_at is not null)", "instance_end"),
        CheckConstraint(
            "state <> 'dead' or (code is not null and failed_stage is not null)", "instance_dead_has_cause"
        ),
        Index("instance_one_queued", "member_number", unique=True, postgresql_where=text(_IS_QUEUED)),
        Index("instance_one_running", "member_number", unique=True, postgresql_where=text("state = 'running'")),
        Index(
            "instance_due",
            "lane",
            "due_stage",
            "due_at",
            "id",
            postgresql_where=text("state in ('pending', 'waiting')"),
        ),
        Index("instance_out", "lane", "due_at", "id", postgresql_where=text("token > 0")),
        CheckConstraint("hold_id is null or state in ('held', 'superseded', 'discarded')", "instance_guarded_is_held"),
        Index(
            "instance_held",
            "due_stage",
            "lane",
            "id",
            postgresql_where=text("state = 'held' and hold_id is null"),
        ),
        Index("instance_guarded", "hold_id", "id", postgresql_where=text("state = 'held' and hold_id is not null")),
        Index("instance_clears", "accepted_at", postgresql_where=text("cleared is not null")),
        Index("instance_of_member", "member_number", "id"),
        Index(
            "instance_address_pending", "id", postgresql_where=text("state = 'waiting' and code = 'address_pending'")
        ),
        Index(
            "instance_open", "state", "id", postgresql_where=text("state not in ('pending', 'running', 'completed')")
        ),
        Index("instance_troubled", "id", postgresql_where=text("code is not null")),
        Index("instance_origin", "id", postgresql_where=text("origin is not null")),
        Index("instance_finished", "finished_at", postgresql_where=text("finished_at is not null")),
        Index("instance_completed", "finished_at", postgresql_where=text("state = 'completed'")),
        Index("instance_suspect", "failed_stage", postgresql_where=text("suspect and state in ('waiting', 'dead')")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    event_id: Mapped[str] = mapped_column(KEY, unique=True)
    event_hash: Mapped[bytes] = mapped_column(BYTEA)
    content_hash: Mapped[bytes] = mapped_column(BYTEA)
    member_number: Mapped[str] = mapped_column(KEY)
    """No foreign key: intake makes and locks the member in the same transaction; who deletes one locks it, too."""
    operation: Mapped[str] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(Text)
    origin: Mapped[str | None] = mapped_column(Text)
    """Null: a producer sent it."""
    modification: Mapped[int | None] = mapped_column(BigInteger)
    occurred_at: Mapped[datetime] = mapped_column(INSTANT)
    accepted_at: Mapped[datetime] = mapped_column(INSTANT)

    state: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text, server_default=Stage.OIC)
    due_stage: Mapped[str] = mapped_column(Text, server_default=Stage.OIC)
    """`stage` at the moment it was queued.  Indexed; `stage` itself moves on while it runs, and is not."""
    due_at: Mapped[datetime] = mapped_column(INSTANT)
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    token: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    lease_until: Mapped[datetime | None] = mapped_column(INSTANT)
    begun: Mapped[bool] = mapped_column(server_default=text("false"))
    losses: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    alone: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether the message with which it was begun last had nobody else."""
    apart: Mapped[bool] = mapped_column(server_default=text("false"))
    """A worker was lost with it in company: it is sent in a batch of its own, until its stage is done."""
    given_back: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How often at this stage an attempt was given back because the connection proved to be down."""
    suspect: Mapped[bool] = mapped_column(server_default=text("false"))
    """It failed at this stage while the system served others."""
    resubmits: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))

    status: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str] = mapped_column(Text, server_default="")
    code: Mapped[str | None] = mapped_column(Text)
    failed_stage: Mapped[str | None] = mapped_column(Text)
    failing_since: Mapped[datetime | None] = mapped_column(INSTANT)
    reason: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(INSTANT)
    hold_id: Mapped[int | None] = mapped_column(BigInteger)
    """The guard's hold that it is held by, where no connection is the reason."""
    cleared: Mapped[int | None]
    """What its event takes from the member, as bits (`shared.lifecycle.mass_changes`); null: nothing."""


class ErrandRow(Base):
    """A call for an instance beside its own way through the stages (`shared.ledger.transitions.errands`).

    The row goes when the call is done.  Its id is below zero, so that on the wire it is told from an instance's.
    """

    __tablename__ = "errand"
    __table_args__ = (
        CheckConstraint("id < 0", "errand_id_below_zero"),
        CheckConstraint(one_of("kind", tuple(Errand)), "errand_kind"),
        CheckConstraint(one_of("stage", STAGES), "errand_stage"),
        CheckConstraint(one_of("lane", tuple(Lane)), "errand_lane"),
        CheckConstraint("(token <> 0) = (lease_until is not null)", "errand_out_has_lease"),
        CheckConstraint("token <> 0 or not begun", "errand_only_out_is_begun"),
        UniqueConstraint("instance_id", "kind", name="errand_one_of_a_kind"),
        Index("errand_one_out", "member_number", unique=True, postgresql_where=text("token <> 0")),
        Index("errand_of_member", "member_number"),
        Index("errand_due", "lane", "due_at", postgresql_where=text("token = 0")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(start=-1, increment=-1), primary_key=True)
    instance_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("instance.id"))
    member_number: Mapped[str] = mapped_column(KEY)
    """No foreign key: whoever adds one holds instances, and must not wait for their members."""
    kind: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(Text)
    due_at: Mapped[datetime] = mapped_column(INSTANT)
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    token: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    lease_until: Mapped[datetime | None] = mapped_column(INSTANT)
    begun: Mapped[bool] = mapped_column(server_default=text("false"))
    alone: Mapped[bool] = mapped_column(server_default=text("false"))
    apart: Mapped[bool] = mapped_column(server_default=text("false"))
    """As of an instance."""


class Payload(Base):
    """The fat part of an instance: the event as accepted.  Written once.

    Of this and of the two tables below no condition looks inside the document, so it is kept as it came (`json`): taken
    apart and put together again with each write and read (`jsonb`) it cost a tenth of all that the ledger does.  The
    columns of jsonb have what was written before there were these (`shared.ledger.people.event_sql`, `user_sql`).
    """

    __tablename__ = "payload"

    instance_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    event_json: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    event_packed: Mapped[bytes | None] = mapped_column(BYTEA)
    """Instead of the two, in a ledger that packs (`shared.ledger.packed_events`)."""
    traceparent: Mapped[str | None] = mapped_column(Text)
    """The place in its trace that the event came with (`shared.spans`); null: none was stated, and it is not traced."""


class Mapping(Base):
    """What the oic stage made of the event: the CrowdTwist user object, and the instance in OIC that made it."""

    __tablename__ = "mapping"

    instance_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_object: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    oic_instance_id: Mapped[str | None] = mapped_column(Text)
    user_json: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class Activity(Base):
    """What happened to an instance, in order; only ever added.  No foreign key: it would cost a look-up per line."""

    __tablename__ = "activity"
    __table_args__ = (Index("activity_at", "at"),)

    instance_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    stage: Mapped[str | None] = mapped_column(Text)
    attempt: Mapped[int | None] = mapped_column(SmallInteger)
    state: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    took_ms: Mapped[float | None]
    task_id: Mapped[str | None] = mapped_column(Text)
    calls: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    calls_json: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    calls_packed: Mapped[bytes | None] = mapped_column(BYTEA)
    """The rest of `calls_json`, of an attempt that succeeded (`shared.ledger.packed_calls`)."""
    task_uuid: Mapped[UUID | None] = mapped_column(Uuid)
    """`task_id`, in half the room."""


class ConnectionRow(Base):
    """One outside system as all processes see it: the switch and the breaker."""

    __tablename__ = "connection"
    __table_args__ = (
        CheckConstraint(one_of("name", STAGES), "connection_name"),
        CheckConstraint("breaker in ('closed', 'open', 'half_open')", "connection_breaker"),
        CheckConstraint("(breaker = 'closed') = (opened_at is null)", "connection_open_since"),
        CheckConstraint("(failures = 0) = (failing_since is null)", "connection_failing_since"),
        CheckConstraint("not paused or (paused_by is not null and paused_reason is not null)", "connection_paused_by"),
    )

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    paused_by: Mapped[str | None] = mapped_column(Text)
    paused_reason: Mapped[str | None] = mapped_column(Text)
    paused_at: Mapped[datetime | None] = mapped_column(INSTANT)
    breaker: Mapped[str] = mapped_column(Text, server_default="closed")
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    failing_members: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    failing_since: Mapped[datetime | None] = mapped_column(INSTANT)
    last_error: Mapped[str | None] = mapped_column(Text)
    opened_at: Mapped[datetime | None] = mapped_column(INSTANT)
    probe_at: Mapped[datetime | None] = mapped_column(INSTANT)
    probes: Mapped[int] = mapped_column(server_default=text("0"))
    probe_instance_id: Mapped[int | None] = mapped_column(BigInteger)
    healed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    verify_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When a good member is to decide whether the system fails, or others; null: there is no question."""
    vouched_at: Mapped[datetime | None] = mapped_column(INSTANT)
    wait_until: Mapped[datetime | None] = mapped_column(INSTANT)
    """The end of a stated Retry-After."""
    unproven: Mapped[bool] = mapped_column(server_default=text("false"))
    """It was opened though it passes its own test."""
    window_id: Mapped[int | None] = mapped_column(BigInteger)
    """The planned window that has paused it."""


class Secret(Base):
    """What keys of this ledger are made with; drawn when it was made, and never shown."""

    __tablename__ = "secret"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[bytes] = mapped_column(BYTEA)


class Spend(Base):
    """Calls that a connection's budget was spent on, by quarter of a second and lane; a minute or two of them."""

    __tablename__ = "spend"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    slot: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    lane: Mapped[str] = mapped_column(Text, primary_key=True)
    calls: Mapped[int]


class CallLimit(Base):
    """How many calls of all workers may be in flight to a connection, what is known of it, and who has which share."""

    __tablename__ = "call_limit"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    known: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    shares: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    in_flight: Mapped[int] = mapped_column(server_default=text("0"))
    wanted: Mapped[int] = mapped_column(server_default=text("0"))
    upto: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    looked_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    changed_at: Mapped[datetime | None] = mapped_column(INSTANT)


class CallWindow(Base):
    """What the calls of a worker process showed in one second; some seconds of it, the oldest overwritten."""

    __tablename__ = "call_window"
    __table_args__ = ({"prefixes": ["unlogged"]},)

    process: Mapped[str] = mapped_column(Text, primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(INSTANT)
    calls: Mapped[dict[str, Any]] = mapped_column(JSONB)


class StrayMessage(Base):
    """A message found on the broker that no task could take; filed so that nobody has to guess what was lost."""

    __tablename__ = "stray_message"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    queue: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    headers: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)

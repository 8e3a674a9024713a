"""The tables beside the pipeline's: what intake refused, what operators asked for and did, and what watching leaves.

What intake did not take in is kept for a while, masked, so that nobody has to ask the sender; counts of all for good.
Watching leaves counts that only grow, when connections were away, who is at work, and mail.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger import heartbeats, mail
from shared.ledger.approvals import ApprovalState
from shared.ledger.jobs import ItemState, JobState, Kind, Verdict
from shared.ledger.models.pipeline import INSTANT, KEY, Base, one_of
from shared.pipeline import STAGES


class JobRow(Base):
    """A requeue, discard or resend; whichever dispatcher locks the row carries it on."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(one_of("kind", tuple(Kind)), "job_kind"),
        CheckConstraint(one_of("state", tuple(JobState)), "job_state"),
        CheckConstraint("(state = 'stopped') = (stopped_why is not null)", "job_stopped_why"),
        CheckConstraint("ended_at is null or state in ('stopped', 'done')", "job_end"),
        CheckConstraint("rate_per_minute > 0", "job_rate"),
        Index("job_open", "next_at", postgresql_where=text("ended_at is null")),
        Index("job_of_kind", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default=JobState.PLANNED)
    requested_by: Mapped[str] = mapped_column(Text)
    approved_by: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    asked: Mapped[dict[str, Any]] = mapped_column(JSONB)
    from_start: Mapped[bool] = mapped_column(server_default=text("false"))
    forced: Mapped[bool] = mapped_column(server_default=text("false"))
    recreates: Mapped[bool] = mapped_column(server_default=text("false"))
    rate_per_minute: Mapped[int | None]
    size: Mapped[int]
    step: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    started_at: Mapped[datetime | None] = mapped_column(INSTANT)
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    stopped_why: Mapped[str | None] = mapped_column(Text)
    next_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    paid_until: Mapped[datetime | None] = mapped_column(INSTANT)


class JobItem(Base):
    """One instance of a job: what is to become of it, what did, and how it was before, should the job be stopped."""

    __tablename__ = "job_item"
    __table_args__ = (
        CheckConstraint(one_of("verdict", tuple(Verdict)), "job_item_verdict"),
        CheckConstraint(one_of("state", tuple(ItemState)), "job_item_state"),
        CheckConstraint("state <> 'sent' or (step is not null and was is not null)", "job_item_sent"),
        Index("job_item_open", "job_id", "state", "instance_id", postgresql_where=text("state in ('planned', 'sent')")),
    )

    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("job.id", ondelete="cascade"), primary_key=True)
    instance_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    member_number: Mapped[str] = mapped_column(KEY)
    verdict: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    newer_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    step: Mapped[int | None] = mapped_column(SmallInteger)
    was: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class ApprovalRow(Base):
    """A job, or a decision on a guard's hold, that waits for a second person, or did."""

    __tablename__ = "approval"
    __table_args__ = (
        CheckConstraint(one_of("state", tuple(ApprovalState)), "approval_state"),
        CheckConstraint("num_nonnulls(job_id, guard_id) = 1", "approval_of_one"),
        CheckConstraint("state <> 'approved' or decided_by <> asked_by", "approval_by_another"),
        Index("approval_waiting", "id", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    guard_id: Mapped[int | None] = mapped_column(BigInteger)
    count: Mapped[int]
    asked_by: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    reason: Mapped[str] = mapped_column(Text)
    decided_by: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None] = mapped_column(INSTANT)
    answer: Mapped[str | None] = mapped_column(Text)


class OperatorAction(Base):
    """Something that an operator did, or was not allowed to do; only ever added."""

    __tablename__ = "operator_action"
    __table_args__ = (
        Index("operator_action_at", "at"),
        Index("operator_action_forgotten", text("(asked ->> 'key')"), postgresql_where=text("what = 'forget'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    who: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    asked: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    count: Mapped[int] = mapped_column(server_default=text("0"))
    answer: Mapped[str] = mapped_column(Text)
    denied: Mapped[bool] = mapped_column(server_default=text("false"))


class RefusalRow(Base):
    """An event that was refused, or how many more of a sender were within an hour (*position* null, *several*)."""

    __tablename__ = "refusal"
    __table_args__ = (
        CheckConstraint("outcome in ('refused', 'conflict')", "refusal_outcome"),
        CheckConstraint("count > 0", "refusal_count"),
        Index("refusal_at", "at"),
        Index("refusal_sender", "sender", "at"),
        Index("refusal_member", "member_number", "id", postgresql_where=text("member_number is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    sender: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    position: Mapped[int | None]
    line: Mapped[int | None]
    field: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    member_number: Mapped[str | None] = mapped_column(KEY)
    excerpt: Mapped[str | None] = mapped_column(Text)
    several: Mapped[bool] = mapped_column(server_default=text("false"))
    count: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))


class IntakeTally(Base):
    """How often intake came to an outcome since the ledger began, in slots so that no two senders wait for one row."""

    __tablename__ = "intake_tally"

    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)


class Tally(Base):
    """How often a stage came to an outcome since the ledger began, by the bucket of its duration; -1: it has none."""

    __tablename__ = "tally"

    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    took_s: Mapped[float]


class _CountsOfAPeriod:
    """How often a stage came to an outcome within the period that begins *at*."""

    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Minute(_CountsOfAPeriod, Base):
    """A few days of minutes."""

    __tablename__ = "minute"


class Hour(_CountsOfAPeriod, Base):
    """A few months of hours."""

    __tablename__ = "hour"


class Wait(Base):
    """How many members of a lane were told within a minute or hour, by the bucket of their wait since acceptance."""

    __tablename__ = "wait"
    __table_args__ = (CheckConstraint("per in ('minute', 'hour')", "wait_per"),)

    per: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    lane: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)


class LatencyRow(Base):
    """How many attempts of a stage there were within a minute or hour, by the bucket of what they took."""

    __tablename__ = "latency"
    __table_args__ = (CheckConstraint("per in ('minute', 'hour')", "latency_per"),)

    per: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)


class WaitTotal(Base):
    """The same since the ledger began."""

    __tablename__ = "wait_total"

    lane: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    waited_s: Mapped[float]


class Bookmark(Base):
    """Up to which instant somebody has read; whoever locks the row reads on from there."""

    __tablename__ = "bookmark"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    upto: Mapped[datetime] = mapped_column(INSTANT)


class ConnectionChange(Base):
    """A connection that went down or came back, was paused or resumed; only ever added."""

    __tablename__ = "connection_change"
    __table_args__ = (
        CheckConstraint(one_of("name", STAGES), "connection_change_name"),
        CheckConstraint("what in ('down', 'up', 'paused', 'resumed')", "connection_change_what"),
        Index("connection_change_at", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    name: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    why: Mapped[str | None] = mapped_column(Text)
    who: Mapped[str | None] = mapped_column(Text)
    mailed: Mapped[bool] = mapped_column(server_default=text("false"))


class SilenceOfHour(Base):
    """The longest time without an event from Siebel that was seen in the hour that begins *at*; some months of them."""

    __tablename__ = "silence"

    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    longest_s: Mapped[float]


class Maintenance(Base):
    """A planned window of a connection, during which it is paused."""

    __tablename__ = "maintenance"
    __table_args__ = (
        CheckConstraint(one_of("name", STAGES), "maintenance_name"),
        CheckConstraint("from_at < until_at", "maintenance_span"),
        CheckConstraint("(removed_at is null) = (removed_by is null)", "maintenance_removed_by"),
        Index("maintenance_open", "name", "from_at", postgresql_where=text("ended_at is null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    from_at: Mapped[datetime] = mapped_column(INSTANT)
    until_at: Mapped[datetime] = mapped_column(INSTANT)
    reason: Mapped[str] = mapped_column(Text)
    added_by: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    began_at: Mapped[datetime | None] = mapped_column(INSTANT)
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    removed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    removed_by: Mapped[str | None] = mapped_column(Text)


class Heartbeat(Base):
    """A worker process or a dispatcher, and when it last went round its main loop."""

    __tablename__ = "heartbeat"
    __table_args__ = (CheckConstraint(one_of("kind", tuple(heartbeats.Kind)), "heartbeat_kind"),)

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    lanes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(INSTANT)
    beat_at: Mapped[datetime] = mapped_column(INSTANT)
    process_table: Mapped[str | None] = mapped_column(Text)
    """In which the pid counts; null: nobody can look it up."""
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When somebody who can found that there is no such process any more."""


class Readiness(Base):
    """What is written to learn whether the ledger takes writes."""

    __tablename__ = "readiness"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT)


class Compatibility(Base):
    """The oldest revision whose code works on this schema; one row."""

    __tablename__ = "compatibility"
    __table_args__ = (CheckConstraint("single", "compatibility_one_row"),)

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    serves_from: Mapped[str] = mapped_column(Text)
    packs: Mapped[bool] = mapped_column(server_default=text("false"))
    """Events are packed (`shared.ledger.packed_events`): no code that cannot read that has ever worked here."""


class Mail(Base):
    """A mail to operators, or the same to a webhook, written by whoever found its cause; sent until taken."""

    __tablename__ = "mail"
    __table_args__ = (
        CheckConstraint(one_of("kind", tuple(mail.Kind)), "mail_kind"),
        CheckConstraint(one_of("channel", tuple(mail.Channel)), "mail_channel"),
        Index("mail_due", "due_at", postgresql_where=text("sent_at is null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    plain: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)
    due_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    last_error: Mapped[str | None] = mapped_column(Text)
    sent_at: Mapped[datetime | None] = mapped_column(INSTANT)
    recipients: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """Whom it has not reached yet; null: nobody so far."""
    channel: Mapped[str] = mapped_column(Text, server_default=mail.Channel.MAIL)
    dead_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When it was given up, after too many tries."""


class SavedFilterRow(Base):
    """A filter of a page that somebody saved by name; *query* is that of the page's address."""

    __tablename__ = "saved_filter"
    __table_args__ = (UniqueConstraint("owner", "page", "name", name="saved_filter_name"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    shared: Mapped[bool]
    page: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    query: Mapped[str] = mapped_column(Text)


class EndedLogin(Base):
    """A login of the console that was ended before its time, by a digest of its cookie."""

    __tablename__ = "ended_login"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    ended_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))

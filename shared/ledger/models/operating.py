"""What operators ask for, how far it is, and what they did."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.jobs import ItemState, JobState, Kind, Verdict
from shared.ledger.models.columns import INSTANT, KEY, Base, one_of


class JobRow(Base):
    """A requeue or discard; whichever dispatcher locks the row carries it on."""

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
    reason: Mapped[str] = mapped_column(Text)
    asked: Mapped[dict[str, Any]] = mapped_column(JSONB)
    from_start: Mapped[bool] = mapped_column(server_default=text("false"))
    forced: Mapped[bool] = mapped_column(server_default=text("false"))
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


class OperatorAction(Base):
    """Something that an operator did, or was not allowed to do; only ever added."""

    __tablename__ = "operator_action"
    __table_args__ = (Index("operator_action_at", "at"),)

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

"""What watching leaves behind: counts that only grow, when connections were away, who is at work, and mail."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.columns import INSTANT, Base, one_of
from shared.pipeline import STAGES


class Tally(Base):
    """How often a stage came to an outcome since the ledger began, by the bucket of its duration; -1: it has none."""

    __tablename__ = "tally"

    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    took_s: Mapped[float]


class Minute(Base):
    """How often a stage came to an outcome within one minute; a few days of them."""

    __tablename__ = "minute"

    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Hour(Base):
    """The same within one hour; a few months of them."""

    __tablename__ = "hour"

    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Wait(Base):
    """How many members of a lane were told within a minute or hour, by the bucket of their wait since acceptance."""

    __tablename__ = "wait"
    __table_args__ = (CheckConstraint("per in ('minute', 'hour')", "wait_per"),)

    per: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    lane: Mapped[str] = mapped_column(Text, primary_key=True)
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


class Heartbeat(Base):
    """A worker process or a dispatcher, and when it last went round its main loop."""

    __tablename__ = "heartbeat"
    __table_args__ = (CheckConstraint("kind in ('worker', 'dispatcher')", "heartbeat_kind"),)

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    lanes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(INSTANT)
    beat_at: Mapped[datetime] = mapped_column(INSTANT)


class Readiness(Base):
    """What is written to learn whether the ledger takes writes."""

    __tablename__ = "readiness"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT)


class Mail(Base):
    """A mail to operators, written in the transaction that found its cause, and sent until the server takes it."""

    __tablename__ = "mail"
    __table_args__ = (
        CheckConstraint("kind in ('down', 'up', 'digest')", "mail_kind"),
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

"""The tables of incidents: one row for an outage however often it flaps, its spans, and what people noted of it.

No row names a member: whom an incident affected is a predicate over activity (`shared.ledger.incident_counts`).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.incidents import EventKind, IncidentState
from shared.ledger.marks import MarkKind
from shared.ledger.models.pipeline import INSTANT, Base, one_of
from shared.lifecycle.incidents import IncidentKind
from shared.pipeline import STAGES


class IncidentRow(Base):
    """An incident: its cause, where it is in its life, and what has been counted of it so far."""

    __tablename__ = "incident"
    __table_args__ = (
        CheckConstraint(one_of("kind", tuple(IncidentKind)), "incident_kind"),
        CheckConstraint(one_of("state", tuple(IncidentState)), "incident_state"),
        CheckConstraint(one_of("stage", STAGES), "incident_stage"),
        CheckConstraint("(state = 'open') = (resolved_at is null)", "incident_resolved"),
        CheckConstraint("(state = 'merged') = (merged_into is not null)", "incident_merged"),
        CheckConstraint("(acknowledged_at is null) = (acknowledged_by is null)", "incident_acknowledged"),
        Index("incident_live", "id", postgresql_where=text("state in ('open', 'resolved')")),
        Index("incident_uncounted", "id", postgresql_where=text("settled_at is null")),
        Index("incident_fingerprint", "fingerprint", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    """Normalised: it names nobody."""
    fingerprint: Mapped[str] = mapped_column(Text)
    """The same for the same cause, whenever it comes again."""
    opened_at: Mapped[datetime] = mapped_column(INSTANT)
    resolved_at: Mapped[datetime | None] = mapped_column(INSTANT)
    closed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """From then on what happens is another incident."""
    settled_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """From then on nothing of it changes but what people note."""
    acknowledged_at: Mapped[datetime | None] = mapped_column(INSTANT)
    acknowledged_by: Mapped[str | None] = mapped_column(Text)
    merged_into: Mapped[int | None] = mapped_column(BigInteger)

    from_at: Mapped[datetime] = mapped_column(INSTANT)
    """The beginning of its first span; the seconds below count from here."""
    counted_upto: Mapped[datetime] = mapped_column(INSTANT)
    affected: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    began_s: Mapped[float] = mapped_column(server_default=text("0"))
    """When each of the affected began to be late, all together."""
    ended: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    ended_s: Mapped[float] = mapped_column(server_default=text("0"))
    """When each of the ended did, all together."""
    dead: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    statuses_told: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    wasted_calls: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    worst_age_s: Mapped[float] = mapped_column(server_default=text("0"))
    late_from: Mapped[datetime | None] = mapped_column(INSTANT)
    late_to: Mapped[datetime | None] = mapped_column(INSTANT)
    first_id: Mapped[int | None] = mapped_column(BigInteger)
    last_id: Mapped[int | None] = mapped_column(BigInteger)
    frozen: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What is read from tables that are pruned, as it was when the incident was settled."""
    told: Mapped[str | None] = mapped_column(Text)
    """What mail said of it last: `open` or `resolved`; null: nothing yet."""
    told_at: Mapped[datetime | None] = mapped_column(INSTANT)
    reminded_at: Mapped[datetime | None] = mapped_column(INSTANT)


class IncidentSpan(Base):
    """A time in which what an incident is about went on; a connection that flaps has one for each opening."""

    __tablename__ = "incident_span"
    __table_args__ = (
        CheckConstraint(one_of("stage", STAGES), "incident_span_stage"),
        CheckConstraint("to_at is null or to_at >= from_at", "incident_span_order"),
        Index("incident_span_of", "incident_id", "from_at"),
        Index("incident_span_open", "stage", postgresql_where=text("to_at is null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    incident_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("incident.id"))
    stage: Mapped[str] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    """Of a cause; null: the connection was down."""
    from_at: Mapped[datetime] = mapped_column(INSTANT)
    to_at: Mapped[datetime | None] = mapped_column(INSTANT)


class IncidentEvent(Base):
    """Something on an incident's time line that stands nowhere else: a probe, a note, a merge."""

    __tablename__ = "incident_event"
    __table_args__ = (
        CheckConstraint(one_of("kind", tuple(EventKind)), "incident_event_kind"),
        Index("incident_event_of", "incident_id", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    incident_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("incident.id"))
    kind: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    """When it was; of a note whoever writes it may say."""
    written_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    stage: Mapped[str | None] = mapped_column(Text)
    who: Mapped[str | None] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)


class CauseNoteRow(Base):
    """What people know of a cause, shown wherever it is shown; *message* or *code*, the other may be empty."""

    __tablename__ = "cause_note"
    __table_args__ = (
        CheckConstraint(one_of("stage", STAGES), "cause_note_stage"),
        CheckConstraint("code <> '' or message <> ''", "cause_note_on_something"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    fingerprint: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    """Normalised: it names nobody."""
    words: Mapped[str] = mapped_column(Text)
    who: Mapped[str] = mapped_column(Text)


class CauseCount(Base):
    """How many attempts ended for good by a cause, by minute; a window or two of them."""

    __tablename__ = "cause_count"

    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class Installation(Base):
    """What dispatches, and how it is set, as whoever began last said."""

    __tablename__ = "installation"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Mark(Base):
    """A new version, or a setting that changed; only ever added."""

    __tablename__ = "mark"
    __table_args__ = (CheckConstraint(one_of("kind", tuple(MarkKind)), "mark_kind"), Index("mark_at", "at"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    kind: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)

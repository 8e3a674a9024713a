"""The tables of the guards: what they hold instead of letting it go on, and what they count to know."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.guards import KINDS, HoldState
from shared.ledger.models.pipeline import INSTANT, Base, one_of
from shared.pipeline import STAGES


class GuardHold(Base):
    """A hold of a guard: of which cause, what it was opened on, and what was decided about it."""

    __tablename__ = "guard_hold"
    __table_args__ = (
        CheckConstraint(one_of("kind", KINDS), "guard_hold_kind"),
        CheckConstraint(one_of("state", tuple(HoldState)), "guard_hold_state"),
        CheckConstraint(one_of("stage", STAGES), "guard_hold_stage"),
        CheckConstraint("(state in ('released', 'discarded')) = (ended_at is not null)", "guard_hold_end"),
        Index(
            "guard_hold_one_of_a_cause",
            "fingerprint",
            unique=True,
            postgresql_where=text("state in ('holding', 'releasing')"),
        ),
        Index("guard_hold_open", "id", postgresql_where=text("ended_at is null")),
        Index("guard_hold_of_cause", "fingerprint", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    """Normalised: it names nobody."""
    alike: Mapped[int]
    """Members that met it within the window, when the hold was opened."""
    went_out: Mapped[int] = mapped_column(BigInteger)
    """Members that the stage decided on within the same window; of a mass change, members known as active."""
    told: Mapped[int]
    """Members that had been told by then; of a mass change, for whom it was too late."""
    opened_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    mailed: Mapped[bool] = mapped_column(server_default=text("false"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How often one of them was sent again by itself."""
    try_at: Mapped[datetime] = mapped_column(INSTANT)
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    """The newest requeue that was to release it."""
    decided_at: Mapped[datetime | None] = mapped_column(INSTANT)
    decided_by: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)
    """What came of the newest release."""
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)


class FloodCount(Base):
    """How many members were to be told a Data Error anew, by cause and minute; a window or two of them."""

    __tablename__ = "flood_count"

    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    count: Mapped[int]


class ProgrammeSize(Base):
    """How many members were known as active when they were last counted: one row, or none."""

    __tablename__ = "programme_size"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    members: Mapped[int] = mapped_column(BigInteger)
    counted_at: Mapped[datetime] = mapped_column(INSTANT)

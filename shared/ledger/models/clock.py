"""The table of what is known of the ledger's own clock."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.pipeline import INSTANT, Base


class LedgerClock(Base):
    """What is known of steps of the ledger's clock (`shared.ledger.clock`); one row."""

    __tablename__ = "ledger_clock"
    __table_args__ = (CheckConstraint("single", "ledger_clock_one_row"),)

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    moved_s: Mapped[float] = mapped_column(server_default=text("0"))
    """All steps together."""
    looked_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    """When somebody last found none."""
    looked_from: Mapped[str | None] = mapped_column(Text)
    """On which machine, by the name of its start."""
    ahead_least_s: Mapped[float | None]
    ahead_most_s: Mapped[float | None]
    """How far it then was ahead of the clock that counts since that start, its steps left out: at least, at most."""
    ahead_of_wall_s: Mapped[float | None]
    """How far it then was ahead of that machine's wall clock, its steps left out."""
    stepped_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """The newest step, as the clock then showed."""
    step_s: Mapped[float | None]
    pending_until: Mapped[datetime | None] = mapped_column(INSTANT)
    """What is pending from before a step back may be due as late as this."""
    counted_from: Mapped[datetime | None] = mapped_column(INSTANT)
    counted_until: Mapped[datetime | None] = mapped_column(INSTANT)
    counted_id: Mapped[int | None] = mapped_column(BigInteger)
    """Lines of activity up to this one, of these instants, were counted before the clock was set back over them."""
    doubted_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When somebody who had started last found that it may have been set forward while none of us ran."""
    doubted_s: Mapped[float | None]

"""What intake did not take in: kept for a while, masked, so that nobody has to ask the sender; and counts of all."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.columns import INSTANT, KEY, Base


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

"""The tables of forecasts: what was foreseen of jobs, and how deep the lanes were; neither names a member."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.pipeline import INSTANT, Base, one_of
from shared.pipeline import Lane


class ForecastRow(Base):
    """What was foreseen of a job, and in the end how long it took from then on.  Units: *took_s* seconds."""

    __tablename__ = "forecast"
    __table_args__ = (
        CheckConstraint("(took_s is null) = (scored_at is null)", "forecast_scored"),
        Index("forecast_of_job", "job_id", "at"),
        Index("forecast_scored_at", "scored_at", postgresql_where=text("scored_at is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("job.id", ondelete="cascade"))
    at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    left_over: Mapped[int]
    foreseen: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """As `shared.lifecycle.forecasts.Forecast`."""
    took_s: Mapped[float | None]
    scored_at: Mapped[datetime | None] = mapped_column(INSTANT)


class LaneDepth(Base):
    """How many instances waited in a lane at some instant; kept for an hour."""

    __tablename__ = "lane_depth"
    __table_args__ = (CheckConstraint(one_of("lane", tuple(Lane)), "lane_depth_lane"),)

    lane: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(INSTANT, primary_key=True)
    depth: Mapped[int] = mapped_column(BigInteger)

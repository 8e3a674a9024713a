"""Forecasts of jobs, to be compared with what happened; depths of the lanes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "forecast",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), sa.ForeignKey("job.id", ondelete="cascade"), nullable=False),
        sa.Column("at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("left_over", sa.Integer(), nullable=False),
        sa.Column("foreseen", postgresql.JSONB(), nullable=False),
        sa.Column("took_s", sa.Float()),
        sa.Column("scored_at", _INSTANT),
        sa.CheckConstraint("(took_s is null) = (scored_at is null)", name="forecast_scored"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("forecast_of_job", "forecast", ["job_id", "at"])
    scored = sa.text("scored_at is not null")
    op.create_index("forecast_scored_at", "forecast", ["scored_at"], postgresql_where=scored)
    op.create_table(
        "lane_depth",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("lane in ('live', 'bulk')", name="lane_depth_lane"),
        sa.PrimaryKeyConstraint("lane", "at"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("lane_depth")
    op.drop_table("forecast")

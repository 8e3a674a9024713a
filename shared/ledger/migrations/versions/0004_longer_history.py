"""Outcomes by the hour, and how long members wait from acceptance to Siebel."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "hour",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at", "stage", "outcome"),
    )
    op.execute(
        "insert into hour (at, stage, outcome, count)"
        " select date_trunc('hour', at, 'UTC'), stage, outcome, sum(count) from minute group by 1, 2, 3"
    )
    op.create_table(
        "wait",
        sa.Column("per", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("per in ('minute', 'hour')", name="wait_per"),
        sa.PrimaryKeyConstraint("per", "at", "lane", "bucket"),
    )
    op.create_table(
        "wait_total",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("waited_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "bucket"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("wait_total")
    op.drop_table("wait")
    op.drop_table("hour")

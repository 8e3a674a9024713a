"""What attempts take, by stage and bucket, by minute and by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "latency",
        sa.Column("per", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("per in ('minute', 'hour')", name="latency_per"),
        sa.PrimaryKeyConstraint("per", "at", "stage", "bucket"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("latency")

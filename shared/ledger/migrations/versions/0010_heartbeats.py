"""Who is at work: worker processes and dispatchers, and when each was last heard of."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "heartbeat",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lanes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind in ('worker', 'dispatcher')", name="heartbeat_kind"),
        sa.PrimaryKeyConstraint("kind", "name"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("heartbeat")

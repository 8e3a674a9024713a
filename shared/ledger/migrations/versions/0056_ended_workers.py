"""Whether a worker that is silent has ended, for those who can look up its pid."""

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("heartbeat", sa.Column("process_table", sa.Text(), nullable=True))
    op.add_column("heartbeat", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("heartbeat", "ended_at")
    op.drop_column("heartbeat", "process_table")

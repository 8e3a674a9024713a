"""The place in its trace that an event came with."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("payload", sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("payload", "traceparent")

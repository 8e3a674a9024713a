"""What is running is found in the order in which it was due."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_RUNNING = sa.text("token > 0")


def upgrade() -> None:
    """Apply."""
    op.create_index("instance_out", "instance", ["lane", "due_at", "id"], postgresql_where=_RUNNING)


def downgrade() -> None:
    """Undo."""
    op.drop_index("instance_out", table_name="instance", postgresql_where=_RUNNING)

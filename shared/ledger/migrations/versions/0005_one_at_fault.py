"""Who was begun alone, and who must go alone because a worker was lost with a whole batch."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    for name in ("alone", "apart"):
        op.add_column("instance", sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    """Undo."""
    for name in ("alone", "apart"):
        op.drop_column("instance", name)

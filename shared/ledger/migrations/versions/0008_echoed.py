"""What CrowdTwist showed of a member; a deletion no longer counts as if its content had been sent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("member", sa.Column("echoed", JSONB(), nullable=True))
    op.execute(
        "update member m set applied_hash = null from instance i where i.id = m.applied_id and i.operation = 'delete'"
    )


def downgrade() -> None:
    """Undo."""
    op.drop_column("member", "echoed")

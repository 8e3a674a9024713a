"""Who is held at a stage, by lane: asked for at each turn, also in an outage that holds hundreds of thousands."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HELD = sa.text("state = 'held'")


def upgrade() -> None:
    """Apply."""
    op.create_index("instance_held", "instance", ["due_stage", "lane", "id"], unique=False, postgresql_where=_HELD)


def downgrade() -> None:
    """Undo."""
    op.drop_index("instance_held", table_name="instance", postgresql_where=_HELD)

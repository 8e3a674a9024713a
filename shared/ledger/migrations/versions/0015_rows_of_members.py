"""Whose row it is that an event names."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_PROVEN = sa.text("proven_row_id is not null")


def upgrade() -> None:
    """Apply."""
    op.create_index("member_proven_row_id", "member", ["proven_row_id"], postgresql_where=_PROVEN)


def downgrade() -> None:
    """Undo."""
    op.drop_index("member_proven_row_id", table_name="member", postgresql_where=_PROVEN)

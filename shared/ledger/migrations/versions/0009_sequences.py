"""What the order of a member's events depends on, and which of its rows Siebel has shown to be its own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXTS = ("proven_row_id", "newest_operation")
_INSTANTS = ("sequence_from", "newest_occurred_until")


def upgrade() -> None:
    """Apply."""
    for name in _TEXTS:
        op.add_column("member", sa.Column(name, sa.Text()))
    for name in _INSTANTS:
        op.add_column("member", sa.Column(name, sa.DateTime(timezone=True)))
    op.execute("""
        update member m set newest_operation = i.operation
        from instance i where i.id = m.newest_id
    """)


def downgrade() -> None:
    """Undo."""
    for name in (*_TEXTS, *_INSTANTS):
        op.drop_column("member", name)

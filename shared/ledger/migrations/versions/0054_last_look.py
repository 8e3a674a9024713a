"""Beside the last look at the ledger's clock: how that stood to the clocks of the machine from which it was made."""

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

_SECONDS = ("ahead_least_s", "ahead_most_s", "ahead_of_wall_s", "doubted_s")


def upgrade() -> None:
    """Apply."""
    op.add_column("ledger_clock", sa.Column("looked_from", sa.Text(), nullable=True))
    op.add_column("ledger_clock", sa.Column("doubted_at", sa.DateTime(timezone=True), nullable=True))
    for name in _SECONDS:
        op.add_column("ledger_clock", sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    """Undo."""
    for name in ("looked_from", "doubted_at", *_SECONDS):
        op.drop_column("ledger_clock", name)

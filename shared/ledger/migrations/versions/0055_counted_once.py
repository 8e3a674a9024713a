"""Which lines of activity were counted before the ledger's clock was set back over them."""

import sqlalchemy as sa
from alembic import op

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("ledger_clock", sa.Column("counted_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("ledger_clock", sa.Column("counted_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("ledger_clock", sa.Column("counted_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Undo."""
    for name in ("counted_from", "counted_until", "counted_id"):
        op.drop_column("ledger_clock", name)

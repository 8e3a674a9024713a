"""What is known of steps of the ledger's clock."""

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "ledger_clock",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("moved_s", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("looked_at", instant, server_default=sa.text("now()"), nullable=False),
        sa.Column("stepped_at", instant),
        sa.Column("step_s", sa.Double()),
        sa.Column("pending_until", instant),
        sa.CheckConstraint("single", name="ledger_clock_one_row"),
        sa.PrimaryKeyConstraint("single"),
    )
    op.execute("insert into ledger_clock default values")


def downgrade() -> None:
    """Undo."""
    op.drop_table("ledger_clock")

"""Planned windows of a connection, during which it is paused."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "maintenance",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("from_at", _INSTANT, nullable=False),
        sa.Column("until_at", _INSTANT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("began_at", _INSTANT, nullable=True),
        sa.Column("ended_at", _INSTANT, nullable=True),
        sa.Column("removed_at", _INSTANT, nullable=True),
        sa.Column("removed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("name in ('oic', 'crowdtwist', 'siebel')", name="maintenance_name"),
        sa.CheckConstraint("from_at < until_at", name="maintenance_span"),
        sa.CheckConstraint("(removed_at is null) = (removed_by is null)", name="maintenance_removed_by"),
        sa.PrimaryKeyConstraint("id", name=op.f("maintenance_pkey")),
    )
    op.create_index(
        "maintenance_open", "maintenance", ["name", "from_at"], postgresql_where=sa.text("ended_at is null")
    )
    op.add_column("connection", sa.Column("window_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("connection", "window_id")
    op.drop_table("maintenance")

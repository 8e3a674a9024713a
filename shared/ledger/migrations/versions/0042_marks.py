"""Marks of deployments and of changed settings, for the time lines of incidents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "installation",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "mark",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.CheckConstraint("kind in ('deploy', 'setting')", name="mark_kind"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("mark_at", "mark", ["at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("mark")
    op.drop_table("installation")

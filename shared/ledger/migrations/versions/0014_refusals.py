"""What intake refused, and counts of all that it did."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "refusal",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=True),
        sa.Column("several", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("outcome in ('refused', 'conflict')", name="refusal_outcome"),
        sa.CheckConstraint("count > 0", name="refusal_count"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("refusal_at", "refusal", ["at"], unique=False)
    op.create_index("refusal_sender", "refusal", ["sender", "at"], unique=False)
    op.create_index(
        "refusal_member",
        "refusal",
        ["member_number", "id"],
        unique=False,
        postgresql_where=sa.text("member_number is not null"),
    )
    op.create_table(
        "intake_tally",
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("outcome", "slot"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("intake_tally")
    op.drop_table("refusal")

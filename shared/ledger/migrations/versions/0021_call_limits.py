"""How many calls may be in flight to each system, and what the calls of each process showed of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "call_limit",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("known", postgresql.JSONB(), nullable=True),
        sa.Column("shares", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("in_flight", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("wanted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("upto", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute("alter table call_limit set (fillfactor = 25)")
    op.execute("insert into call_limit (name) values ('oic'), ('crowdtwist'), ('siebel')")
    op.create_table(
        "call_window",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calls", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("process", "slot"),
        prefixes=["unlogged"],  # what a crash takes of it is written anew within a second
    )
    op.execute("alter table call_window set (fillfactor = 50)")


def downgrade() -> None:
    """Undo."""
    op.drop_table("call_window")
    op.drop_table("call_limit")

"""The budget is counted by quarters of a second."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.alter_column("spend", "at_s", new_column_name="slot")
    op.execute("update spend set slot = slot * 4 + 3")


def downgrade() -> None:
    """Undo."""
    op.alter_column("spend", "slot", new_column_name="at_s")
    op.execute("""
        with quarters as (delete from spend returning *)
        insert into spend (name, at_s, lane, calls)
        select name, at_s / 4, lane, sum(calls) from quarters group by name, at_s / 4, lane
    """)

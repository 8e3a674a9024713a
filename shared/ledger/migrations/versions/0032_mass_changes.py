"""What events show of their members and take from them, and guards that hold where it is taken from too many.

Of members that are known already it is read from their newest event when the next one comes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("member", sa.Column("shown", sa.Integer(), nullable=True))
    op.add_column("instance", sa.Column("cleared", sa.Integer(), nullable=True))
    op.create_index("instance_clears", "instance", ["accepted_at"], postgresql_where=sa.text("cleared is not null"))
    op.create_table(
        "programme_size",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("members", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("programme_size_pkey")),
    )
    _kinds("flood", "mass_change", "blanking")


def downgrade() -> None:
    """Undo: what guards hold of a mass change is due."""
    op.execute("""
        update instance set state = 'pending', hold_id = null
        where state = 'held' and hold_id in (select id from guard_hold where kind <> 'flood')
    """)
    op.execute("delete from guard_hold where kind <> 'flood'")
    _kinds("flood")
    op.drop_table("programme_size")
    op.drop_index("instance_clears", table_name="instance")
    op.drop_column("instance", "cleared")
    op.drop_column("member", "shown")


def _kinds(*kinds: str) -> None:
    op.drop_constraint("guard_hold_kind", "guard_hold")
    op.create_check_constraint("guard_hold_kind", "guard_hold", f"kind in ({', '.join(map(repr, kinds))})")

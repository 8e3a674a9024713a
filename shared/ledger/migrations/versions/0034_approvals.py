"""What waits for a second person, and jobs that do."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_STATES = ("planned", "running", "stopped", "done")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "approval",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("guard_id", sa.BigInteger(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", _INSTANT, nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.CheckConstraint("state in ('waiting', 'approved', 'refused', 'lapsed')", name="approval_state"),
        sa.CheckConstraint("num_nonnulls(job_id, guard_id) = 1", name="approval_of_one"),
        sa.CheckConstraint("state <> 'approved' or decided_by <> asked_by", name="approval_by_another"),
        sa.PrimaryKeyConstraint("id", name=op.f("approval_pkey")),
    )
    op.create_index("approval_waiting", "approval", ["id"], postgresql_where=sa.text("state = 'waiting'"))
    op.add_column("job", sa.Column("approved_by", sa.Text(), nullable=True))
    _states("awaiting_approval", *_STATES)


def downgrade() -> None:
    """Undo: what waits is stopped."""
    op.execute("""
        update job set state = 'stopped', stopped_why = 'nobody approved it', ended_at = now()
        where state = 'awaiting_approval'
    """)
    _states(*_STATES)
    op.drop_column("job", "approved_by")
    op.drop_table("approval")


def _states(*states: str) -> None:
    op.drop_constraint("job_state", "job")
    op.create_check_constraint("job_state", "job", f"state in ({', '.join(map(repr, states))})")

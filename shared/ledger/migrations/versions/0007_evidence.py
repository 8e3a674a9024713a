"""What tells a system that is down from members that fail: who probes, who is a suspect, how long we were asked to wait.

And the recipients whom a mail has not reached yet.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_SUSPECT = sa.text("suspect and state in ('waiting', 'dead')")
_COMPLETED = sa.text("state = 'completed'")


def upgrade() -> None:
    """Apply."""
    op.add_column("instance", sa.Column("suspect", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("instance_suspect", "instance", ["failed_stage"], postgresql_where=_SUSPECT)
    op.create_index("instance_completed", "instance", ["finished_at"], postgresql_where=_COMPLETED)
    op.drop_constraint("instance_errand", "instance")
    op.create_check_constraint("instance_errand", "instance", "errand in ('sync', 'report', 'read_back', 'probe')")
    for name in ("verify_at", "vouched_at", "wait_until"):
        op.add_column("connection", sa.Column(name, _INSTANT, nullable=True))
    op.add_column("connection", sa.Column("unproven", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("mail", sa.Column("recipients", postgresql.ARRAY(sa.Text()), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("mail", "recipients")
    for name in ("unproven", "wait_until", "vouched_at", "verify_at"):
        op.drop_column("connection", name)
    op.drop_constraint("instance_errand", "instance")
    op.create_check_constraint("instance_errand", "instance", "errand in ('sync', 'report', 'read_back')")
    op.drop_index("instance_completed", table_name="instance", postgresql_where=_COMPLETED)
    op.drop_index("instance_suspect", table_name="instance", postgresql_where=_SUSPECT)
    op.drop_column("instance", "suspect")

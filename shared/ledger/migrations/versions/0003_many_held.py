"""What turns ask for, answered by an index each, also in an outage that holds hundreds of thousands.

And how often an instance got its attempt back, so that a poisoned one does not for ever.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEXES = {
    "instance_held": (["due_stage", "lane", "id"], "state = 'held'"),
    "instance_read_back": (["lane", "errand_at"], "errand_at is not null and state = 'completed'"),
    "instance_report": (["lane", "errand_at"], "errand_at is not null and state not in ('completed', 'running')"),
}
_WITH_ERRAND = sa.text("errand_at is not null")


def upgrade() -> None:
    """Apply."""
    op.add_column("instance", sa.Column("given_back", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    for name, (columns, where) in _INDEXES.items():
        op.create_index(name, "instance", columns, unique=False, postgresql_where=sa.text(where))
    op.drop_index("instance_errand", table_name="instance", postgresql_where=_WITH_ERRAND)


def downgrade() -> None:
    """Undo."""
    op.create_index("instance_errand", "instance", ["errand_at"], unique=False, postgresql_where=_WITH_ERRAND)
    for name, (_, where) in _INDEXES.items():
        op.drop_index(name, table_name="instance", postgresql_where=sa.text(where))
    op.drop_column("instance", "given_back")

"""What activity keeps of an attempt that succeeded takes a third of the room: its calls are packed, its task is a uuid.

Older code shows of such a line that there was a call, and how it was answered.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

_COLUMNS = ("calls_packed", "task_uuid")


def upgrade() -> None:
    """Apply."""
    op.add_column("activity", sa.Column("calls_packed", BYTEA(), nullable=True))
    op.add_column("activity", sa.Column("task_uuid", sa.Uuid(), nullable=True))
    for name in _COLUMNS:
        op.execute(f"alter table activity alter column {name} set statistics 0")


def downgrade() -> None:
    """Undo; of calls that were packed only method and status stay."""
    op.execute("update activity set task_id = cast(task_uuid as text) where task_uuid is not null")
    for name in _COLUMNS:
        op.drop_column("activity", name)

"""Documents are kept as they come: `json`, not `jsonb`, since no condition looks inside one.

To change the type would write the largest tables anew and lock them for minutes.  So there is a column beside the old
one for what comes from now on, and the old one is read where that is empty, until its rows are pruned.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_COLUMNS = {
    "payload": ("event", "event_json"),
    "mapping": ("user_object", "user_json"),
    "activity": ("calls", "calls_json"),
}
_REQUIRED = ("payload", "mapping")


def upgrade() -> None:
    """Apply."""
    for table, (_, new) in _COLUMNS.items():
        op.add_column(table, sa.Column(new, JSON()))
        op.execute(f"alter table {table} alter column {new} set statistics 0")
    for table in _REQUIRED:
        op.alter_column(table, _COLUMNS[table][0], nullable=True)


def downgrade() -> None:
    """Undo."""
    for table, (old, new) in _COLUMNS.items():
        op.execute(f"update {table} set {old} = cast({new} as jsonb) where {new} is not null")
        op.drop_column(table, new)
    for table in _REQUIRED:
        op.alter_column(table, _COLUMNS[table][0], nullable=False)

"""Members are found by the ids that Siebel and CrowdTwist give them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = ("row_id", "ct_user_id")


def upgrade() -> None:
    """Apply."""
    for column in _COLUMNS:
        op.create_index(f"member_{column}", "member", [column], postgresql_where=sa.text(f"{column} is not null"))


def downgrade() -> None:
    """Undo."""
    for column in _COLUMNS:
        op.drop_index(f"member_{column}", table_name="member", postgresql_where=sa.text(f"{column} is not null"))

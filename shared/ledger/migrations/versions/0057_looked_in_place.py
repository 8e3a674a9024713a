"""Let a sighting be looked at where it stands: no index says any more when it was, and its page has room for it."""

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; the table is that of a run under way alone."""
    op.execute("alter table sighting set (fillfactor = 50)")
    op.drop_index("sighting_to_look_at", table_name="sighting")
    op.create_index("sighting_drawn", "sighting", ["run_id", "place"], postgresql_where=sa.text("drawn"))


def downgrade() -> None:
    """Undo."""
    op.execute("alter table sighting reset (fillfactor)")
    op.drop_index("sighting_drawn", table_name="sighting")
    op.create_index(
        "sighting_to_look_at",
        "sighting",
        ["run_id", "place"],
        postgresql_where=sa.text("drawn and looked_at is null"),
    )

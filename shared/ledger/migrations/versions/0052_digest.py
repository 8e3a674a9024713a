"""Beside the rows of a file: what a comparison needs of them, so that those which agree are told by one statement."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("reconciliation_file", sa.Column("digest", postgresql.ARRAY(postgresql.BYTEA()), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("reconciliation_file", "digest")

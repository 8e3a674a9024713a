"""Which code a schema serves that is newer than it."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "compatibility",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("serves_from", sa.Text(), nullable=False),
        sa.CheckConstraint("single", name="compatibility_one_row"),
        sa.PrimaryKeyConstraint("single"),
    )
    op.execute("insert into compatibility (serves_from) values ('0046')")


def downgrade() -> None:
    """Undo."""
    op.drop_table("compatibility")

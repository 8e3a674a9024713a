"""What is told goes to a webhook too, and is given up after so many tries."""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("mail", sa.Column("channel", sa.Text(), server_default=sa.text("'mail'"), nullable=False))
    op.add_column("mail", sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("mail_channel", "mail", "channel in ('mail', 'webhook')")


def downgrade() -> None:
    """Undo; what was to go to the webhook is forgotten."""
    op.execute("delete from mail where channel <> 'mail'")
    op.drop_constraint("mail_channel", "mail")
    op.drop_column("mail", "dead_at")
    op.drop_column("mail", "channel")

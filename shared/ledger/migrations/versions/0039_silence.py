"""How long each hour was silent, and mail that tells of a silence."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

_KINDS = ("down", "up", "digest", "snapshot", "guard", "reconciled", "incident")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "silence",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("longest_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("silence_pkey")),
    )
    _kinds_of_mail(*_KINDS, "silence")


def downgrade() -> None:
    """Undo."""
    op.execute("delete from mail where kind = 'silence'")
    op.execute("delete from bookmark where name = 'silence'")
    _kinds_of_mail(*_KINDS)
    op.drop_table("silence")


def _kinds_of_mail(*kinds: str) -> None:
    op.drop_constraint("mail_kind", "mail")
    op.create_check_constraint("mail_kind", "mail", f"kind in ({', '.join(map(repr, kinds))})")

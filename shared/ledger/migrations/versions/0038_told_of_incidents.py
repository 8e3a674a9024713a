"""Mail tells of incidents."""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

_KINDS = ("down", "up", "digest", "snapshot", "guard", "reconciled")


def upgrade() -> None:
    """Apply."""
    _kinds_of_mail(*_KINDS, "incident")


def downgrade() -> None:
    """Undo."""
    op.execute("delete from mail where kind = 'incident'")
    _kinds_of_mail(*_KINDS)


def _kinds_of_mail(*kinds: str) -> None:
    op.drop_constraint("mail_kind", "mail")
    op.create_check_constraint("mail_kind", "mail", f"kind in ({', '.join(map(repr, kinds))})")

"""Mail tells of reconciliations."""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_KINDS = ("down", "up", "digest", "snapshot", "guard")


def upgrade() -> None:
    """Apply."""
    _kinds_of_mail(*_KINDS, "reconciled")


def downgrade() -> None:
    """Undo."""
    op.execute("delete from mail where kind = 'reconciled'")
    _kinds_of_mail(*_KINDS)


def _kinds_of_mail(*kinds: str) -> None:
    op.drop_constraint("mail_kind", "mail")
    op.create_check_constraint("mail_kind", "mail", f"kind in ({', '.join(map(repr, kinds))})")

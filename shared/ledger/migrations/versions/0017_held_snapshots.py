"""Mail about whoever holds an old snapshot of the ledger."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.drop_constraint("mail_kind", "mail")
    op.create_check_constraint("mail_kind", "mail", "kind in ('down', 'up', 'digest', 'snapshot')")
    op.execute("insert into bookmark (name, upto) values ('snapshot', now())")


def downgrade() -> None:
    """Undo."""
    op.execute("delete from bookmark where name = 'snapshot'")
    op.execute("delete from mail where kind = 'snapshot'")
    op.drop_constraint("mail_kind", "mail")
    op.create_check_constraint("mail_kind", "mail", "kind in ('down', 'up', 'digest')")

"""Who was forgotten is found by its key, in the audit."""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("create index operator_action_forgotten on operator_action ((asked ->> 'key')) where what = 'forget'")


def downgrade() -> None:
    """Undo."""
    op.drop_index("operator_action_forgotten", "operator_action")

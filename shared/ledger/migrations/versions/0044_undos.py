"""A discard can be undone: a kind of job, and its verdict."""

from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

_KINDS = ("requeue", "discard", "resend", "repair")
_VERDICTS = ("send", "superseded", "merged", "discard", "refused", "overtaken", "moving")


def _checked(table: str, name: str, column: str, words: tuple[str, ...]) -> None:
    op.drop_constraint(name, table)
    op.create_check_constraint(name, table, f"{column} in ({', '.join(map(repr, words))})")


def upgrade() -> None:
    """Apply."""
    _checked("job", "job_kind", "kind", ("requeue", "discard", "undo", "resend", "repair"))
    verdicts = ("send", "superseded", "merged", "discard", "restore", "refused", "overtaken", "moving")
    _checked("job_item", "job_item_verdict", "verdict", verdicts)


def downgrade() -> None:
    """Undo; what undos there were is forgotten, and what they restored stays."""
    op.execute("delete from job where kind = 'undo'")
    _checked("job_item", "job_item_verdict", "verdict", _VERDICTS)
    _checked("job", "job_kind", "kind", _KINDS)

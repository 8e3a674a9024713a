"""Repairs are jobs, and what they send is told from what producers sent."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_KINDS = ("requeue", "discard", "resend")
_VERDICTS = ("send", "superseded", "merged", "discard", "refused")
_FROM_SOMEWHERE = sa.text("origin is not null")


def _checked(table: str, name: str, column: str, words: tuple[str, ...]) -> None:
    op.drop_constraint(name, table)
    op.create_check_constraint(name, table, f"{column} in ({', '.join(map(repr, words))})")


def upgrade() -> None:
    """Apply."""
    op.add_column("instance", sa.Column("origin", sa.Text(), nullable=True))
    op.create_check_constraint("instance_origin", "instance", "origin is null or origin in ('reconcile')")
    op.create_index("instance_origin", "instance", ["id"], postgresql_where=_FROM_SOMEWHERE)
    _checked("job", "job_kind", "kind", (*_KINDS, "repair"))
    _checked("job_item", "job_item_verdict", "verdict", (*_VERDICTS, "overtaken", "moving"))


def downgrade() -> None:
    """Undo; what repairs there were is forgotten, and what they sent stays."""
    op.execute("delete from job where kind = 'repair'")
    _checked("job_item", "job_item_verdict", "verdict", _VERDICTS)
    _checked("job", "job_kind", "kind", _KINDS)
    op.drop_index("instance_origin", table_name="instance", postgresql_where=_FROM_SOMEWHERE)
    op.drop_constraint("instance_origin", "instance")
    op.drop_column("instance", "origin")

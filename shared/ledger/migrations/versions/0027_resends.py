"""What CrowdTwist acknowledged can be sent again: when it did so is kept, and resends are jobs beside requeues."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_KINDS = ("report", "read_back", "probe", "tell_again")
_ITEMS = ("planned", "sent", "succeeded", "failed", "put_back", "closed", "refused")


def _checked(table: str, name: str, column: str, words: tuple[str, ...]) -> None:
    op.drop_constraint(name, table)
    op.create_check_constraint(name, table, f"{column} in ({', '.join(map(repr, words))})")


def upgrade() -> None:
    """Apply."""
    op.add_column("member", sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("""
        update member m set acknowledged_at = coalesce(i.finished_at, now()) from instance i where i.id = m.applied_id
    """)
    op.add_column("job", sa.Column("recreates", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _checked("job", "job_kind", "kind", ("requeue", "discard", "resend"))
    _checked("job_item", "job_item_state", "state", (*_ITEMS, "gone"))
    _checked("errand", "errand_kind", "kind", (*_KINDS, "resend", "recreate"))


def downgrade() -> None:
    """Undo; what resends there were is forgotten, and what they have not sent is not sent."""
    op.execute("""
        update member m set errand_id = null
        from errand e where e.id = m.errand_id and e.kind in ('resend', 'recreate')
    """)
    op.execute("delete from errand where kind in ('resend', 'recreate')")
    op.execute("delete from job where kind = 'resend'")
    _checked("errand", "errand_kind", "kind", _KINDS)
    _checked("job_item", "job_item_state", "state", _ITEMS)
    _checked("job", "job_kind", "kind", ("requeue", "discard"))
    op.drop_column("job", "recreates")
    op.drop_column("member", "acknowledged_at")

"""Calls that got no answer are marked by the instance that made them, at CrowdTwist and at Siebel; checks by member."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_INDEXES = {"member_read_back": "read_back_at", "member_tell_again": "tell_again_at"}
_OLD_CHECK = sa.text("errand_at is not null and state = 'completed'")


def upgrade() -> None:
    """Apply."""
    for name, of in (
        ("lost_write_id", sa.BigInteger()),
        ("read_back_at", sa.DateTime(timezone=True)),
        ("lost_tell_id", sa.BigInteger()),
        ("tell_again_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("member", sa.Column(name, of, nullable=True))
    op.execute("""
        update member set lost_write_id = coalesce(newest_id, applied_id) where lost_write_at is not null
    """)
    op.execute("""
        update member m set lost_write_id = m.applied_id, read_back_at = i.errand_at
        from instance i where i.id = m.applied_id and i.errand_at is not null and i.state = 'completed'
    """)
    op.execute("update instance set errand_at = null where errand_at is not null and state = 'completed'")
    op.drop_column("member", "lost_write_at")
    for name, column in _INDEXES.items():
        op.create_index(name, "member", [column], postgresql_where=sa.text(f"{column} is not null"))
    op.drop_index("instance_read_back", table_name="instance", postgresql_where=_OLD_CHECK)
    _errands("sync", "report", "read_back", "probe", "tell_again")


def downgrade() -> None:
    """Undo."""
    op.execute("update instance set errand = 'report' where errand = 'tell_again'")
    _errands("sync", "report", "read_back", "probe")
    op.create_index("instance_read_back", "instance", ["lane", "errand_at"], postgresql_where=_OLD_CHECK)
    for name, column in _INDEXES.items():
        op.drop_index(name, table_name="member", postgresql_where=sa.text(f"{column} is not null"))
    op.add_column("member", sa.Column("lost_write_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("update member set lost_write_at = now() where lost_write_id is not null")
    for name in ("lost_write_id", "read_back_at", "lost_tell_id", "tell_again_at"):
        op.drop_column("member", name)


def _errands(*words: str) -> None:
    op.drop_constraint("instance_errand", "instance")
    known = ", ".join(f"'{word}'" for word in words)
    op.create_check_constraint("instance_errand", "instance", f"errand in ({known})")

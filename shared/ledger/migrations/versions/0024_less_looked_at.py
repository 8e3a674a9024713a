"""What costs PostgreSQL time with every event and is good for nothing.

- The foreign key of an instance to its member: a query and a lock for each.  Intake makes and locks the member in the
  same transaction, and nothing deletes one.
- Statistics of columns that no condition names.  ANALYZE sorts and packs 30,000 of each, and a young ledger is analysed
  every 20 s: documents, hashes and sentences were most of that.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_IN_NO_CONDITION = {
    "payload": ("event",),
    "mapping": ("user_object", "oic_instance_id"),
    "activity": ("what", "took_ms", "task_id", "calls"),
    "instance": ("event_hash", "content_hash", "reason"),
    "member": ("echoed", "applied_hash", "told_error"),
}


def upgrade() -> None:
    """Apply."""
    op.drop_constraint("instance_member_number_fkey", "instance", type_="foreignkey")
    _sample(0)


def downgrade() -> None:
    """Undo."""
    _sample(-1)
    op.execute("""
        alter table instance add constraint instance_member_number_fkey
        foreign key (member_number) references member (member_number) not valid
    """)
    op.execute("alter table instance validate constraint instance_member_number_fkey")


def _sample(target: int) -> None:
    for table, names in _IN_NO_CONDITION.items():
        op.execute(f"alter table {table} {', '.join(f'alter column {name} set statistics {target}' for name in names)}")

"""When the ledger's large tables are vacuumed and analysed, and how fast.

`instance` and `member` change with every event.  The room for it is there (fillfactor 50); it is found again only after
a vacuum or a look at the page, so they are vacuumed after little (a hundredth, not a fifth) and without naps: at the
default pace (2 ms after so much work) what a snapshot of ten minutes has left behind takes longer to clear away than it
took to make, and everything waits behind it meanwhile.  They are analysed as early: the planner must know that few of
millions are due or out.

`payload`, `mapping` and `activity` are only added to, and pruned by age.  By default the first vacuum that marks their
pages comes after a fifth more rows, all at once, and the next look after a prune finds millions of dead; a twentieth at
a time nobody notices.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_CHANGING = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.02",
}
_GROWING = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}
_SETTINGS = {
    "instance": _CHANGING,
    "member": _CHANGING,
    "errand": _CHANGING,
    "payload": _GROWING,
    "mapping": _GROWING,
    "activity": _GROWING,
}
_BEFORE = {"instance": "0.02", "member": "0.05"}


def upgrade() -> None:
    """Apply."""
    for table, settings in _SETTINGS.items():
        op.execute(f"alter table {table} set ({', '.join(f'{name} = {value}' for name, value in settings.items())})")


def downgrade() -> None:
    """Undo."""
    for table, settings in _SETTINGS.items():
        op.execute(f"alter table {table} reset ({', '.join(settings)})")
    for table, part in _BEFORE.items():
        op.execute(f"alter table {table} set (autovacuum_vacuum_scale_factor = {part})")

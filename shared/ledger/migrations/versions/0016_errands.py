"""Errands have a table of their own: an instance stays as it is while a call is made for it beside its way.

For a fleet that is stopped.  Errands that are out keep their leases, run out and are repeated; a message that names
their instance finds nothing to begin.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_ENDED = "state in ('completed', 'rejected', 'dead', 'superseded', 'unchanged', 'skipped', 'discarded')"
_REPORT = sa.text("errand_at is not null and state not in ('completed', 'running')")
_NEWER = """exists (select from instance q where q.member_number = i.member_number
                    and q.state in ('pending', 'waiting', 'held'))"""


def upgrade() -> None:
    """Apply."""
    op.add_column("member", sa.Column("errand_id", sa.BigInteger(), nullable=True))
    op.create_table(
        "errand",
        sa.Column("id", sa.BigInteger(), sa.Identity(start=-1, increment=-1), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("due_at", _INSTANT, nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", _INSTANT, nullable=True),
        sa.Column("begun", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("apart", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("id < 0", name="errand_id_below_zero"),
        sa.CheckConstraint("kind in ('report', 'read_back', 'probe', 'tell_again')", name="errand_kind"),
        sa.CheckConstraint("stage in ('oic', 'crowdtwist', 'siebel')", name="errand_stage"),
        sa.CheckConstraint("lane in ('live', 'bulk')", name="errand_lane"),
        sa.CheckConstraint("(token <> 0) = (lease_until is not null)", name="errand_out_has_lease"),
        sa.CheckConstraint("token <> 0 or not begun", name="errand_only_out_is_begun"),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("instance_id", "kind", name="errand_one_of_a_kind"),
    )
    out = sa.text("token <> 0")
    op.create_index("errand_one_out", "errand", ["member_number"], unique=True, postgresql_where=out)
    op.create_index("errand_of_member", "errand", ["member_number"])
    op.create_index("errand_due", "errand", ["lane", "due_at"], postgresql_where=sa.text("token = 0"))
    op.execute("""
        insert into errand (instance_id, member_number, kind, stage, lane, due_at, attempt, token, lease_until, begun,
                            alone, apart)
        select id, member_number, errand, stage, lane, now(), attempt, token, lease_until, begun, alone, apart
        from instance where errand <> 'sync'
    """)
    op.execute("""
        insert into errand (instance_id, member_number, kind, stage, lane, due_at, attempt)
        select id, member_number, 'report', 'siebel', lane, errand_at, case errand when 'sync' then errand_attempt else 0 end
        from instance where errand_at is not null and (errand <> 'sync' or state not in ('completed', 'running'))
        on conflict (instance_id, kind) do nothing
    """)
    op.execute(
        "update member m set errand_id = e.id from errand e where e.token <> 0 and e.member_number = m.member_number"
    )
    op.execute("alter table instance drop constraint instance_errand_is_running")
    op.execute(f"""
        update instance i
        set state = case when i.parked_state in ('pending', 'waiting', 'held') and {_NEWER} then 'superseded'
                         else i.parked_state end,
            finished_at = case when i.parked_state in ('pending', 'waiting', 'held') and {_NEWER} then now()
                               else i.finished_at end,
            stage = i.parked_stage, attempt = i.parked_attempt, token = 0, lease_until = null, begun = false
        where i.errand <> 'sync'
    """)
    op.drop_index("instance_report", table_name="instance", postgresql_where=_REPORT)
    for name in ("instance_errand", "instance_errand_parks_state", "instance_end"):
        op.drop_constraint(name, "instance")
    op.create_check_constraint("instance_end", "instance", f"({_ENDED}) = (finished_at is not null)")
    for name in ("errand", "errand_at", "errand_attempt", "parked_state", "parked_stage", "parked_attempt"):
        op.drop_column("instance", name)


def downgrade() -> None:
    """Undo."""
    for name, of, default in (
        ("errand", sa.Text(), "sync"),
        ("errand_at", _INSTANT, None),
        ("errand_attempt", sa.SmallInteger(), sa.text("0")),
        ("parked_state", sa.Text(), None),
        ("parked_stage", sa.Text(), None),
        ("parked_attempt", sa.SmallInteger(), None),
    ):
        op.add_column("instance", sa.Column(name, of, server_default=default, nullable=default is None))
    op.drop_constraint("instance_end", "instance")
    op.create_check_constraint(
        "instance_end", "instance", f"state = 'running' or ({_ENDED}) = (finished_at is not null)"
    )
    op.execute("""
        update instance i set errand_at = e.due_at, errand_attempt = e.attempt
        from errand e where e.instance_id = i.id and e.kind = 'report' and e.token = 0 and i.state <> 'completed'
    """)
    op.execute("""
        update instance i
        set parked_state = i.state, parked_stage = i.stage, parked_attempt = i.attempt, state = 'running',
            errand = e.kind, stage = e.stage, attempt = e.attempt, token = e.token, lease_until = e.lease_until,
            begun = e.begun, alone = e.alone, apart = i.apart or e.apart
        from errand e where e.instance_id = i.id and e.token <> 0
    """)
    op.create_check_constraint(
        "instance_errand", "instance", "errand in ('sync', 'report', 'read_back', 'probe', 'tell_again')"
    )
    parks = "(errand <> 'sync') = (parked_state is not null)"
    op.create_check_constraint("instance_errand_parks_state", "instance", parks)
    op.create_check_constraint("instance_errand_is_running", "instance", "errand = 'sync' or state = 'running'")
    op.create_index("instance_report", "instance", ["lane", "errand_at"], postgresql_where=_REPORT)
    op.drop_table("errand")
    op.drop_column("member", "errand_id")

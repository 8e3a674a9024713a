"""What guards hold, and how many members meet one Data Error.

What a guard holds is `held` with the id of its hold; what a connection that is down holds has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_KINDS = ("down", "up", "digest", "snapshot")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "guard_hold",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("alike", sa.Integer(), nullable=False),
        sa.Column("went_out", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("opened_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("mailed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("try_at", _INSTANT, nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", _INSTANT, nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("ended_at", _INSTANT, nullable=True),
        sa.CheckConstraint("kind = 'flood'", name="guard_hold_kind"),
        sa.CheckConstraint(
            "state in ('holding', 'releasing', 'released', 'discarding', 'discarded')", name="guard_hold_state"
        ),
        sa.CheckConstraint("stage in ('oic', 'crowdtwist', 'siebel')", name="guard_hold_stage"),
        sa.CheckConstraint("(state in ('released', 'discarded')) = (ended_at is not null)", name="guard_hold_end"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "guard_hold_one_of_a_cause",
        "guard_hold",
        ["fingerprint"],
        unique=True,
        postgresql_where=sa.text("state in ('holding', 'releasing')"),
    )
    op.create_index("guard_hold_open", "guard_hold", ["id"], postgresql_where=sa.text("ended_at is null"))
    op.create_index("guard_hold_of_cause", "guard_hold", ["fingerprint", "id"])
    op.create_table(
        "flood_count",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "at"),
    )
    op.add_column("instance", sa.Column("hold_id", sa.BigInteger(), nullable=True))
    op.create_check_constraint(
        "instance_guarded_is_held", "instance", "hold_id is null or state in ('held', 'superseded', 'discarded')"
    )
    op.drop_index("instance_held", "instance")
    _index_held("state = 'held' and hold_id is null")
    op.create_index(
        "instance_guarded",
        "instance",
        ["hold_id", "id"],
        postgresql_where=sa.text("state = 'held' and hold_id is not null"),
    )
    _kinds_of_mail(*_KINDS, "guard")


def downgrade() -> None:
    """Undo; what guards hold is held as by a connection, and goes out again."""
    op.execute("delete from mail where kind = 'guard'")
    _kinds_of_mail(*_KINDS)
    op.drop_index("instance_guarded", "instance")
    op.drop_index("instance_held", "instance")
    op.drop_constraint("instance_guarded_is_held", "instance")
    op.drop_column("instance", "hold_id")
    _index_held("state = 'held'")
    op.drop_table("flood_count")
    op.drop_table("guard_hold")


def _index_held(where: str) -> None:
    op.create_index("instance_held", "instance", ["due_stage", "lane", "id"], postgresql_where=sa.text(where))


def _kinds_of_mail(*kinds: str) -> None:
    op.drop_constraint("mail_kind", "mail")
    op.create_check_constraint("mail_kind", "mail", f"kind in ({', '.join(map(repr, kinds))})")

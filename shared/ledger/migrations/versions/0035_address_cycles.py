"""Cycles of addresses can be let loose: who is parked, what frees which address, and the errand that parks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_KINDS = ("report", "read_back", "probe", "tell_again", "resend", "recreate")
_STATES = ("parking", "parked", "returning", "ended")
_ENDS = ("resolved", "overtaken", "put_back", "given_up", "refused", "gone")


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} in ({', '.join(map(repr, words))})"


def upgrade() -> None:
    """Apply."""
    instant = sa.DateTime(timezone=True)
    key = sa.Text(collation="C")
    op.create_table(
        "address_cycle",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_number", key, nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("refused_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("address_keys", postgresql.ARRAY(postgresql.BYTEA()), nullable=False),
        sa.Column("old_key", postgresql.BYTEA(), nullable=False),
        sa.Column("park_key", postgresql.BYTEA(), nullable=False),
        sa.Column("state", sa.Text(), server_default="parking", nullable=False),
        sa.Column("started_at", instant, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("deadline_at", instant, nullable=False),
        sa.Column("parked_at", instant, nullable=True),
        sa.Column("returned_at", instant, nullable=True),
        sa.Column("ended_at", instant, nullable=True),
        sa.Column("ended_how", sa.Text(), nullable=True),
        sa.CheckConstraint(_one_of("state", _STATES), name="address_cycle_state"),
        sa.CheckConstraint(f"ended_how is null or {_one_of('ended_how', _ENDS)}", name="address_cycle_ended_how"),
        sa.CheckConstraint("(state = 'ended') = (ended_at is not null)", name="address_cycle_end"),
        sa.CheckConstraint("(ended_at is null) = (ended_how is null)", name="address_cycle_how"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "address_cycle_one_open",
        "address_cycle",
        ["member_number"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_index("address_cycle_refused", "address_cycle", ["refused_ids"])
    op.create_table(
        "address_cycle_step",
        sa.Column("cycle_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("member_number", key, nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("done_at", instant, nullable=True),
        sa.ForeignKeyConstraint(["cycle_id"], ["address_cycle.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("cycle_id", "position"),
    )
    op.create_index("address_cycle_step_of_member", "address_cycle_step", ["member_number"])
    op.drop_constraint("errand_kind", "errand")
    op.create_check_constraint("errand_kind", "errand", _one_of("kind", (*_KINDS, "park")))


def downgrade() -> None:
    """Undo; who is parked stays so until a newer event comes."""
    op.execute("update member m set errand_id = null from errand e where e.id = m.errand_id and e.kind = 'park'")
    op.execute("delete from errand where kind = 'park'")
    op.drop_constraint("errand_kind", "errand")
    op.create_check_constraint("errand_kind", "errand", _one_of("kind", _KINDS))
    op.drop_table("address_cycle_step")
    op.drop_table("address_cycle")

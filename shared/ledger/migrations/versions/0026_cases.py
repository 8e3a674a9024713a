"""Data Errors as cases: of which kind, who has the address, who took it up, and how it ended."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_OPEN = sa.text("closed_at is null")
_KINDS = "'taken_by_active', 'taken_by_inactive', 'chain', 'cycle', 'outside_holder', 'format', 'missing', 'other'"
_ENDS = "'corrected', 'holder_moved', 'deleted', 'sent_again', 'overtaken', 'discarded', 'pruned'"


def upgrade() -> None:
    """Apply; members whose newest event is a Data Error get their cases."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "data_case",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", instant, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("refused_at", instant, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("character", sa.Text(), nullable=True),
        sa.Column("wants_key", postgresql.BYTEA(), nullable=True),
        sa.Column("held_by", sa.Text(collation="C"), nullable=True),
        sa.Column("path", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("unblocks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("looked", sa.Text(), nullable=True),
        sa.Column("looked_up_at", instant, nullable=True),
        sa.Column("look_at", instant, nullable=True),
        sa.Column("holder", postgresql.JSONB(), nullable=True),
        sa.Column("acknowledged_at", instant, nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("closed_at", instant, nullable=True),
        sa.Column("closed_how", sa.Text(), nullable=True),
        sa.CheckConstraint(f"kind is null or kind in ({_KINDS})", name="data_case_kind"),
        sa.CheckConstraint("looked is null or looked in ('found', 'nobody', 'own')", name="data_case_looked"),
        sa.CheckConstraint(f"closed_how is null or closed_how in ({_ENDS})", name="data_case_closed_how"),
        sa.CheckConstraint("(closed_at is null) = (closed_how is null)", name="data_case_end"),
        sa.CheckConstraint("(acknowledged_at is null) = (acknowledged_by is null)", name="data_case_acknowledged"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("data_case_one_open", "data_case", ["member_number"], unique=True, postgresql_where=_OPEN)
    op.create_index("data_case_order", "data_case", [sa.text("unblocks desc"), "id"], postgresql_where=_OPEN)
    for name, column, condition in (
        ("new", "id", "closed_at is null and kind is null"),
        ("held_by", "held_by", "closed_at is null and held_by is not null"),
        ("look", "look_at", "closed_at is null and look_at is not null"),
        ("looked", "looked_up_at", "looked_up_at is not null"),
    ):
        op.create_index(f"data_case_{name}", "data_case", [column], postgresql_where=sa.text(condition))
    op.create_index(
        "data_case_closed", "data_case", ["closed_at", "id"], postgresql_where=sa.text("closed_at is not null")
    )
    key = "sha256((select value from secret where name = 'email') || convert_to(nullif(lower(btrim({})), ''), 'UTF8'))"
    op.execute(f"""
        insert into data_case (member_number, instance_id, opened_at, refused_at, wants_key, held_by)
        select i.member_number, i.id, i.finished_at, i.finished_at, w.key,
               (select h.member_number from member h
                where h.held_email_key = w.key and h.member_number <> i.member_number limit 1)
        from instance i
        join member m on m.newest_id = i.id and m.member_number = i.member_number
        left join mapping p on p.instance_id = i.id,
        lateral (select {key.format("coalesce(p.user_json, cast(p.user_object as json))->>'email_address'")} as key) as w
        where i.state = 'rejected'
    """)


def downgrade() -> None:
    """Undo."""
    op.drop_table("data_case")

"""Reconciliations: their runs, what these were handed and have seen, and the differences that they found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "reconciliation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("scheduled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("asked", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sample", sa.Integer(), nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("settle_s", sa.Double(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), server_default="siebel", nullable=False),
        sa.Column("cursor", sa.Text(), server_default="", nullable=False),
        sa.Column("token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waiting", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("in_siebel", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("in_ledger", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("in_crowdtwist", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("to_look_at", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("compared", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("moving", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unread", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("calls_siebel", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("calls_crowdtwist", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("covered", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("drift", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("classes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("strata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("mailed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "(state in ('done', 'failed', 'stopped')) = (ended_at is not null)", name="reconciliation_end"
        ),
        sa.CheckConstraint("mode in ('full', 'sample')", name="reconciliation_mode"),
        sa.CheckConstraint(
            "phase in ('siebel', 'ledger', 'file', 'draw', 'crowdtwist', 'second', 'end')", name="reconciliation_phase"
        ),
        sa.CheckConstraint(
            "state in ('loading', 'planned', 'running', 'done', 'failed', 'stopped')", name="reconciliation_state"
        ),
        sa.CheckConstraint("state not in ('failed', 'stopped') or why is not null", name="reconciliation_why"),
        sa.CheckConstraint("share > 0 and share <= 1", name="reconciliation_share"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "reconciliation_open", "reconciliation", ["id"], unique=False, postgresql_where=sa.text("ended_at is null")
    )
    op.create_table(
        "reconciliation_file",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rows", postgresql.BYTEA(), nullable=False),
        sa.CheckConstraint("side in ('siebel', 'crowdtwist')", name="reconciliation_file_side"),
        sa.ForeignKeyConstraint(["run_id"], ["reconciliation.id"], ondelete="cascade"),
        sa.PrimaryKeyConstraint("run_id", "side", "place"),
    )
    op.create_table(
        "sighting",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("page", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("row_id", sa.Text(), nullable=True),
        sa.Column("marker", sa.Text(), server_default="", nullable=False),
        sa.Column("drawn", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("suspected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("siebel", postgresql.BYTEA(), nullable=True),
        sa.Column("crowdtwist", postgresql.BYTEA(), nullable=True),
        sa.Column("from_file", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome is null or outcome in ('same', 'differs', 'moving', 'unread')", name="sighting_outcome"
        ),
        sa.CheckConstraint(
            "stratum in ('never_in_ledger', 'newer_in_siebel', 'not_in_siebel', 'only_in_file', 'given_up', 'unsure', 'requeued', 'recent', 'long_untouched')",
            name="sighting_stratum",
        ),
        sa.PrimaryKeyConstraint("run_id", "member_number"),
    )
    op.create_index(
        "sighting_suspected",
        "sighting",
        ["run_id", "page", "member_number"],
        unique=False,
        postgresql_where=sa.text("suspected_at is not null and outcome is null"),
    )
    op.create_index(
        "sighting_to_look_at",
        "sighting",
        ["run_id", "place"],
        unique=False,
        postgresql_where=sa.text("drawn and looked_at is null"),
    )
    op.create_table(
        "difference",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("siebel", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("crowdtwist", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("ledger", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("repairs", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("repaired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "class in ('never_sent', 'missed_event', 'changed_at_destination', 'rolled_back', 'gone_at_destination', 'orphan', 'status_lies', 'ledger_behind')",
            name="difference_class",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["reconciliation.id"], ondelete="cascade"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "member_number", "class", name="difference_one_of_a_class"),
    )
    op.create_index("difference_of_member", "difference", ["member_number", "class"], unique=False)
    op.create_index("difference_of_run", "difference", ["run_id", "class", "id"], unique=False)
    op.create_index(
        "difference_repaired", "difference", ["repaired_at"], postgresql_where=sa.text("repaired_at is not null")
    )


def downgrade() -> None:
    """Undo."""
    for table in ("difference", "sighting", "reconciliation_file", "reconciliation"):
        op.drop_table(table)

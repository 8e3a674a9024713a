"""The ledger's first form."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "activity",
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("took_ms", sa.Double(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("calls", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("instance_id", "id"),
    )
    op.create_index("activity_at", "activity", ["at"], unique=False)
    op.create_table(
        "connection",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("breaker", sa.Text(), server_default="closed", nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_members", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("probe_instance_id", sa.BigInteger(), nullable=True),
        sa.Column("healed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(breaker = 'closed') = (opened_at is null)", name="connection_open_since"),
        sa.CheckConstraint("breaker in ('closed', 'open', 'half_open')", name="connection_breaker"),
        sa.CheckConstraint("name in ('oic', 'crowdtwist', 'siebel')", name="connection_name"),
        sa.CheckConstraint("(failures = 0) = (failing_since is null)", name="connection_failing_since"),
        sa.CheckConstraint(
            "not paused or (paused_by is not null and paused_reason is not null)", name="connection_paused_by"
        ),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("from_start", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rate_per_minute", sa.Integer(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("step", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_why", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("paid_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'stopped') = (stopped_why is not null)", name="job_stopped_why"),
        sa.CheckConstraint("ended_at is null or state in ('stopped', 'done')", name="job_end"),
        sa.CheckConstraint("kind in ('requeue', 'discard')", name="job_kind"),
        sa.CheckConstraint("state in ('planned', 'running', 'stopped', 'done')", name="job_state"),
        sa.CheckConstraint("rate_per_minute > 0", name="job_rate"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("job_of_kind", "job", ["kind", "id"], unique=False)
    op.create_index("job_open", "job", ["next_at"], unique=False, postgresql_where=sa.text("ended_at is null"))
    op.create_table(
        "mapping",
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_object", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("oic_instance_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("instance_id"),
    )
    op.create_table(
        "member",
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("row_id", sa.Text(), nullable=True),
        sa.Column("newest_id", sa.BigInteger(), nullable=True),
        sa.Column("newest_modification", sa.BigInteger(), nullable=True),
        sa.Column("newest_occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("applied_id", sa.BigInteger(), nullable=True),
        sa.Column("applied_hash", postgresql.BYTEA(), nullable=True),
        sa.Column("synced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ct_user_id", sa.BigInteger(), nullable=True),
        sa.Column("known_in_crowdtwist", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("unknown_outcome", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("lost_write_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_status", sa.Text(), nullable=True),
        sa.Column("told_error", sa.Text(), nullable=True),
        sa.Column("told_id", sa.BigInteger(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("member_number"),
    )
    op.create_table(
        "operator_action",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("asked", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("denied", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("operator_action_at", "operator_action", ["at"], unique=False)
    op.create_table(
        "payload",
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("instance_id"),
    )
    op.create_table(
        "spend",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", "at_s", "lane"),
    )
    op.create_table(
        "stray_message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("event_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("content_hash", postgresql.BYTEA(), nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("modification", sa.BigInteger(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), server_default="oic", nullable=False),
        sa.Column("due_stage", sa.Text(), server_default="oic", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("losses", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("resubmits", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errand", sa.Text(), server_default="sync", nullable=False),
        sa.Column("errand_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_state", sa.Text(), nullable=True),
        sa.Column("parked_stage", sa.Text(), nullable=True),
        sa.Column("parked_attempt", sa.SmallInteger(), nullable=True),
        sa.Column("errand_attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("failed_stage", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(errand <> 'sync') = (parked_state is not null)", name="instance_errand_parks_state"),
        sa.CheckConstraint("(state = 'running') = (lease_until is not null)", name="instance_running_has_lease"),
        sa.CheckConstraint("(state = 'running') = (token <> 0)", name="instance_running_has_token"),
        sa.CheckConstraint("errand = 'sync' or state = 'running'", name="instance_errand_is_running"),
        sa.CheckConstraint("errand in ('sync', 'report', 'read_back')", name="instance_errand"),
        sa.CheckConstraint("lane in ('live', 'bulk')", name="instance_lane"),
        sa.CheckConstraint("operation in ('enroll', 'update', 'delete')", name="instance_operation"),
        sa.CheckConstraint("stage in ('oic', 'crowdtwist', 'siebel')", name="instance_stage"),
        sa.CheckConstraint(
            "state <> 'dead' or (code is not null and failed_stage is not null)", name="instance_dead_has_cause"
        ),
        sa.CheckConstraint(
            "state = 'running' or (state in ('completed', 'rejected', 'dead', 'superseded', 'unchanged', 'skipped', 'discarded')) = (finished_at is not null)",
            name="instance_end",
        ),
        sa.CheckConstraint("state = 'running' or not begun", name="instance_only_running_is_begun"),
        sa.CheckConstraint(
            "state in ('pending', 'running', 'waiting', 'held', 'completed', 'rejected', 'dead', 'superseded', 'unchanged', 'skipped', 'discarded')",
            name="instance_state",
        ),
        sa.CheckConstraint(
            "status is null or status in ('Success', 'OIC Failure', 'CT Failure', 'Data Error')", name="instance_status"
        ),
        sa.ForeignKeyConstraint(["member_number"], ["member.member_number"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id"),
    )
    op.create_index(
        "instance_due",
        "instance",
        ["lane", "due_stage", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state in ('pending', 'waiting')"),
    )
    op.create_index(
        "instance_errand", "instance", ["errand_at"], unique=False, postgresql_where=sa.text("errand_at is not null")
    )
    op.create_index(
        "instance_finished",
        "instance",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at is not null"),
    )
    op.create_index("instance_of_member", "instance", ["member_number", "id"], unique=False)
    op.create_index(
        "instance_one_queued",
        "instance",
        ["member_number"],
        unique=True,
        postgresql_where=sa.text("state in ('pending', 'waiting', 'held')"),
    )
    op.create_index(
        "instance_one_running",
        "instance",
        ["member_number"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "instance_open",
        "instance",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state not in ('pending', 'running', 'completed')"),
    )
    op.create_index("instance_troubled", "instance", ["id"], unique=False, postgresql_where=sa.text("code is not null"))
    op.create_table(
        "job_item",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_number", sa.Text(collation="C"), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("newer_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=True),
        sa.Column("was", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("state <> 'sent' or (step is not null and was is not null)", name="job_item_sent"),
        sa.CheckConstraint(
            "state in ('planned', 'sent', 'succeeded', 'failed', 'put_back', 'closed', 'refused')",
            name="job_item_state",
        ),
        sa.CheckConstraint(
            "verdict in ('send', 'superseded', 'merged', 'discard', 'refused')", name="job_item_verdict"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="cascade"),
        sa.PrimaryKeyConstraint("job_id", "instance_id"),
    )
    op.create_index(
        "job_item_open",
        "job_item",
        ["job_id", "state", "instance_id"],
        unique=False,
        postgresql_where=sa.text("state in ('planned', 'sent')"),
    )
    op.execute("alter table instance set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)")
    op.execute("alter table member set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)")
    op.execute("insert into connection (name) values ('oic'), ('crowdtwist'), ('siebel')")


def downgrade() -> None:
    """Undo."""
    op.drop_index("job_item_open", table_name="job_item", postgresql_where=sa.text("state in ('planned', 'sent')"))
    op.drop_table("job_item")
    op.drop_index("instance_troubled", table_name="instance", postgresql_where=sa.text("code is not null"))
    op.drop_index(
        "instance_open",
        table_name="instance",
        postgresql_where=sa.text("state not in ('pending', 'running', 'completed')"),
    )
    op.drop_index("instance_one_running", table_name="instance", postgresql_where=sa.text("state = 'running'"))
    op.drop_index(
        "instance_one_queued",
        table_name="instance",
        postgresql_where=sa.text("state in ('pending', 'waiting', 'held')"),
    )
    op.drop_index("instance_of_member", table_name="instance")
    op.drop_index("instance_finished", table_name="instance", postgresql_where=sa.text("finished_at is not null"))
    op.drop_index("instance_errand", table_name="instance", postgresql_where=sa.text("errand_at is not null"))
    op.drop_index("instance_due", table_name="instance", postgresql_where=sa.text("state in ('pending', 'waiting')"))
    op.drop_table("instance")
    op.drop_table("stray_message")
    op.drop_table("spend")
    op.drop_table("payload")
    op.drop_index("operator_action_at", table_name="operator_action")
    op.drop_table("operator_action")
    op.drop_table("member")
    op.drop_table("mapping")
    op.drop_index("job_open", table_name="job", postgresql_where=sa.text("ended_at is null"))
    op.drop_index("job_of_kind", table_name="job")
    op.drop_table("job")
    op.drop_table("connection")
    op.drop_index("activity_at", table_name="activity")
    op.drop_table("activity")

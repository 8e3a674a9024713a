"""Incidents: an outage as one object, with its spans, its counts, and what people noted."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_STAGE = "stage in ('oic', 'crowdtwist', 'siebel')"
_ACKNOWLEDGED = "(acknowledged_at is null) = (acknowledged_by is null)"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "incident",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "state", "stage", "cause", "fingerprint")),
        sa.Column("opened_at", _INSTANT, nullable=False),
        *(sa.Column(f"{name}_at", _INSTANT) for name in ("resolved", "closed", "settled", "acknowledged")),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("merged_into", sa.BigInteger()),
        sa.Column("from_at", _INSTANT, nullable=False),
        sa.Column("counted_upto", _INSTANT, nullable=False),
        *(_counter(name, sa.BigInteger()) for name in ("affected", "ended", "dead", "statuses_told", "wasted_calls")),
        *(_counter(name, sa.Float()) for name in ("began_s", "ended_s", "worst_age_s")),
        sa.Column("late_from", _INSTANT),
        sa.Column("late_to", _INSTANT),
        sa.Column("first_id", sa.BigInteger()),
        sa.Column("last_id", sa.BigInteger()),
        sa.Column("frozen", postgresql.JSONB()),
        sa.Column("told", sa.Text()),
        sa.Column("told_at", _INSTANT),
        sa.Column("reminded_at", _INSTANT),
        sa.CheckConstraint("kind in ('connection', 'cause')", name="incident_kind"),
        sa.CheckConstraint("state in ('open', 'resolved', 'closed', 'merged')", name="incident_state"),
        sa.CheckConstraint(_STAGE, name="incident_stage"),
        sa.CheckConstraint("(state = 'open') = (resolved_at is null)", name="incident_resolved"),
        sa.CheckConstraint("(state = 'merged') = (merged_into is not null)", name="incident_merged"),
        sa.CheckConstraint(_ACKNOWLEDGED, name="incident_acknowledged"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_live", "incident", ["id"], postgresql_where=sa.text("state in ('open', 'resolved')"))
    op.create_index("incident_uncounted", "incident", ["id"], postgresql_where=sa.text("settled_at is null"))
    op.create_index("incident_fingerprint", "incident", ["fingerprint", "id"])
    op.create_table(
        "incident_span",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("incident_id", sa.BigInteger(), sa.ForeignKey("incident.id"), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("from_at", _INSTANT, nullable=False),
        sa.Column("to_at", _INSTANT),
        sa.CheckConstraint(_STAGE, name="incident_span_stage"),
        sa.CheckConstraint("to_at is null or to_at >= from_at", name="incident_span_order"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_span_of", "incident_span", ["incident_id", "from_at"])
    op.create_index("incident_span_open", "incident_span", ["stage"], postgresql_where=sa.text("to_at is null"))
    op.create_table(
        "incident_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("incident_id", sa.BigInteger(), sa.ForeignKey("incident.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("written_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("stage", sa.Text()),
        sa.Column("who", sa.Text()),
        sa.Column("what", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind in ('probe', 'probe_failed', 'note', 'acknowledged', 'merged', 'split')", name="incident_event_kind"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_event_of", "incident_event", ["incident_id", "at"])
    op.create_table(
        "cause_count",
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stage", "code", "at"),
    )
    op.execute("""
        with down as (
            select name, coalesce(failing_since, opened_at) as from_at, opened_at
            from connection where breaker <> 'closed'
        ), opened as (
            insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto, told)
            select 'connection', 'open', name, 'down when incidents began to be kept',
                   name || '-' || substr(md5(name), 1, 8), opened_at, from_at, from_at, 'open'
            from down returning id, stage, from_at
        )
        insert into incident_span (incident_id, stage, from_at) select id, stage, from_at from opened
    """)


def downgrade() -> None:
    """Undo."""
    for table in ("cause_count", "incident_event", "incident_span", "incident"):
        op.drop_table(table)


def _counter(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, server_default=sa.text("0"), nullable=False)

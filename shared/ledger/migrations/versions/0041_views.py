"""Views for reports of others, in a schema of their own (deploy/RUNBOOK.md, "Reports of your own").

Their columns keep their names and their sense: a table that changes below one has it made anew, the same to look at.
"""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_SCHEMA = "membersync_views"
_VIEWS = {
    "outcomes": """
        select id as instance_id, member_number, operation, lane, origin, state, stage, status, code, failed_stage,
               resubmits, modification, occurred_at, accepted_at, finished_at,
               cast(extract(epoch from finished_at - accepted_at) as double precision) as took_s
        from public.instance
    """,
    "attempts": """
        select instance_id, at, stage, attempt, state, code, took_ms,
               json_array_length(coalesce(calls_json, cast(calls as json), '[]')) as calls
        from public.activity where attempt is not null
    """,
    "members": """
        select member_number, known_in_crowdtwist, synced as in_sync, newest_id as newest_instance_id,
               newest_operation, newest_occurred_at, applied_id as applied_instance_id, acknowledged_at, told_status,
               told_id as told_instance_id, told_at
        from public.member
    """,
    "incidents": """
        select id as incident_id, kind, state, stage, fingerprint, opened_at, resolved_at, closed_at, acknowledged_at,
               merged_into, affected, dead, statuses_told, wasted_calls, worst_age_s
        from public.incident
    """,
}


def upgrade() -> None:
    """Apply."""
    # Where the ledger's user may create no schema, somebody else may have created this one for it.
    op.execute(f"""do $$ begin
        if to_regnamespace('{_SCHEMA}') is null then create schema {_SCHEMA}; end if;
    end $$""")
    for name, select in _VIEWS.items():
        op.execute(f"create view {_SCHEMA}.{name} as {select}")


def downgrade() -> None:
    """Undo."""
    for name in _VIEWS:
        op.execute(f"drop view {_SCHEMA}.{name}")

"""Views for reports of others, in a schema of their own (deploy/RUNBOOK.md, "Reports of your own").

Their columns keep their names and their sense: a table that changes below one has it made anew, the same to look at.
They are of the tables in the schema of this ledger.  Where another ledger in the same database has the views of that
name, they are in `membersync_views_of_` and the name of the schema.
"""

from alembic import op
from sqlalchemy import text

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
        from {of}.instance
    """,
    "attempts": """
        select instance_id, at, stage, attempt, state, code, took_ms,
               json_array_length(coalesce(calls_json, cast(calls as json), '[]')) as calls
        from {of}.activity where attempt is not null
    """,
    "members": """
        select member_number, known_in_crowdtwist, synced as in_sync, newest_id as newest_instance_id,
               newest_operation, newest_occurred_at, applied_id as applied_instance_id, acknowledged_at, told_status,
               told_id as told_instance_id, told_at
        from {of}.member
    """,
    "incidents": """
        select id as incident_id, kind, state, stage, fingerprint, opened_at, resolved_at, closed_at, acknowledged_at,
               merged_into, affected, dead, statuses_told, wasted_calls, worst_age_s
        from {of}.incident
    """,
}


def upgrade() -> None:
    """Apply."""
    of = _schema()
    views = f"{_SCHEMA}_of_{of}" if _of_whom(_SCHEMA) else _SCHEMA
    # Where the ledger's user may create no schema, somebody else may have created this one for it.
    op.execute(f"""do $$ begin
        if to_regnamespace('"{views}"') is null then create schema "{views}"; end if;
    end $$""")
    for name, select in _VIEWS.items():
        query = select.replace("{of}", f'"{of}"')
        op.execute(f'create view "{views}".{name} as {query}')


def downgrade() -> None:
    """Undo."""
    of = _schema()
    views = _SCHEMA if _of_whom(_SCHEMA) == of else f"{_SCHEMA}_of_{of}"
    for name in _VIEWS:
        op.execute(f'drop view "{views}".{name}')


def _schema() -> str:
    return str(op.get_bind().execute(text("select current_schema()")).scalar_one())


def _of_whom(views: str) -> str | None:
    """Return the schema of the ledger whose views are in *views*, None: there are none."""
    found = op.get_bind().execute(
        text("""
            select distinct t.table_schema from information_schema.view_table_usage t
            where t.view_schema = :views and t.view_name = 'outcomes' and t.table_name = 'instance'
        """),
        {"views": views},
    )
    return found.scalar_one_or_none()

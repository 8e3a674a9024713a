"""The views for reports of others: the columns that the runbook promises, and nobody's data."""

import re
from pathlib import Path

from sqlalchemy import Engine, text

from tests.road import Road
from tests.whole_person import CANARIES, NUMBER, filled

RUNBOOK = (Path(__file__).parents[2] / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
SECTION = RUNBOOK.split("### Reports of your own\n")[1].split("\n### ")[0]
PROMISED = {
    name: re.findall(r"`(\w+)`", columns)
    for name, columns in re.findall(r"^\| `membersync_views\.(\w+)` \| (.+?) \|$", SECTION, re.MULTILINE)
}
GRANTS = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)


def test_the_views_have_the_columns_that_are_promised_in_their_order(ledger: Engine) -> None:
    with ledger.begin() as tx:
        rows = tx.execute(
            text("""select table_name, column_name from information_schema.columns
                    where table_schema = 'membersync_views' order by table_name, ordinal_position""")
        ).all()
    found: dict[str, list[str]] = {}
    for view, column in rows:
        found.setdefault(view, []).append(column)
    assert found == PROMISED
    assert set(found) == {"attempts", "incidents", "members", "outcomes"}


def test_a_view_shows_the_member_number_and_nothing_else_of_a_person(ledger: Engine) -> None:
    filled(ledger)
    Road(ledger).sql("update activity set attempt = 1")
    for view in PROMISED:
        said = str(Road(ledger).sql(f"select cast(v as text) from membersync_views.{view} v"))
        assert said != "[]"
        assert {one for one in CANARIES if one in said} <= {NUMBER}


def test_the_grants_let_a_role_read_the_views_and_no_table(ledger: Engine) -> None:
    other = "pg_monitor"  # one that is there already; our user may make none
    may = text("select has_table_privilege(:role, :name, 'select') and has_schema_privilege(:role, :schema, 'usage')")
    with ledger.connect() as tx:

        def readable() -> set[str]:
            names = [("membersync_views", view) for view in PROMISED] + [("public", "member"), ("public", "payload")]
            return {
                name
                for schema, name in names
                if tx.execute(may, {"role": other, "name": f"{schema}.{name}", "schema": schema}).scalar_one()
            }

        assert readable() == set()
        for statement in GRANTS[0].split(";"):
            if statement.strip().startswith("grant"):
                tx.exec_driver_sql(statement.replace("to reports", f"to {other}"))
        assert readable() == set(PROMISED)
        tx.rollback()

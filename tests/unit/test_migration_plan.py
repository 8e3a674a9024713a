"""What migrations do to a ledger at work is known before, and those after the first release hold up nobody."""

import re

import pytest
from alembic.script import ScriptDirectory

from shared.ledger.migration_plan import Blocks, Step, pending, steps_of
from shared.ledger.schema import MIGRATIONS, REVISIONS, SERVES_FROM_FIRST, WANTED, Schema

LARGE = {"instance", "member", "payload", "mapping", "activity", "errand", "job_item", "refusal", "operator_action"}
"""Tables that grow with members and events."""
TAKES_AWAY = re.compile(
    r"drop (table|column)|rename|drop view|alter column \S+ (set data )?type|set not null", re.IGNORECASE
)
AFTER_THE_FIRST = pending(SERVES_FROM_FIRST)


@pytest.mark.parametrize(
    ("statement", "table", "blocks"),
    [
        ("create index i on instance (id)", "instance", Blocks.WRITERS),
        ("CREATE UNIQUE INDEX i ON instance USING btree (id) WHERE id > 1", "instance", Blocks.WRITERS),
        ("CREATE INDEX CONCURRENTLY i ON instance (id)", "instance", Blocks.NOBODY),
        ("ALTER TABLE instance ADD COLUMN a TEXT", "instance", Blocks.MOMENT),
        ("ALTER TABLE instance ADD COLUMN a BOOLEAN DEFAULT false NOT NULL", "instance", Blocks.MOMENT),
        ("ALTER TABLE instance ADD COLUMN a UUID DEFAULT gen_random_uuid() NOT NULL", "instance", Blocks.EVERYBODY),
        ("ALTER TABLE instance ADD CONSTRAINT c CHECK (id > 0)", "instance", Blocks.EVERYBODY),
        ("ALTER TABLE instance ADD CONSTRAINT c CHECK (id > 0) NOT VALID", "instance", Blocks.MOMENT),
        ("ALTER TABLE instance VALIDATE CONSTRAINT c", "instance", Blocks.NOBODY),
        ("ALTER TABLE instance ADD FOREIGN KEY (a) REFERENCES b (id)", "instance", Blocks.WRITERS),
        ("ALTER TABLE instance ALTER COLUMN a TYPE BIGINT", "instance", Blocks.EVERYBODY),
        ("ALTER TABLE instance ALTER COLUMN a SET NOT NULL", "instance", Blocks.EVERYBODY),
        ("alter table instance set (fillfactor = 50)", "instance", Blocks.NOBODY),
        ("update instance set a = 1", "instance", Blocks.SAME_ROWS),
        ("do $$ begin perform 1; end $$", None, Blocks.UNKNOWN),
    ],
)
def test_a_statement_is_known_by_its_form(statement: str, table: str | None, blocks: Blocks) -> None:
    (step,) = steps_of([statement])
    assert (step.table, step.blocks) == (table, blocks)


def test_a_table_that_the_migration_makes_has_nobody_who_waits() -> None:
    steps = steps_of(["CREATE TABLE fresh (id BIGINT)", "CREATE INDEX i ON fresh (id)", "update fresh set id = 1"])
    assert {one.blocks for one in steps} == {Blocks.NOBODY}


def test_every_migration_has_a_plan_and_all_of_them_make_the_ledger() -> None:
    plans = pending(None)
    assert [one.revision for one in plans] == REVISIONS
    assert all(one.title for one in plans)
    made = {
        step.statement.split()[2] for one in plans for step in one.steps if step.statement.startswith("CREATE TABLE")
    }
    assert made >= LARGE
    assert pending(WANTED) == []


def holds_up(step: Step) -> bool:
    """Return whether *step* makes others wait, on a table that may be large, for as long as it takes to read it."""
    slow = step.blocks in {Blocks.WRITERS, Blocks.EVERYBODY} or (
        step.blocks is Blocks.SAME_ROWS and step.touches_all and not step.statement.startswith("do $$")
    )
    return step.table in LARGE and slow


def test_since_the_first_release_no_migration_holds_up_the_ledgers_work() -> None:
    found = {one.revision: step.statement for one in AFTER_THE_FIRST for step in one.steps if holds_up(step)}
    assert found == {}, "do it online: shared/ledger/migrations/online.py"


def test_since_the_first_release_who_takes_something_away_says_which_code_goes_on_without() -> None:
    for one in AFTER_THE_FIRST:
        taken = [step.statement for step in one.steps if TAKES_AWAY.search(step.statement)]
        assert not taken or one.serves_from is not None, f"{one.revision} needs serves_from: {taken}"
        assert one.serves_from is None or one.serves_from in REVISIONS, one.revision


def test_the_revisions_that_we_know_are_alembics() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert sorted(one.revision for one in scripts.walk_revisions()) == REVISIONS
    assert scripts.get_current_head() == WANTED


@pytest.mark.parametrize(
    ("schema", "serves"),
    [
        (Schema(None), False),
        (Schema(REVISIONS[-2]), False),
        (Schema(WANTED), True),
        (Schema("9999", serves_from=WANTED), True),
        (Schema("9999", serves_from=REVISIONS[0]), True),
        (Schema("9999", serves_from="9998"), False),
        (Schema("9999"), False),
    ],
)
def test_a_newer_schema_serves_as_long_as_it_only_adds(schema: Schema, *, serves: bool) -> None:
    assert (schema.trouble is None) == serves

"""What pending migrations do to a ledger at work: their statements, the locks these take, and how many rows they touch.

Nothing is run: each migration is rendered as SQL, and each statement known by its form.

=====================================================  =========================  ====================================
statement                                              lock on the table          blocks
=====================================================  =========================  ====================================
create table, view, schema; on a table of its own      none of others'            nobody
create index concurrently, validate constraint, set (  SHARE UPDATE EXCLUSIVE     nobody; reads all of it
update, delete, insert                                 ROW EXCLUSIVE              writers of the rows that it touches
create index; add foreign key                          SHARE                      writers, for as long as it reads all
alter table, drop                                      ACCESS EXCLUSIVE           everybody, for a moment
add check or set not null or a type, at once           ACCESS EXCLUSIVE           everybody, for as long as it reads all
=====================================================  =========================  ====================================

Source: PostgreSQL documentation, 13.3 Explicit Locking, ALTER TABLE (notes), CREATE INDEX (building concurrently).
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text

from shared.ledger.schema import MIGRATIONS


class Blocks(StrEnum):
    """Who has to wait while a statement runs."""

    NOBODY = "nobody"
    SAME_ROWS = "writers of the same rows"
    MOMENT = "everybody for a moment"
    WRITERS = "writers until it is done"
    EVERYBODY = "everybody until it is done"
    UNKNOWN = "not known: it depends on what it finds"


@dataclass(frozen=True, slots=True)
class Step:
    """A statement.  Shape: *table* that was there before; *lock* it takes of it; *rows* that are read or changed."""

    statement: str
    table: str | None
    lock: str | None
    blocks: Blocks
    rows: int | None = None
    touches_all: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A migration that is to be run.  Shape: *serves_from* the oldest revision whose code goes on after it."""

    revision: str
    title: str
    serves_from: str | None
    steps: Sequence[Step]


def pending(found: str | None) -> list[Pending]:
    """Return the migrations after revision *found*, None: all of them, in their order."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    ahead = [one for one in scripts.walk_revisions() if found is None or one.revision > found]
    return [_planned(one) for one in reversed(ahead)]


def estimated(tx: Connection, migrations: Sequence[Pending]) -> list[Pending]:
    """Return *migrations* with the rows that they touch, as the server counts them."""
    rows = {str(name): int(count) for name, count in tx.execute(_ROWS)}

    def counted(step: Step) -> Step:
        found = rows.get(step.table or "") if step.touches_all else None
        return Step(step.statement, step.table, step.lock, step.blocks, found, step.touches_all)

    return [Pending(one.revision, one.title, one.serves_from, list(map(counted, one.steps))) for one in migrations]


def _planned(script: Script) -> Pending:
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written, "literal_binds": True}
    )
    try:
        with Operations.context(context):
            script.module.upgrade()
        asks = False
    except AttributeError:  # there is no connection to ask
        asks = True
    statements = [one.strip() for one in written.getvalue().split(";\n\n") if one.strip()]
    steps = list(steps_of(statements))
    if asks:
        steps.append(Step("(what it finds decides the rest)", None, None, Blocks.UNKNOWN))
    title = (script.doc or "").split("\n")[0].rstrip(".")
    return Pending(script.revision, title, getattr(script.module, "serves_from", None), steps)


def steps_of(statements: Sequence[str]) -> Iterator[Step]:
    """Give what each of a migration's *statements* does, but for those that are part of how it is run."""
    made: set[str] = set()
    for statement in statements:
        shown = " ".join(statement.split())
        if _OURS.match(shown):
            continue
        if found := _MAKES.match(shown):
            made.add((found[1] or found[2]).strip('"'))
            yield Step(shown, None, None, Blocks.NOBODY)
            continue
        kind = next(((of, match) for of, match in ((one, one.form.match(shown)) for one in _KINDS) if match), None)
        if kind is None:
            yield Step(shown, None, None, Blocks.UNKNOWN)
            continue
        of, match = kind
        table = (match.groupdict().get("table") or "").strip('"') or None
        if table in made:
            yield Step(shown, None, None, Blocks.NOBODY)
        else:
            yield Step(shown, table, of.lock, of.blocks, touches_all=of.touches_all)


@dataclass(frozen=True, slots=True)
class _Kind:
    form: re.Pattern[str]
    lock: str
    blocks: Blocks
    touches_all: bool = False


def _kind(form: str, lock: str, blocks: Blocks, *, touches_all: bool = False) -> _Kind:
    return _Kind(re.compile(form, re.IGNORECASE), lock, blocks, touches_all)


_MAKES = re.compile(
    r"create (?:unlogged )?table (?:if not exists )?(\S+)|create (?:or replace )?(?:schema|view|function) (\S+)",
    re.IGNORECASE,
)
_OURS = re.compile(r"set lock_timeout|(?:begin|commit)\b", re.IGNORECASE)
"""What is part of how a migration is run."""
_ALTER = r"alter table (?:only )?(?P<table>\S+) "
_VOLATILE = r"(?:random|gen_random_uuid|clock_timestamp|nextval|timeofday)\("
_KINDS = (
    _kind(
        r"create (?:unique )?index concurrently .*?\bon (?P<table>[^\s(]+)",
        "SHARE UPDATE EXCLUSIVE",
        Blocks.NOBODY,
        touches_all=True,
    ),
    _kind(r"create (?:unique )?index .*?\bon (?P<table>[^\s(]+)", "SHARE", Blocks.WRITERS, touches_all=True),
    _kind(r"do \$\$ .*?\bupdate (?P<table>\S+)", "ROW EXCLUSIVE", Blocks.SAME_ROWS, touches_all=True),
    _kind(r"drop index concurrently", "SHARE UPDATE EXCLUSIVE", Blocks.NOBODY),
    _kind(_ALTER + r"validate constraint", "SHARE UPDATE EXCLUSIVE", Blocks.NOBODY, touches_all=True),
    _kind(_ALTER + r"(?:re)?set \(", "SHARE UPDATE EXCLUSIVE", Blocks.NOBODY),
    _kind(_ALTER + r"add constraint .* not valid", "ACCESS EXCLUSIVE", Blocks.MOMENT),
    _kind(_ALTER + r"add (?:constraint \S+ )?foreign key", "SHARE ROW EXCLUSIVE", Blocks.WRITERS, touches_all=True),
    _kind(_ALTER + r"add (?:constraint|check|unique|primary)", "ACCESS EXCLUSIVE", Blocks.EVERYBODY, touches_all=True),
    _kind(_ALTER + r"alter column \S+ (?:set data )?type", "ACCESS EXCLUSIVE", Blocks.EVERYBODY, touches_all=True),
    _kind(_ALTER + r"alter column \S+ set not null", "ACCESS EXCLUSIVE", Blocks.EVERYBODY, touches_all=True),
    _kind(_ALTER + r"add column .*default .*" + _VOLATILE, "ACCESS EXCLUSIVE", Blocks.EVERYBODY, touches_all=True),
    _kind(_ALTER + r"add column .* generated ", "ACCESS EXCLUSIVE", Blocks.EVERYBODY, touches_all=True),
    _kind(_ALTER, "ACCESS EXCLUSIVE", Blocks.MOMENT),
    _kind(r"drop (?:table|view) (?:if exists )?(?P<table>\S+)", "ACCESS EXCLUSIVE", Blocks.MOMENT),
    _kind(r"drop index", "ACCESS EXCLUSIVE", Blocks.MOMENT),
    _kind(r"insert into (?P<table>[^\s(]+)", "ROW EXCLUSIVE", Blocks.SAME_ROWS),
    _kind(r"update (?:only )?(?P<table>\S+)", "ROW EXCLUSIVE", Blocks.SAME_ROWS, touches_all=True),
    _kind(r"delete from (?P<table>\S+)", "ROW EXCLUSIVE", Blocks.SAME_ROWS, touches_all=True),
)
"""By form, the first that fits; `on` a table whose migration makes it blocks nobody."""
_ROWS = text("""
    select c.relname, greatest(c.reltuples, s.n_live_tup, 0)::bigint
    from pg_class c left join pg_stat_user_tables s on s.relid = c.oid
    where c.relkind = 'r' and c.relnamespace = to_regnamespace(current_schema())
""")

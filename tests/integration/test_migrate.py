"""`membersync migrate`: what is missing is said before anything is changed, and a ledger at work is not held up."""

import threading
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import text

from deploy.local.servers import scratch_postgres
from shared.ledger import checkup
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine, transaction
from shared.ledger.migrations import online
from shared.ledger.packed_events import PACKS_FROM
from shared.ledger.schema import SERVES_FROM_FIRST, WANTED, schema
from tests.migrations import configured, migrating
from tests.rig import eventually
from tests.road import Road
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A ledger that no other test has."""
    with scratch_postgres() as url:
        yield url
        engine(url).dispose()


@pytest.fixture
def typed(bare: Terminal, monkeypatch: pytest.MonkeyPatch, own_url: str) -> Terminal:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", own_url)
    return bare


def back_to(url: str, revision: str) -> None:
    command.downgrade(configured(url), revision)


def test_what_is_missing_is_said_planned_and_done(typed: Terminal, own_url: str) -> None:
    empty = typed("migrate", "--check")
    assert (empty.code, "not there" in empty.out) == (1, True)
    with transaction(engine(own_url)) as tx:
        assert schema(tx).found is None, "nothing was changed"
    assert typed("migrate").code == 0
    assert typed("migrate", "--check").code == 0
    assert typed("migrate", "--plan", "--json").json == {"schema": WANTED, "wanted": WANTED, "pending": []}

    back_to(own_url, "0041")
    checked = typed("migrate", "--check")
    assert (checked.code, "0042  Marks of deployments" in checked.out) == (1, True)
    planned = typed("migrate", "--plan")
    assert (planned.code, "CREATE TABLE mark" in planned.out, "blocks nobody" in planned.out) == (0, True, True)
    first = typed("migrate", "--plan", "--json").json["pending"][0]
    assert (first["revision"], first["steps"][0]["blocks"]) == ("0042", "nobody")
    assert typed("migrate", "--check").code == 1, "looking changed nothing"
    assert typed("migrate").code == 0
    assert typed("migrate", "--check").code == 0


def test_a_newer_ledger_is_left_alone_where_it_serves_and_refused_where_not(typed: Terminal, own_url: str) -> None:
    migrate(own_url)
    with transaction(engine(own_url)) as tx:
        tx.execute(text("update alembic_version set version_num = '9999'"))
    try:
        served = [typed("migrate", *options) for options in ((), ("--check",), ("--plan",))]
        with transaction(engine(own_url)) as tx:
            assert tx.execute(text("update compatibility set serves_from = '9998'")).rowcount == 1
        refused = typed("migrate", "--check")
    finally:
        with transaction(engine(own_url)) as tx:
            tx.execute(text("update compatibility set serves_from = :first"), {"first": SERVES_FROM_FIRST})
            tx.execute(text("update alembic_version set version_num = :wanted"), {"wanted": WANTED})
    assert [(one.code, "and serves it" in one.out) for one in served] == [(0, True)] * 3
    assert (refused.code, "migrated by a newer version" in refused.err) == (2, True)


def compatible(url: str) -> tuple[bool, str]:
    """Return whether the ledger packs events, and from which revision on it serves."""
    with transaction(engine(url)) as tx:
        packs, serves_from = tx.execute(text("select packs, serves_from from compatibility")).one()
        return packs, serves_from


def test_a_ledger_that_older_code_may_work_on_keeps_events_as_it_reads_them() -> None:
    with scratch_postgres() as url:
        migrate(url)
        assert compatible(url) == (True, PACKS_FROM)
        road = Road(engine(url))
        road.accept("M-1")
        assert road.sql("select event_packed is not null, event_json is not null from payload") == [(True, False)]

        back_to(url, "0052")
        assert road.sql("select event_json->'member'->>'member_number' from payload") == ["M-1"]
        migrate(url)
        assert compatible(url) == (False, SERVES_FROM_FIRST)
        road.accept("M-2")
        assert road.sql("select event_packed is not null, event_json is not null from payload") == [(False, True)] * 2
        road.travel()
        assert road.states() == {"completed": 2}
        engine(url).dispose()


def test_who_waits_for_a_lock_lets_everybody_else_by_and_comes_again(own_url: str) -> None:
    migrate(own_url)
    back_to(own_url, "0044")
    with engine(own_url).connect() as long:
        long.execute(text("select count(*) from payload"))  # its lock stands in the way of `alter table`
        migrating = threading.Thread(target=migrate, args=(own_url,))
        migrating.start()
        eventually(lambda: waits(own_url), "it waits for its lock")
        with transaction(engine(own_url)) as tx:  # behind it, until it lets by
            assert tx.execute(text("select count(*) from payload")).scalar_one() == 0
        assert migrating.is_alive()
        long.rollback()
        migrating.join(60)
    assert checkup.missing(engine(own_url)) == []


def waits(url: str) -> bool:
    """Return whether somebody waits for a lock on the contents of events."""
    with transaction(engine(url)) as tx:
        found = "select exists (select from pg_locks where relation = 'payload'::regclass and not granted)"
        return bool(tx.execute(text(found)).scalar_one())


def test_what_is_done_online_is_done_beside_those_who_write(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "PIECE", 3)
    road.accept(*(f"M-{index}" for index in range(10)))
    try:
        with migrating(road.ledger.url.render_as_string(hide_password=False)):
            online.create_index("online_test", "instance", ["member_number"], where="id > 1")
            online.update_in_pieces("instance", "resubmits = 7", "resubmits = 0")
            online.update_in_pieces("member", "told_error = 'x'", "told_error is null", key="member_number")
            online.add_check("online_check", "instance", "resubmits < 100")
        assert road.sql("select distinct resubmits from instance") == [7]
        assert road.sql("select count(*) from member where told_error = 'x'") == [10]
        assert road.sql("select indisvalid from pg_index where indexrelid = 'online_test'::regclass") == [True]
        assert road.sql("select convalidated from pg_constraint where conname = 'online_check'") == [True]
        with migrating(road.ledger.url.render_as_string(hide_password=False)):
            online.create_index(
                "online_test", "instance", ["member_number"], where="id > 1"
            )  # once more, as after a break
            online.drop_index("online_test", "instance")
        assert road.sql("select to_regclass('online_test') is null") == [True]
    finally:
        road.sql("drop index if exists online_test")
        road.sql("alter table instance drop constraint if exists online_check")

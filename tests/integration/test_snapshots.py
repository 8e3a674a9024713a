"""Whoever holds an old snapshot of the ledger is named, everywhere, and told once; who holds none is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from prometheus_client import generate_latest
from sqlalchemy import Engine, text

from producers.doctor.check import Level, Subject
from producers.doctor.examination import CHECKS, examine
from producers.mail.mailer import Mailer
from producers.metrics import registry_of
from producers.operations.verdict import standing
from shared.addresses import ledger_arguments
from shared.ledger import snapshots
from shared.ledger.engine import transaction
from shared.ledger.snapshots import Holds, SnapshotHolder, without_values
from shared.settings import MailSettings, Settings
from tests.mailbox import mail_server
from tests.mailing import deliver
from tests.road import Road
from tests.terminal import Terminal

HOLDS = "begin isolation level repeatable read; select count(*) from member where email_key = '\\x61'"
NAME = "nightly report"


@contextmanager
def somebody(ledger_url: str, statements: str) -> Iterator["psycopg.Connection[object]"]:
    """A session of somebody else that has said *statements* and now does nothing."""
    arguments: dict[str, Any] = {**ledger_arguments(ledger_url), "application_name": NAME}
    with psycopg.connect(autocommit=True, **arguments) as one:
        one.execute(statements)
        yield one


def held(ledger: Engine) -> list[SnapshotHolder]:
    with transaction(ledger) as tx:
        return [one for one in snapshots.holders(tx) if one.who.startswith(NAME)]


@pytest.mark.parametrize(
    "statements",
    [
        HOLDS,
        "begin; insert into bookmark (name, upto) values ('x', now())",
        "begin; declare c cursor for select * from member; fetch c",
    ],
    ids=["repeatable read", "a writer", "a cursor"],
)
def test_who_holds_a_snapshot_is_named_until_it_lets_go(ledger: Engine, ledger_url: str, statements: str) -> None:
    with somebody(ledger_url, statements) as one:
        (found,) = held(ledger)
        assert (found.holds, found.name) == (Holds.SESSION, str(one.info.backend_pid))
        assert (found.who, found.state) == (f"{NAME}, membersync", "idle in transaction")
        assert 0 <= found.age_s < 60
        one.execute("rollback")
        assert held(ledger) == []


@pytest.mark.parametrize("statements", ["select 1", "begin; select count(*) from member"])
def test_who_is_merely_there_is_not(ledger: Engine, ledger_url: str, statements: str) -> None:
    with somebody(ledger_url, statements):
        assert held(ledger) == []


def test_slots_standbys_and_prepared_transactions_hold_one_too(ledger: Engine) -> None:
    Road(ledger).sql("""
        insert into minute (at, stage, outcome, count)
        values (date_trunc('minute', now()) - interval '7 minutes', 'oic', 'done', 1)
    """)
    with ledger.begin() as tx:
        tx.execute(text("set local search_path = pg_temp, public, pg_catalog"))
        (needs,) = tx.execute(text("select pg_current_xact_id()::xid::text")).scalars()
        for name, columns in {
            "pg_prepared_xacts": "'tx-1' as gid, cast('ann' as name) as owner, now() - interval '3 hours' as prepared",
            "pg_replication_slots": f"""
                cast('forgotten' as name) as slot_name, cast(null as name) as plugin,
                'physical' as slot_type, false as active,
                cast('{needs}' as xid) as xmin, cast(null as xid) as catalog_xmin, cast(null as name) as database
            """,
            "pg_stat_replication": f"""
                77 as pid, 'standby-2' as application_name, cast('ann' as name) as usename, 'streaming' as state,
                cast('{needs}' as xid) as backend_xmin
            """,
        }.items():
            tx.execute(text(f"create temp view {name} as select {columns}"))
        found = {one.holds: one for one in snapshots.holders(tx, over_s=300)}
        tx.rollback()
    assert found[Holds.PREPARED].named == "prepared transaction tx-1 (ann)"
    assert found[Holds.PREPARED].age_s == pytest.approx(10_800, abs=5)
    assert found[Holds.SLOT].named == "replication slot forgotten (physical, not in use)"
    assert found[Holds.STANDBY].named == "standby 77 (standby-2, ann, streaming)"
    assert {one.age_s // 60 for one in (found[Holds.SLOT], found[Holds.STANDBY])} == {7}, "as the minutes tell"


def test_the_verdict_doctor_status_and_metrics_say_so(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(ledger_url=ledger_url, snapshot_max_s=0.001)
    with somebody(ledger_url, HOLDS) as one:
        pid = one.info.backend_pid
        with transaction(ledger) as tx:
            verdict = standing(tx, settings).verdict
        (finding,) = examine(
            Subject(settings), checks=[check for check in CHECKS if check.name == "ledger's snapshots"]
        )
        metrics = generate_latest(registry_of(settings)).decode()
        monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
        monkeypatch.setenv("MEMBERSYNC_SNAPSHOT_MAX_S", "0.001")
        status = Terminal(capsys)("status").out
    assert f"by pid {pid} ({NAME}, membersync, idle in transaction)" in verdict.sentence
    assert finding.level is Level.WARN
    assert f"pid {pid} ({NAME}, membersync, idle in transaction)" in finding.found
    assert "where email_key = ***" in finding.found
    assert f"`select pg_terminate_backend({pid})`" in finding.remedy
    (age_s,) = (line.split()[1] for line in metrics.splitlines() if line.startswith("membersync_snapshot_oldest"))
    assert 0 < float(age_s) < 60
    assert f"session {pid}" in status


def test_it_is_one_mail_for_each_that_is_held_too_long(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    with mail_server() as mailbox:
        of = MailSettings.model_validate(mailbox.settings)
        one = Mailer(Settings(ledger_url=ledger_url, mail=of, snapshot_max_s=0.001))
        with somebody(ledger_url, HOLDS) as first:
            deliver(one)
            deliver(one)
            (subject,) = mailbox.subjects
            assert f"is held by pid {first.info.backend_pid} ({NAME}, membersync, idle in transaction)" in subject
            with somebody(ledger_url, HOLDS) as second:
                deliver(one)
                deliver(one)
                assert len(mailbox.subjects) == 2
                assert str(second.info.backend_pid) in mailbox.subjects[1]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("select * from m where e = 'ann.lee@example.org'", "select * from m where e = ***"),
        ("select 'it''s', E'it\\'s Ann', \"it's\" from t", 'select ***, ***, "it\'s" from t'),
        ("select $$Ann$$, $x$ Lee $$ $x$, 12345678, $1", "select ***, ***, ***, $1"),
        ("-- don't tell Ann\nselect 1 /* nor 'Lee' */ + 2", "select 1 + 2"),
        ("select * from m where e in ('ann.lee@exa", "select * from m where e in (***"),
        ("select " + "a, " * 99, ("select " + "a, " * 99)[:99] + "…"),
    ],
)
def test_a_statement_is_shown_without_its_values(query: str, shown: str) -> None:
    assert without_values(query) == shown

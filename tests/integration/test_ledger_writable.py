"""What says that it is ready takes writes; a session that is dead or read-only is replaced before anybody uses it."""

import time
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.doctor import configuration, servers
from producers.doctor import work as doctor_of_work
from producers.doctor.check import Level, Subject
from producers.site import create_app
from shared.addresses import ledger_arguments
from shared.errors import LedgerUnwritableError
from shared.ledger import checkup
from shared.ledger.checkup import Idle
from shared.ledger.engine import PROVEN_FOR_S, engine, repeated, transaction
from shared.ledger.listening import wait_for_call, wake_calls
from shared.settings import Settings
from tests.calling import assert_problem, event, served
from tests.terminal import Terminal

READ_ONLY = "the ledger takes no writes: its server is read-only (25006)"
FULL = "the ledger takes no writes: its disk is full (53100)"


@pytest.fixture
def settings(ledger_url: str) -> Settings:
    return Settings(_env_file=None, ledger_url=ledger_url)


@pytest.fixture
def client(settings: Settings, ledger: Engine) -> Iterator[httpx.Client]:
    assert ledger.url.database
    with served(create_app(settings)) as opened:
        yield opened


@pytest.fixture
def read_only(ledger: Engine) -> Iterator[None]:
    """The whole database takes no writes, of old sessions and new ones."""
    name = ledger.url.database
    _alter(ledger, f"alter database {name} set default_transaction_read_only = on")
    end_sessions(ledger)
    yield
    with ledger.connect() as tx:
        tx.execute(text("set transaction read write"))
        tx.execute(text(f"alter database {name} reset default_transaction_read_only"))
        tx.commit()
    end_sessions(ledger)


def _alter(ledger: Engine, statement: str) -> None:
    with ledger.begin() as tx:
        tx.execute(text(statement))


def end_sessions(ledger: Engine) -> None:
    """End all sessions but the one that asks, as a restart or an idle time-out does."""
    with ledger.connect() as tx:
        tx.execute(
            text(
                "select pg_terminate_backend(pid, 2000) from pg_stat_activity "
                "where pid <> pg_backend_pid() and datname = current_database() and backend_type = 'client backend'"
            )
        )
        tx.invalidate()


def make_read_only(of: Engine, sessions: int) -> None:
    """Leave so many sessions in the pool as they are after a failover: on a node that takes no writes any more."""
    held = [of.connect() for _ in range(sessions)]
    for one in held:
        one.execute(text("set session characteristics as transaction read only"))
        one.commit()
        one.close()


@pytest.mark.usefixtures("read_only")
def test_a_read_only_ledger_is_not_ready_and_says_why(client: httpx.Client, settings: Settings) -> None:
    answer = client.get("/readyz")
    assert_problem(answer, 503, "not_ready")
    assert answer.json()["missing"] == [READ_ONLY]
    refused = client.post("/v1/member-events", json=event())
    assert_problem(refused, 503, "ledger")
    assert refused.headers["retry-after"]
    assert READ_ONLY in refused.json()["detail"]
    assert client.get("/v1/instances").status_code == 200  # it is still read

    subject = Subject(settings)
    (found,) = servers.look_at_server(subject)
    assert (found.level, found.found) == (Level.FAIL, READ_ONLY)
    assert "target_session_attrs=read-write" in found.remedy
    assert not configuration.can_pay(subject)  # or a test would blame the budget


def test_it_is_ready_again_as_soon_as_it_takes_writes(
    client: httpx.Client, ledger: Engine, request: pytest.FixtureRequest
) -> None:
    assert client.get("/readyz").status_code == 200
    request.getfixturevalue("read_only")
    assert client.get("/readyz").status_code == 503
    with ledger.connect() as tx:
        tx.execute(text("set transaction read write"))
        tx.execute(text(f"alter database {ledger.url.database} reset default_transaction_read_only"))
        tx.commit()
    time.sleep(PROVEN_FOR_S)
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/member-events", json=event()).status_code == 202


def test_a_full_disk_is_not_ready_and_says_why(client: httpx.Client, ledger: Engine, settings: Settings) -> None:
    _alter(
        ledger,
        "create function full_disk() returns trigger language plpgsql as "
        "$$ begin raise exception using errcode = '53100'; end $$",
    )
    _alter(ledger, "create trigger full_disk before insert on readiness execute function full_disk()")
    try:
        assert client.get("/readyz").json()["missing"] == [FULL]
        (found,) = servers.look_at_server(Subject(settings))
        assert (found.level, found.found) == (Level.FAIL, FULL)
        assert "make room" in found.remedy
    finally:
        _alter(ledger, "drop function full_disk cascade")
    assert client.get("/readyz").status_code == 200


def test_each_look_asks_the_disk_for_room_and_leaves_none_taken(ledger: Engine) -> None:
    for _ in range(3):
        checkup.write(ledger)
    with ledger.connect() as tx:
        assert tx.execute(text("select count(*), pg_relation_size('readiness') from readiness")).one() == (
            1,
            8192,
        )


def test_a_backup_that_reads_everything_keeps_nobody_from_being_ready(ledger: Engine) -> None:
    with ledger.begin() as backup:
        backup.execute(text("lock table readiness in access share mode"))
        assert checkup.missing(ledger) == []


def test_the_first_post_after_the_server_ended_its_sessions_is_taken(client: httpx.Client, ledger: Engine) -> None:
    for number in range(3):
        assert client.post("/v1/member-events", json=event(f"M-{number}")).status_code == 202
        end_sessions(ledger)
    assert client.post("/v1/member-events", json=event("M-9")).status_code == 202


def test_sessions_on_a_node_that_takes_no_writes_are_replaced_within_a_second(ledger_url: str, ledger: Engine) -> None:
    assert ledger.url.database
    of = engine(f"{ledger_url}?sslmode=prefer")
    try:
        make_read_only(of, 3)
        time.sleep(PROVEN_FOR_S)
        for _ in range(3):
            with transaction(of) as tx:
                assert tx.execute(text("show transaction_read_only")).scalar_one() == "off"
    finally:
        of.dispose()


def test_a_write_that_meets_such_a_session_is_repeated_on_another(ledger_url: str, ledger: Engine) -> None:
    assert ledger.url.database
    of = engine(f"{ledger_url}?sslmode=prefer")
    try:
        make_read_only(of, 3)
        repeated(lambda: checkup.write(of))  # at once: nothing has been proven anew
        make_read_only(of, 3)
        with pytest.raises(LedgerUnwritableError):
            checkup.write(of)
        checkup.write(of)  # one refusal has replaced them all
    finally:
        of.dispose()


def test_a_dispatcher_does_not_listen_where_nobody_calls(ledger_url: str, ledger: Engine) -> None:
    assert ledger.url.database
    with wake_calls(ledger_url) as calls:
        wait_for_call(calls, 0.01)
        calls.execute("set default_transaction_read_only = on")
        with pytest.raises(LedgerUnwritableError):
            wait_for_call(calls, 0.01)


def test_what_is_left_alone_on_a_read_only_ledger_is_not_blamed_on_the_budget() -> None:
    row = Idle("live", "oic", 3, 900.0, 0)
    assert "read-only" in doctor_of_work.judge_idle(row, read_only=True).why
    assert "spent budget" in doctor_of_work.judge_idle(row, read_only=False).why


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def other_letters(ledger: Engine, ledger_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The ledger as it says of itself in another encoding; the tests' user may not create a database of one."""
    _alter(ledger, "create schema letters")
    _alter(
        ledger,
        "create function letters.current_setting(text) returns text language sql as $$ select case $1 "
        f"when 'server_encoding' then '{request.param}' else pg_catalog.current_setting($1) end $$",
    )
    url = f"{ledger_url}?options=-csearch_path%3Dletters%2Cpublic%2Cpg_catalog"
    assert ledger_arguments(url)["options"] == "-csearch_path=letters,public,pg_catalog"
    yield url, request.param
    engine(url).dispose()
    _alter(ledger, "drop schema letters cascade")


def test_a_database_that_does_not_hold_every_name_is_refused(
    other_letters: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, encoding = other_letters
    assert checkup.missing(engine(url)) == [
        f"the ledger's database is {encoding}, which does not hold every name: it must be UTF8"
    ]
    (found,) = servers.look_at_server(Subject(Settings(_env_file=None, ledger_url=url)))
    assert (found.level, encoding in found.why) == (Level.FAIL, True)
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", url)
    ran = Terminal(capsys)("migrate")
    assert (ran.code, encoding in ran.err, "encoding 'UTF8'" in ran.err) == (2, True, True)

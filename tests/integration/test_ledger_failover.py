"""The ledger as others run it: behind PgBouncer, over TLS with certificates, and failed over to its standby."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from deploy.sandbox.server import RunningSandbox
from producers.doctor import failover, servers
from producers.doctor.check import Level, Subject
from shared.errors import LedgerError
from shared.ledger import checkup
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine, transaction
from shared.pipeline import Stage
from shared.settings import Settings
from tests.conftest import emptied
from tests.network import AUTHORITY, CLIENT, CLIENTS_AUTHORITY, SERVER
from tests.postgres import PASSWORD, PGBOUNCER, USER, Node, need, pgbouncer, primary_and_standby, url_of
from tests.rig import Pipeline, eventually, flush, member_event
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Node, Node]]:
    with primary_and_standby() as nodes:
        migrate(url_of(*nodes))
        yield nodes
        engine(url_of(*nodes)).dispose()


@pytest.fixture
def on_both(both: tuple[Node, Node], broker_url: str, running_simulators: RunningSandbox, tmp_path: Path) -> Pipeline:
    """The pipeline on primary and standby."""
    flush(broker_url)
    running_simulators.control.reset()
    url = url_of(*both)
    return Pipeline(emptied(url), url, broker_url, running_simulators, tmp_path)


def through(server: Node, port: int) -> str:
    """Return the URL of the ledger on *server* through the PgBouncer on *port*."""
    return server.url.replace(f":{server.port}/", f":{port}/") + "?pgbouncer=true"


def console(port: int) -> str:
    """Return where the PgBouncer on *port* takes commands."""
    return f"host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname=pgbouncer"


def test_pgbouncer_lends_few_sessions_to_many_and_wake_up_calls_go_past_it(
    on_both: Pipeline, both: tuple[Node, Node], tmp_path: Path, bare: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(PGBOUNCER, "pgbouncer")
    primary = both[0]
    (tmp_path / "pgbouncer").mkdir()
    with pgbouncer(tmp_path / "pgbouncer", primary, "default_pool_size = 3", f"admin_users = {USER}") as port:
        url = through(primary, port)
        (unsaid,) = servers.look_at_server(Subject(Settings(_env_file=None, ledger_url=url.partition("?")[0])))
        assert (unsaid.level, "add ?pgbouncer=true" in unsaid.remedy) == (Level.FAIL, True)
        urls = {"MEMBERSYNC_LEDGER_URL": url, "MEMBERSYNC_LEDGER_DIRECT_URL": primary.url}
        for name, value in urls.items():
            monkeypatch.setenv(name, value)
        subject = Subject(Settings(_env_file=None))
        (lacking,) = failover.look_through_pooler(subject)
        assert (lacking.level, "enable_seqscan=off" in lacking.found) == (Level.WARN, True)
        assert bare("migrate").code == 0
        with psycopg.connect(console(port), autocommit=True) as pooler:
            pooler.execute(b"RECONNECT")
        eventually(lambda: failover.look_through_pooler(subject)[0].level is Level.OK, "sessions with what they need")

        pooled = replace(on_both, ledger=engine(url), ledger_url=url)
        pooled.settings |= urls | {"MEMBERSYNC_DISPATCHER__TICK_S": "20"}
        with pooled.whole():
            began = time.monotonic()
            pooled.send(*(member_event(f"P-{index}") for index in range(60)))
            eventually(lambda: pooled.states() == {"completed": 60}, "all completed")
            took_s = time.monotonic() - began
            assert primary.ask("select count(*) from pg_stat_activity where application_name = 'membersync ears'") == 1
            with psycopg.connect(console(port), autocommit=True) as pooler:
                assert len(pooler.execute(b"SHOW SERVERS").fetchall()) <= 3
                assert len(pooler.execute(b"SHOW CLIENTS").fetchall()) > 3
        assert took_s < 20, "nobody heard the call, it was the tick"
        with transaction(pooled.ledger) as tx:
            assert tx.execute(text("show synchronous_commit")).scalar_one() == "on"
        pooled.ledger.dispose()


def test_a_ledger_is_known_by_its_certificate_and_knows_us_by_ours(both: tuple[Node, Node], tmp_path: Path) -> None:
    need(PGBOUNCER, "pgbouncer")
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    for name, file in (("server.pem", SERVER), ("clients.pem", CLIENTS_AUTHORITY)):
        (folder / name).write_bytes(file.read_bytes())
        (folder / name).chmod(0o644)
    files = ("cert_file = server.pem", "key_file = server.pem", "ca_file = clients.pem", "sslmode = verify-full")
    ours = tmp_path / "ours.pem"
    ours.write_bytes(CLIENT.read_bytes())
    ours.chmod(0o600)
    mine = f"sslcert={ours}&sslkey={ours}"
    with pgbouncer(folder, both[0], *(f"client_tls_{one}" for one in files)) as port:
        for options, said in (
            (f"sslrootcert={AUTHORITY}&{mine}", "answers in"),
            (f"sslrootcert={AUTHORITY}", "does not serve"),  # its hanging up may overtake its alert
            (f"sslrootcert={CLIENTS_AUTHORITY}&{mine}", "certificate verify failed"),
            (f"sslrootcert={tmp_path}/none.pem&{mine}", "none.pem"),
        ):
            url = through(both[0], port) + f"&{options}"
            of = Settings(_env_file=None, ledger_url=url, ledger_direct_url=both[0].url)
            (found,) = servers.look_at_server(Subject(of))
            assert said in found.found
            assert (found.level is Level.OK) == said.startswith("answers")
            engine(of.ledger_url).dispose()


def test_a_failover_loses_nothing(on_both: Pipeline, both: tuple[Node, Node]) -> None:
    """What workers wrote in the last moment, which is not waited for, costs a lease and a repeated call."""
    on_both.settings |= {f"MEMBERSYNC_{stage.upper()}__TIMEOUT_S": "1" for stage in Stage}
    on_both.settings |= {"MEMBERSYNC_DISPATCHER__LEASE_S": "6.5", "MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "2"}
    primary, standby = both
    subject = Subject(Settings(_env_file=None, ledger_url=on_both.ledger_url))
    assert [one.level for one in failover.look_at_standby(subject)] == [Level.OK]
    accepted: list[str] = []

    def send() -> bool:
        number = f"F-{len(accepted)}"
        try:
            on_both.send(member_event(number))
        except LedgerError:
            return False
        accepted.append(number)
        return True

    with on_both.whole():
        for _ in range(40):
            assert send()
        primary.kill()
        assert not send()  # the standby does not take it for the ledger
        (away,) = servers.look_at_server(subject)
        assert (away.level, "read-only" in away.found or "Connection refused" in away.found) == (Level.FAIL, True)
        assert any("read-only" in one or "cannot be reached" in one for one in checkup.missing(on_both.ledger))
        assert standby.ask("select pg_promote()")
        eventually(send, "taken after the failover", within_s=30)
        for _ in range(40):
            assert send()
        eventually(lambda: on_both.states() == {"completed": len(accepted)}, "all completed")
    assert on_both.sql("select max(attempt) <= 2 from activity") == [True]
    members = {one["member_number"] for one in on_both.sandbox.control.members() if one["status"] == "Success"}
    assert members >= set(accepted)

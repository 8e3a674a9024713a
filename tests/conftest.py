"""A real ledger for every test that asks for one: one PostgreSQL a run, emptied before each test."""

import gc
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings as properties
from sqlalchemy import Engine, TextClause, text

from deploy.local.servers import scratch_valkey
from deploy.sandbox.server import RunningSandbox, running_sandbox
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from shared.ledger.models import Base
from tests.postgres import scratch_ledger
from tests.rabbit import need_rabbitmq, running_rabbitmq
from tests.rig import Pipeline, flush

collect_ignore = (
    [] if shutil.which(os.environ.get("CC", "cc")) else ["unit/test_bench_stub.py", "integration/test_bench_race.py"]
)
"""Only the benchmark needs a C compiler."""
_KEPT = {"connection", "secret", "compatibility", "ledger_clock"}
"""What a migration fills: the first is put back as it was, the others stay."""

# fmt: off
_LONGEST = (
    "test_scenes", "test_image", "test_suspects", "test_at_work", "test_budget",
    "test_demo", "test_console_in_browser", "test_doctor", "test_embedded_servers", "test_console_outlives_its_api",
    "test_up", "test_newest_wins", "test_healing", "test_hosts", "test_pipeline",
    "test_viewer_sees_nobody", "test_api_schemathesis", "test_frozen_workers", "test_feedback", "test_chaos",
    "test_flower", "test_ledger_failover", "test_repair_whole", "test_liveness", "test_rabbitmq",
    "test_cases", "test_compare", "test_bench_race", "test_resend_restored", "test_reconcile_survives",
    "test_call_limits", "test_addresses_survive", "test_forged_messages", "test_requeue_survives", "test_sentinel",
    "test_cases_in_browser", "test_drift_in_browser", "test_embedded_privileges", "test_behind_a_proxy", "test_floods",
    "test_cli", "test_ports", "test_half_sent", "test_console_login", "test_email_addresses",
)
# fmt: on
"""The files that take longest, first: in each row two that compute and three that mostly wait, one for each process.

So no more whole stacks or browsers start at the same moment than there are cores.  An old list costs time
and nothing else.
"""

_DIRECTORIES = ("e2e", "chaos", "integration", "contract", "unit", "architecture")

# Hypothesis' own for gates: no deadline that a busy machine misses, and the same examples in each run.
properties.load_profile("ci")

# A shell that started us in the background has Ctrl-C ignored, and every process that a test starts would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only when all is collected, and only in what the tests make: the rest stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: nobody waits at the end for one that began last."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, int]:
    name, directory = item.path.stem, item.path.parent.name
    return (
        _LONGEST.index(name) if name in _LONGEST else len(_LONGEST),
        _DIRECTORIES.index(directory) if directory in _DIRECTORIES else 0,
    )


@pytest.fixture(scope="session")
def ledger_url() -> Iterator[str]:
    with scratch_ledger() as url:
        migrate(url)
        yield url
        engine(url).dispose()


@pytest.fixture
def ledger(ledger_url: str) -> Engine:
    return emptied(ledger_url)


def emptied(ledger_url: str) -> Engine:
    """Return the ledger as it is after its migrations."""
    of = engine(ledger_url)
    with of.begin() as tx:
        tx.execute(_EMPTY)
    return of


def _emptying() -> TextClause:
    names = [f'"{table.name}"' for table in reversed(Base.metadata.sorted_tables) if table.name not in _KEPT]
    return text(f"""do $$ begin
        if (select sum(pg_table_size(relid)) from pg_stat_user_tables) > {_LARGE_BYTES} then
            truncate {", ".join(names)};
        else
            {" ".join(f"delete from {name};" for name in names)}
        end if;
        perform setval(cast(quote_ident(schemaname) || '.' || quote_ident(sequencename) as regclass),
                       start_value, false)
            from pg_sequences where last_value is not null;
        delete from connection;
        insert into connection (name) values ('oic'), ('crowdtwist'), ('siebel');
        insert into call_limit (name) values ('oic'), ('crowdtwist'), ('siebel');
        insert into bookmark (name, upto) values ('tally', now()), ('digest', now()), ('snapshot', now());
    end $$""")


_LARGE_BYTES = 16_000_000
"""A handful of rows is deleted in a tenth of the time that a truncation takes; what holds more is truncated."""
_EMPTY = _emptying()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with scratch_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def broker_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the broker is: Valkey, or RabbitMQ with `MEMBERSYNC_TEST_BROKER=rabbitmq`."""
    if os.environ.get("MEMBERSYNC_TEST_BROKER") != "rabbitmq":
        yield request.getfixturevalue("valkey_url")
        return
    need_rabbitmq()
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="session")
def running_simulators() -> Iterator[RunningSandbox]:
    with running_sandbox() as simulators:
        yield simulators


@pytest.fixture
def pipeline(
    ledger: Engine, ledger_url: str, broker_url: str, running_simulators: RunningSandbox, tmp_path: Path
) -> Pipeline:
    """Servers and simulators, emptied; the test starts the processes it needs."""
    flush(broker_url)
    running_simulators.control.reset()
    for name in ("crowdtwist", "siebel", "oic"):
        running_simulators.control.heal(name)
        running_simulators.control.set(name, latency_ms=0)
    return Pipeline(ledger, ledger_url, broker_url, running_simulators, tmp_path)


@pytest.fixture
def on_valkey(pipeline: Pipeline, valkey_url: str) -> Pipeline:
    """The pipeline for what only Redis and Valkey know."""
    flush(valkey_url)
    return replace(pipeline, broker_url=valkey_url)

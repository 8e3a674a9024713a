"""A real ledger for every test that asks for one: one PostgreSQL a run, emptied before each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from deploy.local.servers import scratch_postgres, scratch_valkey
from shared.ledger.engine import engine, migrate
from shared.ledger.models import Base

_CONNECTION = "connection"


@pytest.fixture(scope="session")
def ledger_url() -> Iterator[str]:
    with scratch_postgres() as url:
        migrate(url)
        yield url
        engine(url).dispose()


@pytest.fixture
def ledger(ledger_url: str) -> Engine:
    of = engine(ledger_url)
    emptied = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables if table.name != _CONNECTION)
    with of.begin() as connection:
        connection.execute(text(f"truncate {emptied} restart identity cascade"))
        connection.execute(text("delete from connection"))
        connection.execute(text("insert into connection (name) values ('oic'), ('crowdtwist'), ('siebel')"))
    return of


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with scratch_valkey() as url:
        yield url

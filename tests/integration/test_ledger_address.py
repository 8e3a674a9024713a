"""Whoever connects to the ledger does so with the same arguments, whichever way its address is written."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from shared.addresses import ledger_arguments
from shared.ledger.checkup import migrate, missing
from shared.ledger.engine import engine, transaction, wake
from shared.ledger.listening import wake_calls

PASSWORD = "p@ss/w#rd%zz?:"
EARS = text(
    "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'membersync ears'"
)


@pytest.mark.usefixtures("odd_password")
def test_every_way_to_write_it_is_heard_and_read(ledger: Engine, ledger_url: str) -> None:
    found = ledger_arguments(ledger_url)
    user, host, port, database = (found[name] for name in ("user", "host", "port", "dbname"))
    for address in (
        f"postgresql://{user}:{PASSWORD}@{host}:{port}/{database}",
        f"postgres://{user}:{PASSWORD}@{host}:1,{host}:{port}/{database}?target_session_attrs=read-write&sslmode=prefer",
        f"postgresql+psycopg://{user}:{PASSWORD}@/{database}?host={host}:1&host={host}:{port}",
        f"host={host},{host} port=1,{port} user={user} password='{PASSWORD}' dbname={database}",
    ):
        of = engine(address)
        with wake_calls(address) as calls:
            with transaction(of) as tx:
                assert tx.execute(text("select current_user")).scalar_one() == user
                wake(tx)
            assert [notice.channel for notice in calls.notifies(timeout=5, stop_after=1)] == ["membersync_due"]
            with transaction(ledger) as tx:
                assert tx.execute(EARS).scalar_one() == 1
        of.dispose()


def test_a_schema_that_the_address_names_is_everybodys(ledger: Engine, ledger_url: str) -> None:
    with ledger.begin() as tx:
        tx.execute(text("create schema apart"))
    address = f"{ledger_url}?options=-csearch_path%3Dapart"
    of = engine(address)
    try:
        migrate(address)
        assert missing(of) == []
        with of.connect() as tx:
            assert tx.execute(text("select to_regclass('apart.instance')")).scalar_one()
            assert tx.execute(text("select 'instance'::regclass::oid = 'apart.instance'::regclass")).scalar_one()
            assert tx.execute(text("show timezone")).scalar_one() == "UTC"
    finally:
        of.dispose()
        with ledger.begin() as tx:
            tx.execute(text("drop schema apart cascade"))


@pytest.fixture
def odd_password(ledger: Engine, ledger_url: str) -> Iterator[None]:
    before = ledger_arguments(ledger_url).get("password", "")
    _give(ledger, PASSWORD)
    yield
    _give(ledger, before)


def _give(ledger: Engine, password: str) -> None:
    with ledger.begin() as tx:
        tx.exec_driver_sql(f"alter role current_user password '{password}'".replace("%", "%%"))

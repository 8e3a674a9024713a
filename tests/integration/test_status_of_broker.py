"""`membersync status` names a broker that takes no messages, which the ledger does not show."""

from collections.abc import Iterator

import pytest
import redis

from deploy.local.servers import scratch_valkey
from shared.settings import settings
from tests.terminal import Terminal

pytestmark = pytest.mark.usefixtures("ledger")


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[str]:
    with scratch_valkey() as url:
        yield url


@pytest.fixture
def status(
    ledger_url: str, own_valkey: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    monkeypatch.setenv("MEMBERSYNC_BROKER_URL", own_valkey)
    yield Terminal(capsys)
    settings.cache_clear()


def test_a_broker_that_takes_messages_is_not_mentioned(status: Terminal) -> None:
    assert "broker" not in status("status").out
    assert "broker" not in status("status", "--json").json["verdict"]["sentence"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [("min-replicas-to-write", "NOREPLICAS"), ("maxmemory", "OOM, its memory is full")],
)
def test_a_broker_that_takes_none_is_the_first_thing_said(
    status: Terminal, own_valkey: str, setting: str, says: str
) -> None:
    with redis.Redis.from_url(own_valkey) as client:
        client.config_set(setting, "1")
        try:
            shown, document = status("status"), status("status", "--json")
        finally:
            client.config_set(setting, "0")
    words = f"takes no writes: {says}"
    assert (shown.code, document.code) == (0, 0)
    assert shown.out.startswith("The broker ")
    assert words in " ".join(shown.out.split())
    assert (document.json["verdict"]["level"], document.json["verdict"]["needs_person"]) == ("person", True)
    assert words in document.json["verdict"]["troubles"][0]["what"]


def test_a_broker_that_is_away_is_said(status: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERSYNC_BROKER_URL", "redis://127.0.0.1:1/0")
    assert "does not serve" in status("status", "--json").json["verdict"]["sentence"]

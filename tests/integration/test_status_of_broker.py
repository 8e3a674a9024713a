"""`membersync status`, `/v1/status` and each page name a broker that takes no messages; the ledger does not show it."""

import socket
from collections.abc import Iterator
from html import unescape

import pytest
import redis

from deploy.local.servers import scratch_valkey
from shared.settings import Settings, settings
from tests.console import console, logged_in
from tests.rig import eventually
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


def test_api_and_console_say_it_in_the_same_words_and_no_more_once_it_takes_them(
    status: Terminal, ledger_url: str, own_valkey: str
) -> None:
    of = Settings(_env_file=None, ledger_url=ledger_url, broker_url=own_valkey)
    with console(of) as somebody, redis.Redis.from_url(own_valkey) as client:
        vera = logged_in(somebody, "tok-vera")

        def judged() -> str:
            answer = vera.get("/v1/status", headers={"Authorization": "Bearer tok-vera"}).json()
            return str(answer["verdict"]["sentence"])

        def overview() -> str:
            return unescape(vera.get("/").text)

        client.config_set("maxmemory", "1")
        try:
            eventually(lambda: "The broker " in judged(), "the api says it")
            eventually(lambda: "The broker " in overview(), "the console says it")
            (trouble, *_) = status("status", "--json").json["verdict"]["troubles"]
            assert "takes no writes: OOM, its memory is full" in trouble["what"]
            assert trouble["what"] in judged()
            assert trouble["what"] in overview()
        finally:
            client.config_set("maxmemory", "0")
        eventually(lambda: "The broker " not in judged() + overview(), "nobody says it any more")


def test_a_broker_that_hangs_keeps_no_page_waiting_for_long(ledger_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        of = Settings(_env_file=None, ledger_url=ledger_url, broker_url=f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        with console(of) as somebody:
            vera = logged_in(somebody, "tok-vera")
            assert vera.get("/").status_code == 200
            eventually(lambda: "does not serve" in vera.get("/").text, "a later page says it")

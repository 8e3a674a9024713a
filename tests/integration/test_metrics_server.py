"""The dispatcher's metrics are served as the api's are: HEAD as GET, and nobody keeps a connection by half a head."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import Engine

from deploy.local.programs import free_port
from producers.metrics import metrics_served
from shared.settings import ApiSettings, DispatcherSettings, Settings
from tests.raw_http import connected, drip, head, statuses, to_the_end

HEAD_S = 0.6
LONG_S = 60.0


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger
    port = free_port()
    settings = Settings(
        _env_file=None,
        ledger_url=ledger_url,
        api=ApiSettings(head_within_s=HEAD_S),
        dispatcher=DispatcherSettings(metrics_port=port),
    )
    with metrics_served(settings), httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as one:
        yield one


@pytest.mark.parametrize("path", ["/", "/metrics", "/elsewhere"])
def test_head_is_answered_as_get_is(client: httpx.Client, path: str) -> None:
    by_get, by_head = client.get(path), client.head(path)
    assert by_get.status_code == (404 if path == "/elsewhere" else 200)
    assert ("membersync_ledger_up 1.0" in by_get.text) == by_get.is_success
    assert by_head.content == b""
    assert by_head.status_code == by_get.status_code
    for name in ("content-type", "content-length"):
        assert by_head.headers[name] == by_get.headers[name]


def test_it_has_the_form_that_the_scraper_asks_for(client: httpx.Client) -> None:
    asked = {"Accept": "application/openmetrics-text;version=1.0.0"}
    answer = client.get("/metrics", headers=asked)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    assert client.get("/metrics").headers["content-type"].startswith("text/plain")
    assert client.post("/metrics").status_code == 405


@pytest.mark.parametrize("half", [b"", b"G", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A"])
def test_half_a_head_is_cut_off_while_others_are_served(client: httpx.Client, half: bytes) -> None:
    with ExitStack() as opened:
        halves = [opened.enter_context(connected(client)) for _ in range(20)]
        began = time.monotonic()
        for one in halves:
            one.sendall(half)
        assert client.get("/metrics").status_code == 200
        for one in halves:
            assert statuses(to_the_end(one)) == ([408] if half else [])
        assert HEAD_S * 0.8 < time.monotonic() - began < LONG_S


def test_a_head_that_drips_is_cut_off_too(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\n")
        with pytest.raises(OSError):  # noqa: PT011  # reset or broken pipe, as the kernel has it
            drip(one, b"X-Drip: y\r\n", for_s=LONG_S)


def test_it_stops_at_the_end_of_the_block_whoever_is_still_connected(ledger: Engine, ledger_url: str) -> None:
    assert ledger
    port = free_port()
    of = Settings(_env_file=None, ledger_url=ledger_url, dispatcher=DispatcherSettings(metrics_port=port))
    began = time.monotonic()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client, ExitStack() as opened:
        with metrics_served(of):
            one = opened.enter_context(connected(client))
            one.sendall(head("GET", "/metrics")[:-2])
            assert client.get("/metrics").status_code == 200
        with pytest.raises(httpx.ConnectError):
            client.get("/metrics", headers={"Connection": "close"})
    assert time.monotonic() - began < LONG_S

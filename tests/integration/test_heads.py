"""HEAD is answered as GET is, without the body: on probes, pages, files and all that can be read."""

import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import Engine

from producers.site import create_app
from shared.settings import Settings
from tests.calling import LOCAL, served
from tests.console import logged_in
from tests.road import Road

TOKENS = {"tok-ada": {"name": "ada", "role": "admin"}}
ASKED = {"Authorization": "Bearer tok-ada"}
_OF_THIS_ANSWER = {"date", "x-request-id", "set-cookie", "transfer-encoding"}
_AGES = {"content-length"}
"""Pages say how old things are, and numbers move on: their length may differ by a few."""
_CLOCK = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z")
"""When a file was made, which is part of its name."""


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    road = Road(ledger)
    road.dead("M-1")
    of = Settings(_env_file=None, ledger_url=ledger_url)
    with served(create_app(of.model_copy(update={"api": of.api.model_validate({"tokens": TOKENS})}))) as one:
        yield one


def paths() -> list[str]:
    """Return every path that GET is answered at, of something that is there where it names one."""
    app = create_app(Settings(_env_file=None, ledger_url="postgresql+psycopg://nobody@127.0.0.1:1/none"))
    found = [route.path or "" for route in iter_route_contexts(app.routes) if "GET" in (route.methods or ())]
    assert {"/healthz", "/readyz", "/metrics", "/openapi.json", "/", "/v1/instances", "/login"} <= set(found)
    return [*(re.sub(r"\{[^}]+\}", "1", path) for path in found), "/v1/members/M-1", "/members/M-1"]


def seen(answer: httpx.Response) -> dict[str, str]:
    return {
        name: _CLOCK.sub("", value) for name, value in answer.headers.items() if name not in _OF_THIS_ANSWER | _AGES
    }


def heads(client: httpx.Client, method: str, path: str) -> tuple[int, dict[str, str]]:
    """Ask, and hang up after the headers: some of what is asked for never ends."""
    with client.stream(method, path, headers={"Accept": "text/html"} | ASKED) as answer:
        return answer.status_code, seen(answer)


def test_every_path_that_can_be_read_answers_head_as_it_answers_get(client: httpx.Client) -> None:
    logged_in(client, "tok-ada")
    good = 0
    for path in paths():
        by_get = heads(client, "GET", path)
        assert heads(client, "HEAD", path) == by_get, path
        good += by_get[0] == 200
    assert good > 20


def test_head_has_the_length_that_get_has_and_no_body(client: httpx.Client) -> None:
    got = client.get("/healthz")
    head = client.head("/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))


def test_after_a_head_the_same_connection_goes_on(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as one:
        for path in ("/healthz", "/nowhere", "/v1/instances", "/login"):
            one.sendall(f"HEAD {path} HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n".encode())
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: one.recv(65_536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"401", b"200", b"200"]
    assert answers.count(b'{"status":"ok"}') == 1


def test_a_live_page_that_is_asked_for_by_head_is_not_kept_open(client: httpx.Client) -> None:
    logged_in(client, "tok-ada")
    began = time.monotonic()
    answer = client.head("/live/overview")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert client.get("/healthz").status_code == 200
    assert time.monotonic() - began < 30


def test_what_is_only_posted_to_is_not_there_for_head_either(client: httpx.Client) -> None:
    answer = client.head("/v1/member-events")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

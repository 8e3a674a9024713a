"""Who sends half a request is cut off in time, and keeps nobody else waiting."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import Engine

from producers.site import create_app
from shared.settings import Settings
from tests.calling import assert_problem, event, outcomes, served
from tests.raw_http import connected, drip, head, statuses, to_the_end

HEAD_S, SILENCE_S, MOST = 0.6, 0.6, 60
LONG_S = 60.0
POST = ("POST", "/v1/member-events", "Content-Type: application/json")


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger
    of = Settings(_env_file=None, ledger_url=ledger_url)
    limits = {"head_within_s": HEAD_S, "body_silence_s": SILENCE_S, "connections_max": MOST}
    with served(create_app(of.model_copy(update={"api": of.api.model_copy(update=limits)}))) as one:
        yield one


def gone(one: socket.socket) -> bytes:
    """Wait until the server has closed; give what it said before."""
    try:
        return to_the_end(one)
    except ConnectionResetError:
        return b""


def test_half_sent_heads_and_bodies_are_gone_in_time_while_others_are_served(client: httpx.Client) -> None:
    halves = [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A",
        b"\r\n",
        head(*POST, "Content-Length: 9"),
    ]
    began = time.monotonic()
    with ExitStack() as opened:
        for number in range(MOST - 10):
            one = opened.enter_context(connected(client))
            one.sendall(halves[number % len(halves)])
            opened.callback(gone, one)
            assert client.get("/healthz").status_code == 200
        assert outcomes(client.post("/v1/member-events", json=event())) == ["accepted"]
    assert time.monotonic() - began < LONG_S
    assert client.get("/healthz").status_code == 200


def test_a_half_head_is_told_why_it_is_cut_off(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        said = to_the_end(one)
    assert statuses(said) == [408]
    assert b'"code":"unfinished_request"' in said
    assert re.search(rb"x-request-id: [0-9a-f]{32}\r\n", said, re.IGNORECASE)
    assert HEAD_S * 0.8 < time.monotonic() - began < LONG_S


def test_a_head_that_drips_is_cut_off_too(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(OSError):  # noqa: PT011  # reset or broken pipe, as the kernel has it
            drip(one, b"X-Drip: y\r\n", for_s=LONG_S)


def test_a_body_that_stalls_is_told_so_and_nothing_of_it_is_taken(client: httpx.Client) -> None:
    body = json.dumps(event()).encode()
    for framing, part in ((f"Content-Length: {len(body) + 1}", body), ("Transfer-Encoding: chunked", b"5\r\n{")):
        with connected(client) as one:
            one.sendall(head(*POST, framing) + part)
            said = to_the_end(one)
        assert statuses(said) == [408], framing
    assert client.get("/v1/instances").json()["items"] == []


def test_a_body_that_moves_for_longer_than_it_may_be_silent_is_taken(client: httpx.Client) -> None:
    body = json.dumps(event()).encode()
    with connected(client) as one:
        one.sendall(head(*POST, f"Content-Length: {len(body)}", "Connection: close"))
        began = time.monotonic()
        for byte in body[:40]:
            one.sendall(bytes([byte]))
            time.sleep(SILENCE_S / 20)
        assert time.monotonic() - began > SILENCE_S * 1.5
        one.sendall(body[40:])
        assert statuses(to_the_end(one)) == [202]


def test_a_body_that_stalls_after_its_early_answer_is_not_kept_either(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(head("POST", "/nowhere", "Content-Length: 100") + b"x")
        began = time.monotonic()
        assert statuses(to_the_end(one)) == [404]
    assert time.monotonic() - began < LONG_S


def test_after_an_early_answer_and_the_rest_of_its_body_the_connection_goes_on(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(head("POST", "/nowhere", "Content-Length: 4") + b"ab")
        said = one.recv(65_536)
        one.sendall(b"cd" + head("GET", "/healthz"))
        while b'"ok"' not in said:
            said += one.recv(65_536)
        began = time.monotonic()
        assert to_the_end(one) == b""  # the time-out of an idle connection
    assert statuses(said) == [404, 200]
    assert time.monotonic() - began < LONG_S


def test_more_connections_than_allowed_cost_only_those_who_wait_longest(client: httpx.Client) -> None:
    with ExitStack() as opened:
        idle = [opened.enter_context(connected(client)) for _ in range(MOST * 3)]
        assert client.get("/healthz").status_code == 200
        for one in idle[:MOST]:
            assert gone(one) == b""
        assert outcomes(client.post("/v1/member-events", json=event())) == ["accepted"]


def test_where_everybody_is_busy_one_more_is_told_to_come_again(ledger: Engine, ledger_url: str) -> None:
    assert ledger
    of = Settings(_env_file=None, ledger_url=ledger_url)
    app = create_app(of.model_copy(update={"api": of.api.model_copy(update={"connections_max": 2})}))
    with served(app) as client, client.stream("GET", "/live/overview"), client.stream("GET", "/live/overview"):
        answer = client.get("/healthz")
        assert_problem(answer, 503, "too_many_connections")
        assert int(answer.headers["retry-after"]) > 0


def test_a_live_page_outlives_the_time_outs_of_those_who_send_half(client: httpx.Client) -> None:
    with client.stream("GET", "/live/overview", headers={"Accept-Encoding": "identity"}) as live:
        parts = live.iter_text()
        assert "event: parts" in next(parts)
        with ExitStack() as opened:
            for _ in range(MOST * 2):
                opened.enter_context(connected(client))
            began = time.monotonic()
            while time.monotonic() - began < max(HEAD_S, SILENCE_S) * 3:
                assert next(parts)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /healthz?" + b"a" * 62_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, b"address_too_long"),
        (b"GET /healthz?" + b"a" * 2_000_000, 414, b"address_too_long"),
        (b"GET /healthz HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n", 431, b"head_too_long"),
        (b"GET /healthz HTTP/1.1\r\nX-Long: " + b"a" * 2_000_000, 431, b"head_too_long"),
        (b"GET /healthz HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 200_000, 431, b"head_too_long"),
        (b"nonsense\r\n\r\n", 400, b"unreadable_request"),
        (b"GET /healthz\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, b"unreadable_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b"unreadable_request"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, b"unreadable_request"),
        (head(*POST, "Content-Length: -1") + b"{}", 400, b"unreadable_request"),
        (head(*POST, "Content-Length: 1", "Content-Length: 2") + b"{}", 400, b"unreadable_request"),
        (head(*POST, "Content-Length: 2", "Transfer-Encoding: chunked") + b"{}", 400, b"unreadable_request"),
        (head(*POST, "Transfer-Encoding: chunked") + b"zz\r\n" + b"x" * 1_000_000, 400, b"unreadable_request"),
    ],
)
def test_what_cannot_be_read_is_told_why(client: httpx.Client, sent: bytes, status: int, code: bytes) -> None:
    with connected(client) as one:
        one.sendall(sent)
        said = to_the_end(one)
    assert statuses(said) == [status]
    assert b"application/problem+json" in said
    assert code in said


def test_what_cannot_be_read_behind_a_good_request_does_not_cost_its_answer(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(head("GET", "/v1/instances") + b"nonsense\r\n\r\n")
        said = to_the_end(one)
    assert statuses(said)[0] == 200
    assert b'"items"' in said


def test_requests_may_be_sent_ahead_and_old_ones_are_answered_and_closed(client: httpx.Client) -> None:
    body = json.dumps(event()).encode()
    with connected(client) as one:
        sent = (
            head(*POST, f"Content-Length: {len(body)}") + body + head("GET", "/v1/instances") + head("HEAD", "/readyz")
        )
        one.sendall(sent + head("GET", "/healthz", "Connection: close"))
        assert statuses(to_the_end(one)) == [202, 200, 200, 200]
    with connected(client) as one:
        one.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert statuses(to_the_end(one)) == [200]


def test_an_offer_of_http2_is_not_taken_up_and_costs_no_body(client: httpx.Client) -> None:
    """As Java's own client sends its first request."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")
    with connected(client) as one:
        for number in range(2):
            body = json.dumps(event(f"M-{number}")).encode()
            one.sendall(head(*POST, *offer, f"Content-Length: {len(body)}") + body)
        one.sendall(head("GET", "/healthz", "Connection: close"))
        said = to_the_end(one)
    assert statuses(said) == [202, 202, 200]
    assert said.count(b'"accepted"') == 2

"""Who sends too much is told so, also who sends it all before reading, in every way that one may send it."""

import gzip
import http.client
from collections.abc import Iterator

import httpx
import pytest
import requests
from sqlalchemy import Engine

from producers.site import create_app
from shared.settings import Settings
from tests.calling import assert_problem, event, outcomes, served
from tests.raw_http import connected, drip, head, statuses, to_the_end

LIMIT = 100_000
PATH = "/v1/member-events"
LARGE = b"x" * 20_000_000
"""More than kernels buffer between the two: who sends it all at once is still sending when the answer goes out."""


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger
    of = Settings(_env_file=None, ledger_url=ledger_url)
    api = of.api.model_copy(update={"max_body_bytes": LIMIT, "body_silence_s": 1.0})
    with served(create_app(of.model_copy(update={"api": api}))) as one:
        yield one


def in_pieces(size: int = 50_000) -> Iterator[bytes]:
    for start in range(0, len(LARGE), size):
        yield LARGE[start : start + size]


def test_who_writes_everything_and_then_reads_is_told(client: httpx.Client) -> None:
    for framing, body in (
        (f"Content-Length: {len(LARGE)}", LARGE),
        ("Transfer-Encoding: chunked", b"%x\r\n" % len(LARGE) + LARGE + b"\r\n0\r\n\r\n"),
    ):
        for _ in range(5):
            with connected(client) as one:
                one.sendall(head("POST", PATH, "Content-Type: application/json", framing) + body)
                said = to_the_end(one)
            assert statuses(said) == [413], framing
            assert b'"code":"body_too_large"' in said


def test_the_usual_clients_are_told(client: httpx.Client) -> None:
    url = str(client.base_url.join(PATH))
    for _ in range(5):
        assert_problem(client.post(PATH, content=LARGE), 413, "body_too_large")
        assert_problem(client.post(PATH, content=in_pieces()), 413, "body_too_large")
        assert requests.post(url, data=LARGE, timeout=20).status_code == 413
        assert requests.post(url, data=in_pieces(), timeout=20).status_code == 413
        plain = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)
        plain.request("POST", PATH, LARGE)
        assert plain.getresponse().status == 413
        plain.close()
    assert outcomes(client.post(PATH, json=event())) == ["accepted"]


def test_other_refusals_reach_who_is_still_sending_as_well(client: httpx.Client) -> None:
    packed = gzip.compress(LARGE, 0)
    for path, headers, status in (
        (PATH, ("Content-Encoding: gzip",), 415),
        ("/nowhere", (), 404),
        ("/v1/instances", (), 405),
        ("/v1/requeues", (), 413),
    ):
        with connected(client) as one:
            one.sendall(head("POST", path, f"Content-Length: {len(packed)}", "Connection: close", *headers) + packed)
            assert statuses(to_the_end(one)) == [status], path


def test_who_asks_before_sending_is_told_without_sending(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(head("POST", PATH, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        said = to_the_end(one)
    assert statuses(said) == [413]


def test_who_asks_before_sending_what_is_allowed_is_told_to_go_on(client: httpx.Client) -> None:
    body = client.build_request("POST", PATH, json=event()).read()
    with connected(client) as one:
        one.sendall(
            head("POST", PATH, "Content-Type: application/json", f"Content-Length: {len(body)}", "Expect: 100-continue")
        )
        assert statuses(one.recv(65_536)) == [100]
        one.sendall(body + head("GET", "/healthz", "Connection: close"))
        assert statuses(to_the_end(one)) == [202, 200]


def test_after_a_refusal_that_made_the_body_needless_nothing_is_taken_for_the_next_request(
    client: httpx.Client,
) -> None:
    with connected(client) as one:
        one.sendall(head("POST", "/nowhere", "Content-Length: 40", "Expect: 100-continue"))
        said = to_the_end(one)
    assert statuses(said) == [404]
    assert b"connection: close" in said.lower()


def test_who_never_stops_sending_is_cut_off_in_the_end(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(head("POST", PATH, f"Content-Length: {10**12}"))
        with pytest.raises(OSError):  # noqa: PT011  # reset or broken pipe, as the kernel has it
            drip(one, b"x" * 10_000, for_s=60)
    assert client.get("/healthz").status_code == 200

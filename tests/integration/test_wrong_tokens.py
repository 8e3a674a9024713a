"""Guesses at tokens are limited by the address they come from, and keep nobody out who has one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import Engine

from producers.http.auth import WINDOW_S, Authenticator, Guesses
from producers.site import create_app
from shared.settings import Settings
from tests.calling import assert_problem, event, outcomes, served

TOKENS = {
    "tok-vera": {"name": "vera", "role": "viewer"},
    "tok-siebel": {"name": "siebel", "role": "producer"},
}
MOST = 10


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def guarded(ledger_url: str, clock: Clock, **options: str) -> Iterator[httpx.Client]:
    of = Settings(_env_file=None, ledger_url=ledger_url)
    api = of.api.model_validate({"tokens": TOKENS, **options})
    app = create_app(of.model_copy(update={"api": api}))
    authenticator: Authenticator = app.state.authenticator
    authenticator.guesses = Guesses(api.wrong_tokens_per_minute, clock=clock)
    with served(app) as one:
        yield one


@pytest.fixture
def client(ledger: Engine, ledger_url: str, clock: Clock) -> Iterator[httpx.Client]:
    assert ledger
    with guarded(ledger_url, clock) as one:
        yield one


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def guess(client: httpx.Client, count: int, **headers: str) -> list[int]:
    return [
        client.get("/v1/instances", headers=bearer(f"guess-{number}") | headers).status_code for number in range(count)
    ]


def test_so_many_wrong_tokens_are_refused_and_the_next_ones_told_to_wait(client: httpx.Client) -> None:
    assert guess(client, MOST + 20) == [401] * MOST + [429] * 20
    late = client.post("/v1/member-events", json=event(), headers=bearer("another"))
    assert_problem(late, 429, "too_many_wrong_tokens")
    assert 0 < int(late.headers["retry-after"]) <= WINDOW_S
    assert client.get("/metrics", headers=bearer("another")).status_code == 429


def test_who_has_a_token_passes_at_once_whoever_guesses_beside_it(client: httpx.Client) -> None:
    for _ in range(30):
        guess(client, 5)
        assert client.get("/v1/instances", headers=bearer("tok-vera")).status_code == 200
    sent = client.post("/v1/member-events", json=event(), headers=bearer("tok-siebel"))
    assert outcomes(sent) == ["accepted"]


def test_after_a_minute_a_wrong_token_is_only_wrong_again(client: httpx.Client, clock: Clock) -> None:
    guess(client, MOST)
    clock.now += WINDOW_S - 1
    assert guess(client, 1) == [429]
    clock.now += 1
    assert guess(client, 1) == [401]


def test_the_same_old_token_of_a_caller_who_was_not_told_goes_on_being_refused_as_unknown(client: httpx.Client) -> None:
    answers = [client.get("/v1/instances", headers=bearer("tok-old")).status_code for _ in range(40)]
    assert answers == [401] * 40
    assert [client.get("/v1/instances", headers=bearer("tok-old")).status_code for _ in range(20)][-1] == 429


def test_who_sends_no_token_does_not_guess(client: httpx.Client) -> None:
    assert {client.get("/v1/instances").status_code for _ in range(MOST * 3)} == {401}
    assert guess(client, 1) == [401]


def test_whose_machine_it_is_is_not_for_the_caller_to_say(client: httpx.Client) -> None:
    for number in range(MOST):
        headers = {"X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}"}
        assert client.get("/v1/instances", headers=bearer(f"guess-{number}") | headers).status_code == 401
    assert guess(client, 1, **{"X-Forwarded-For": "192.0.2.99"}) == [429]


def test_wrong_tokens_at_the_api_keep_nobody_out_of_the_console(client: httpx.Client) -> None:
    guess(client, MOST * 3)
    page = client.get("/login").text
    key = page.partition('name="form_key" value="')[2][:64]
    assert client.post("/login", data={"form_key": key, "token": "tok-vera"}).status_code == 303


def x_forwarded(*hops: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(hops)}


def forwarded(*hops: str) -> dict[str, str]:
    return {"Forwarded": ", ".join(f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in hops)}


@pytest.mark.parametrize(("kind", "said"), [("x-forwarded", x_forwarded), ("forwarded", forwarded)])
def test_behind_a_trusted_proxy_each_client_guesses_for_itself(
    ledger: Engine, ledger_url: str, clock: Clock, kind: str, said: Callable[..., dict[str, str]]
) -> None:
    assert ledger
    guesser, other = said("203.0.113.9"), said("203.0.113.10")
    with guarded(ledger_url, clock, trusted_proxies="127.0.0.1, 10.0.0.0/8", proxy_headers=kind) as client:
        assert guess(client, MOST + 5, **guesser) == [401] * MOST + [429] * 5
        assert guess(client, MOST + 1, **other) == [401] * MOST + [429], "who is beside it has all of its own"
        assert guess(client, 1) == [401], "and so has the proxy"
        for who in (guesser, other, {}):
            right = client.get("/v1/instances", headers=bearer("tok-vera") | who)
            assert right.status_code == 200, "a right token passes wherever it comes from"
        sent = client.post("/v1/member-events", json=event(), headers=bearer("tok-siebel") | guesser)
        assert outcomes(sent) == ["accepted"]
        clock.now += WINDOW_S
        assert guess(client, 1, **guesser) == [401]


@pytest.mark.parametrize(("kind", "said"), [("x-forwarded", x_forwarded), ("forwarded", forwarded)])
def test_behind_a_trusted_proxy_nobody_becomes_somebody_else_by_saying_so(
    ledger: Engine, ledger_url: str, clock: Clock, kind: str, said: Callable[..., dict[str, str]]
) -> None:
    assert ledger
    with guarded(ledger_url, clock, trusted_proxies="127.0.0.1, 10.0.0.0/8", proxy_headers=kind) as client:
        for number in range(MOST):  # what it wrote itself stands before what the proxies wrote
            hops = said(f"192.0.2.{number}", "203.0.113.9", "10.0.0.7")
            assert client.get("/v1/instances", headers=bearer(f"guess-{number}") | hops).status_code == 401
        assert guess(client, 1, **said("192.0.2.99", "203.0.113.9")) == [429]
        assert guess(client, 1, **said("203.0.113.9", "192.0.2.99")) == [401]
        for number in range(MOST):  # the addresses of one IPv6 network are one client's
            hops = said(f"2001:db8:0:1::{number + 1}")
            assert client.get("/v1/instances", headers=bearer(f"guess-{number}") | hops).status_code == 401
        assert guess(client, 1, **said("2001:db8:0:1::ffff")) == [429]
        assert guess(client, 1, **said("2001:db8:0:2::1")) == [401]

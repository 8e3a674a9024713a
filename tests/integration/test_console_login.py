"""Who gets into the console, how the login is kept, and what a form must carry."""

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.console.session import SESSION_S, Sessions
from producers.http.auth import Authenticator
from producers.site import create_app
from shared.ledger import logins
from shared.settings import ApiSettings, Settings, Token
from tests.calling import served
from tests.console import logged_in, post

TOKENS = {
    "tok-vera": Token(name="vera", role="viewer"),
    "tok-oscar": Token(name="oscar", role="operator"),
    "tok-siebel": Token(name="siebel", role="producer"),
}
HTML = {"Accept": "text/html"}


def settings(url: str, tokens: dict[str, Token] | None = None) -> Settings:
    of = Settings(_env_file=None, ledger_url=url)
    return of.model_copy(update={"api": of.api.model_copy(update={"tokens": TOKENS if tokens is None else tokens})})


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    with served(create_app(settings(ledger_url))) as one:
        one.headers.update(HTML)
        yield one


def key_of(page: httpx.Response) -> str:
    found = re.search(r'name="form_key" value="([0-9a-f]{64})"', page.text)
    assert found, page.text
    return found[1]


def try_token(client: httpx.Client, token: str, **fields: str) -> httpx.Response:
    return client.post("/login", data={"form_key": key_of(client.get("/login")), "token": token, **fields})


def test_who_is_not_logged_in_is_sent_to_the_login_and_back_again(client: httpx.Client) -> None:
    sent = client.get("/instances?state=dead")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Finstances%3Fstate%3Ddead")
    back = try_token(client, "tok-vera", next="/instances?state=dead")
    assert (back.status_code, back.headers["location"]) == (303, "/instances?state=dead")
    assert client.get("/").status_code == 200


def test_the_cookie_is_for_our_pages_only_and_holds_no_token(client: httpx.Client) -> None:
    cookie = try_token(client, "tok-vera").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie  # on loopback there is no TLS
    assert "tok-vera" not in cookie


def test_off_loopback_cookies_need_tls(client: httpx.Client) -> None:
    page = client.get("/login", headers={"Host": "console.example.org"})
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-membersync_seed=")
    assert "Secure" in cookie
    assert "Path=/" in cookie


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"])
def test_a_login_leads_to_pages_of_ours_only(client: httpx.Client, elsewhere: str) -> None:
    assert try_token(client, "tok-vera", next=elsewhere).headers["location"] == "/"


@pytest.mark.parametrize(
    ("token", "says"), [("tok-nobody", "not known"), ("", "not known"), ("tok-siebel", "producer")]
)
def test_an_unknown_token_and_a_producers_get_nobody_in(client: httpx.Client, token: str, says: str) -> None:
    answer = try_token(client, token)
    assert answer.status_code == 403
    assert says in answer.text
    assert client.get("/").status_code == 303


def test_guessing_is_slowed_down_and_the_right_token_must_wait_too(client: httpx.Client) -> None:
    answers = [try_token(client, f"guess-{number}").status_code for number in range(10)]
    assert answers == [403] * 10
    late = try_token(client, "tok-vera")
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 0


def test_who_guesses_keeps_nobody_else_behind_the_same_proxy_out(client: httpx.Client) -> None:
    for _ in range(3):  # browsers that guess, each up to its limit
        assert [try_token(client, "guess").status_code for _ in range(10)] == [403] * 10
        assert try_token(client, "tok-vera").status_code == 429
        client.cookies.clear()
    began = time.monotonic()
    assert try_token(client, "tok-vera").status_code == 303
    assert time.monotonic() - began > 0.4  # a guess costs time, whoever makes it


def test_logging_out_ends_it_in_this_browser(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    assert post(client, "/", "/logout").headers["location"] == "/login"
    assert client.get("/").status_code == 303


def test_a_token_that_is_taken_away_ends_its_logins(client: httpx.Client, ledger_url: str) -> None:
    logged_in(client, "tok-oscar")
    cookie = client.cookies["membersync_session"]
    left = {token: owner for token, owner in TOKENS.items() if owner.name != "oscar"}
    with served(create_app(settings(ledger_url, left))) as other:
        assert other.get("/", headers={**HTML, "Cookie": f"membersync_session={cookie}"}).status_code == 303
    with served(create_app(settings(ledger_url))) as another:
        assert another.get("/", headers={**HTML, "Cookie": f"membersync_session={cookie}"}).status_code == 200


def test_a_logout_ends_that_login_also_where_somebody_kept_its_cookie(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    kept = client.cookies["membersync_session"]
    assert client.get("/", headers={"Cookie": f"membersync_session={kept}"}).status_code == 200
    post(client, "/", "/logout")
    logged_in(client, "tok-vera")
    assert client.get("/").status_code == 200
    client.cookies.clear()
    assert client.get("/", headers={"Cookie": f"membersync_session={kept}"}).status_code == 303


def test_a_logout_ends_the_login_in_every_process_of_the_api_and_after_a_restart(
    client: httpx.Client, ledger: Engine, ledger_url: str
) -> None:
    logged_in(client, "tok-vera")
    kept = {"Cookie": f"membersync_session={client.cookies['membersync_session']}"}
    with served(create_app(settings(ledger_url))) as other:
        other.headers.update(HTML)
        assert other.get("/", headers=kept).status_code == 200
        post(client, "/", "/logout")
        assert other.get("/", headers=kept).status_code == 303
        assert "vera" not in other.get("/nowhere", headers=kept).text
    with served(create_app(settings(ledger_url))) as another:
        assert another.get("/", headers={**HTML, **kept}).status_code == 303
    with ledger.begin() as tx:
        (digest,) = tx.execute(text("select digest from ended_login")).scalars()
        assert kept["Cookie"].encode().find(digest) == -1
        tx.execute(
            text("update ended_login set ended_at = now() - make_interval(secs => :old_s)"), {"old_s": SESSION_S}
        )
        logins.end(tx, b"another", lasts_s=SESSION_S)
        assert tx.execute(text("select digest from ended_login")).scalars().all() == [b"another"]


def test_a_cookie_that_we_did_not_sign_is_nobodys(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    cookie = client.cookies["membersync_session"]
    client.cookies.clear()
    for spoilt in (cookie[4:], cookie.swapcase(), "x.y", "", "."):
        assert client.get("/", headers={"Cookie": f"membersync_session={spoilt}"}).status_code == 303, spoilt


def test_a_login_of_yesterday_is_over(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    logged_in(client, "tok-vera")
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + SESSION_S + 5)
    assert client.get("/").status_code == 303


def test_a_viewers_cookie_cannot_be_made_into_an_operators(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    authenticator = Authenticator(ApiSettings(tokens=TOKENS))
    sessions = Sessions(authenticator, ledger_url)
    cookies = {who.name: sessions.opened(who, digest) for digest, who in authenticator.known}
    assert sessions.who(cookies["oscar"]) is not None
    keys = {name: cookie.partition(".")[0] for name, cookie in cookies.items()}
    assert sessions.who(cookies["vera"].replace(keys["vera"], keys["oscar"])) is None


def test_a_form_of_another_site_does_nothing(client: httpx.Client, ledger: Engine) -> None:
    logged_in(client, "tok-oscar")
    form_key = key_of(client.get("/"))
    for headers, fields in (
        ({}, {}),
        ({}, {"form_key": "0" * 64}),
        ({"Origin": "https://evil.example"}, {"form_key": form_key}),
        ({"Origin": "null"}, {"form_key": form_key}),
    ):
        answer = client.post("/connections/oic/pause", data={"reason": "x", **fields}, headers=headers)
        assert answer.status_code == 403, (headers, fields)
    with ledger.connect() as tx:
        assert not tx.execute(text("select bool_or(paused) from connection")).scalar()


def test_the_key_of_another_login_opens_no_form(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    old = key_of(client.get("/"))
    logged_in(client, "tok-oscar")
    assert client.post("/connections/oic/pause", data={"reason": "x", "form_key": old}).status_code == 403


def test_the_api_does_not_take_the_cookie(client: httpx.Client) -> None:
    logged_in(client, "tok-oscar")
    assert client.get("/v1/instances").status_code == 401
    assert client.post("/v1/connections/oic/pause", json={"reason": "x"}).status_code == 401


def test_a_link_in_a_mail_finds_the_login_that_the_browser_kept_back(client: httpx.Client) -> None:
    answer = client.get("/connections", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text


def test_pages_allow_nothing_but_our_own_files(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    headers = client.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


def test_a_page_that_is_none_is_a_page_that_says_so_and_the_api_keeps_its_problems(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    lost = client.get("/nowhere")
    assert (lost.status_code, lost.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page." in lost.text
    assert client.get("/v1/nowhere").headers["content-type"] == "application/problem+json"
    assert client.get("/nowhere", headers={"Accept": "application/json"}).headers["content-type"] == (
        "application/problem+json"
    )


def test_without_tokens_this_machine_is_in_and_foreign_names_are_not(ledger: Engine, ledger_url: str) -> None:
    assert ledger
    with served(create_app(settings(ledger_url, {}))) as client:
        assert client.get("/", headers=HTML).status_code == 200
        assert client.get("/login", headers=HTML).headers["location"] == "/"
        assert client.get("/", headers={**HTML, "Host": "evil.example"}).status_code == 403
        form_key = key_of(client.get("/connections", headers=HTML))
        sent = {"form_key": form_key, "reason": "x"}
        foreign = client.post("/connections/oic/pause", data=sent, headers={**HTML, "Origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert client.post("/connections/oic/pause", data=sent, headers=HTML).status_code == 303

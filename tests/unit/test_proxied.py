"""Whom a request is from, over which scheme and as which host: what trusted proxies say, and nobody else."""

import asyncio
import time
from typing import Any

import pytest
from fastapi import Request

from producers.http.auth import Authenticator
from producers.http.middleware import Proxied
from shared.errors import SettingsInvalidError
from shared.settings import ApiSettings, Token, settings

TRUSTED = "127.0.0.1, 10.0.0.0/8, ::1, 2001:db8:a::/48"
Seen = tuple[str, str, str]


def seen(peer: str | None, *headers: tuple[str, str], **changes: str) -> Seen:
    """Return client, scheme and Host of a request as the app sees them."""
    found: list[Request] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401  # ASGI's
        found.append(Request(scope))

    raw = [(name.lower().encode(), value.encode()) for name, value in (("Host", "inner:8000"), *headers)]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "scheme": "http",
    }
    scope |= {"headers": raw, "client": (peer, 4711) if peer else None}
    of = ApiSettings.model_validate({"trusted_proxies": TRUSTED, **changes})
    unused: Any = None
    asyncio.run(Proxied(app, of)(scope, unused, unused))
    (request,) = found
    client = request.client.host if request.client else ""
    return client, request.url.scheme, request.headers["host"]


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "1.1.1.1, 203.0.113.9, 10.9.9.9, 127.0.0.1", "203.0.113.9"),
        ("10.1.2.3", "10.0.0.7, 10.0.0.8", "10.0.0.7"),
        ("10.1.2.3", "203.0.113.9:51234", "203.0.113.9"),
        ("10.1.2.3", "2001:db8::9", "2001:db8::9"),
        ("10.1.2.3", "[2001:DB8::9]:51234", "2001:db8::9"),
        ("10.1.2.3", "2001:db8::9, 2001:db8:a::1", "2001:db8::9"),
        ("10.1.2.3", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, unknown", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9, ' or 1=1, 10.0.0.7", "10.0.0.7"),
        ("10.1.2.3", " , ,203.0.113.9 ,", "203.0.113.9"),
        ("10.1.2.3", "", "10.1.2.3"),
    ],
)
def test_the_right_most_address_that_is_not_trusted_is_the_client(peer: str, chain: str, client: str) -> None:
    assert seen(peer, ("X-Forwarded-For", chain))[0] == client


def test_several_lines_are_one_chain() -> None:
    lines = (("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "10.0.0.7"))
    assert seen("127.0.0.1", *lines)[0] == "203.0.113.9"


SAID = (
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "ops.example.com"),
    ("Forwarded", "for=203.0.113.8;proto=https;host=other.example.com"),
)


@pytest.mark.parametrize("peer", ["192.0.2.1", "11.0.0.1", "::2", "::ffff:192.0.2.1", None])
def test_others_are_not_believed(peer: str | None) -> None:
    for kind in ("x-forwarded", "forwarded"):
        assert seen(peer, *SAID, proxy_headers=kind) == (peer or "", "http", "inner:8000")


def test_by_default_nobody_is_believed_this_machine_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert seen("127.0.0.1", *SAID, trusted_proxies="") == ("127.0.0.1", "http", "inner:8000")


def test_scheme_and_host_are_those_that_the_client_asked_for() -> None:
    assert seen("127.0.0.1", *SAID) == ("203.0.113.9", "https", "ops.example.com")
    assert seen("127.0.0.1", *SAID, proxy_headers="forwarded") == ("203.0.113.8", "https", "other.example.com")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ({"For": "6.6.6.6, 203.0.113.9", "Proto": "http, https"}, ("203.0.113.9", "https", "inner:8000")),
        ({"For": "203.0.113.9, 10.0.0.7", "Proto": "https, http"}, ("203.0.113.9", "https", "inner:8000")),
        ({"For": "203.0.113.9, 10.0.0.7", "Proto": "https"}, ("203.0.113.9", "https", "inner:8000")),
        ({"Proto": "HTTPS", "Host": "[::1]:8443"}, ("127.0.0.1", "https", "[::1]:8443")),
        ({"For": "203.0.113.9", "Proto": "javascript", "Host": "a b"}, ("203.0.113.9", "http", "inner:8000")),
        ({"For": "203.0.113.9", "Host": 'evil"><script>'}, ("203.0.113.9", "http", "inner:8000")),
    ],
)
def test_what_a_client_put_before_it_does_not_count(lines: dict[str, str], found: Seen) -> None:
    assert seen("127.0.0.1", *((f"X-Forwarded-{name}", value) for name, value in lines.items())) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("for=203.0.113.9", ("203.0.113.9", "http", "inner:8000")),
        ('For="[2001:db8::9]:4711";Proto=https', ("2001:db8::9", "https", "inner:8000")),
        ('for="203.0.113.9:80" ; host="ops.example.com:8443"', ("203.0.113.9", "http", "ops.example.com:8443")),
        ("for=6.6.6.6;proto=http, for=203.0.113.9;proto=https", ("203.0.113.9", "https", "inner:8000")),
        ("for=203.0.113.9;proto=https, for=10.0.0.7;proto=http", ("203.0.113.9", "https", "inner:8000")),
        ("for=_hidden;proto=https", ("127.0.0.1", "https", "inner:8000")),
        ('for="203.0.113.9', ("127.0.0.1", "http", "inner:8000")),
        ('for=6.6.6.6;x="a,b;for=7.7.7.7", for=203.0.113.9', ("203.0.113.9", "http", "inner:8000")),
    ],
)
def test_the_header_of_the_standard_is_read(line: str, found: Seen) -> None:
    assert seen("127.0.0.1", ("Forwarded", line), proxy_headers="forwarded") == found


@pytest.mark.parametrize("line", ['"' * 60_001, '"\\' * 30_000, "for=" * 15_000, ",;" * 30_000, 'a="' + "\\" * 60_000])
def test_no_header_takes_long_to_read(line: str) -> None:
    began = time.process_time()
    for kind, name in (("x-forwarded", "X-Forwarded-For"), ("forwarded", "Forwarded")):
        seen("127.0.0.1", (name, line), proxy_headers=kind)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("*", "must be addresses or networks"),
        ("proxy.example.org", "must be addresses or networks"),
        ("10.0.0.0/33", "must be addresses or networks"),
        ("10.0.0.1/8", "must be addresses or networks"),
        ("10.0.0.1 10.0.0.2", "must be addresses or networks"),
        ("10.0.0.1:80", "must be addresses or networks"),
        ("::ffff:10.0.0.0/8", "must be addresses or networks"),
        ("0.0.0.0/0", "must not be everybody"),
        ("::/0", "must not be everybody"),
        ("::ffff:0.0.0.0/96", "must not be everybody"),
    ],
)
def test_trust_in_nobody_in_particular_is_refused(given: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERSYNC_API__TRUSTED_PROXIES", given)
    settings.cache_clear()
    with pytest.raises(SettingsInvalidError, match=f"MEMBERSYNC_API__TRUSTED_PROXIES: {says}"):
        settings()
    settings.cache_clear()


def test_networks_are_read_in_every_spelling() -> None:
    of = ApiSettings.model_validate({"trusted_proxies": " 127.0.0.1,[::1], ::ffff:10.0.0.0/104,,2001:DB8::/32 "})
    assert list(map(str, of.proxies)) == ["127.0.0.1/32", "::1/128", "10.0.0.0/8", "2001:db8::/32"]


def test_without_tokens_no_proxy_can_be_trusted() -> None:
    of = ApiSettings.model_validate({"trusted_proxies": "127.0.0.1"})
    with pytest.raises(ValueError, match=r"MEMBERSYNC_API__TOKENS is not set, and MEMBERSYNC_API__TRUSTED_PROXIES"):
        Authenticator(of)


@pytest.mark.parametrize(
    ("origin", "host", "is_ours"),
    [
        ("https://ops.example.com", "127.0.0.1:8000", True),
        ("https://ops.example.com", "ops.example.com:443", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://inner", "inner:80", True),
        ("http://Inner", "inner", True),
        ("http://ops.example.com", "127.0.0.1:8000", False),
        ("https://ops.example.com:8443", "127.0.0.1:8000", False),
        ("https://ops.example.com.evil.example", "127.0.0.1:8000", False),
        ("http://inner:8001", "inner:8000", False),
        ("http://inner", "inner:443", False),
        ("null", "", False),
        ("", "", False),
    ],
)
def test_a_page_is_ours_by_the_name_it_was_asked_as_or_where_people_open_it(
    origin: str,
    host: str,
    is_ours: bool,  # noqa: FBT001
) -> None:
    of = ApiSettings.model_validate({"public_url": "https://ops.example.com/membersync"})
    authenticator = Authenticator(of.model_copy(update={"tokens": {"t": Token(name="a", role="admin")}}))
    assert authenticator.is_ours(origin, host) is is_ours

"""What goes through a proxy, what does not, and what is said of it."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.doctor.servers import date_of
from shared.addresses import proxy_for, trusted
from shared.errors import StageError
from shared.systems.answers import verdict
from shared.systems.transport import Door, Request

TESTS = Path(__file__).parents[1]
ADDRESS = "http://ann:S3CR3T@proxy.example.org:3128"
PLACE = "http://proxy.example.org:3128"


class Answering(BaseHTTPRequestHandler):
    """Answers everything alike, and keeps what it was asked for."""

    asked: list[str]
    status = 200
    body = b"{}"

    def do_GET(self) -> None:  # named by http.server
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815  # named by http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int = 200, body: bytes = b"{}", context: ssl.SSLContext | None = None) -> Iterator[Any]:
    kind: Any = type("One", (Answering,), {"asked": [], "status": status, "body": body})
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        kind.port = server.server_port
        yield kind
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy_but_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("url", "is_proxied"),
    [
        ("http://crowdtwist.example.org/v2", True),
        ("http://10.1.2.3:8080", True),
        ("http://[2001:db8::1]/", True),
        ("http://127.0.0.1:9102", False),
        ("http://127.8.9.10", False),
        ("http://[::1]:9102", False),
        ("http://[::ffff:127.0.0.1]", False),
        ("http://localhost:9102", False),
        ("http://LOCALHOST", False),
        ("http://api.localhost", False),
        ("http://localhost.example.org", True),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_this_machine_is_never_behind_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    url: str,
    is_proxied: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv(name, ADDRESS)
    found = proxy_for(url)
    assert (found is not None) is is_proxied
    assert "S3CR3T" not in f"{found} {found!r}"


def test_each_scheme_has_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "https-proxy:1")
    assert str(proxy_for("https://ct.example.org")) == "the proxy http://https-proxy:1"
    assert proxy_for("http://ct.example.org") is None
    monkeypatch.setenv("ALL_PROXY", "http://[2001:db8::9]:3128/")
    assert str(proxy_for("http://ct.example.org")) == "the proxy http://[2001:db8::9]:3128"


@pytest.mark.parametrize(
    ("no_proxy", "is_proxied"),
    [
        ("", True),
        ("*", False),
        ("example.org", False),
        (".example.org", False),
        ("*.example.org", False),
        ("other.org, CT.example.org", False),
        ("t.example.org", True),
        ("10.0.0.0/8", True),
    ],
)
def test_no_proxy_is_heard(monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_proxied: bool) -> None:  # noqa: FBT001
    monkeypatch.setenv("HTTP_PROXY", ADDRESS)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for("http://ct.example.org") is not None) is is_proxied
    assert (proxy_for("http://10.1.2.3") is None) is (no_proxy in {"*", "10.0.0.0/8"})


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://ann:S3/CR#3T@proxy:3128", "the proxy http://proxy:3128"),
        ("ann:S3CR3T@proxy:3128", "the proxy http://proxy:3128"),
        ("http://ann:S3CR3T@proxy:S3CR3T", "the proxy of the environment, which cannot be read"),
        ("gopher://S3CR3T", "the proxy of the environment, which cannot be read"),
    ],
)
def test_a_proxy_is_named_without_its_credentials(monkeypatch: pytest.MonkeyPatch, address: str, place: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    said = asyncio.run(sent("http://ct.example.org"))
    assert place in said
    assert "S3" not in said.partition("USER")[0]


async def sent(base_url: str, method: str = "GET") -> str:
    """Say what became of a call."""
    door = Door("CrowdTwist", base_url, timeout_s=5, calls_in_flight=1)
    try:
        answer = await door.send(Request(method, "/x"), 5)
        return str(verdict("CrowdTwist", answer) or answer.document)
    except StageError as error:
        return str(error)
    finally:
        await door.close()


def test_a_call_goes_through_the_proxy_and_what_it_says_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(502, b"<html>no route</html>") as proxy, answering(body=b'{"a":1}') as simulator:
        monkeypatch.setenv("HTTP_PROXY", f"http://ann:S3CR3T@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:S3CR3T@127.0.0.1:{proxy.port}")
        named = f"(through the proxy http://127.0.0.1:{proxy.port})"
        assert asyncio.run(sent("http://ct.example.org")) == f"CrowdTwist: could not serve us (HTTP 502) {named}"
        assert proxy.asked == ["http://ct.example.org/x"]
        tunnelled = asyncio.run(sent("https://ct.example.org"))
        assert f"could not connect {named}" in tunnelled
        assert asyncio.run(sent(f"http://127.0.0.1:{simulator.port}")) == "{'a': 1}"
        assert asyncio.run(sent(f"http://localhost:{simulator.port}")) == "{'a': 1}"
        assert len(proxy.asked) == 2


def test_a_proxy_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://ann:S3CR3T@127.0.0.1:9")
    assert "could not connect (through the proxy http://127.0.0.1:9)" in asyncio.run(sent("http://ct.example.org"))


def test_a_companys_authority_is_believed_by_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TESTS / "company_server.pem")
    with answering(body=b'{"a":1}', context=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert "could not connect" in asyncio.run(sent(url))
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, verify=trusted(), trust_env=False)
        monkeypatch.setenv("SSL_CERT_FILE", str(TESTS / "company_authority.pem"))
        assert asyncio.run(sent(url)) == "{'a': 1}"
        assert httpx.get(url, verify=trusted(), trust_env=False).is_success
        assert date_of(url) > 0

"""The door against servers that misbehave: what is surely unsent, what is unknown, and what an answer means."""

import asyncio
import gc
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.programs import free_port
from shared.errors import (
    DataError,
    OutcomeUnknownError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.settings import OicSettings
from shared.systems.answers import Answer, retry_after_s, verdict
from shared.systems.oic import ClientCredentials
from shared.systems.transport import Door, Exchange, Request, Tokens, segment

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
KEY = "s3cr3t-k3y"
POST = Request("POST", "/v2/users", "id_type=id", b'{"first_name":"Andy"}')


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head + (await reader.readexactly(int(lengths[0])) if lengths else b"")


def answer_of(status: int, body: bytes, *headers: bytes) -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers])
    return head + b"\r\n\r\n" + body


def says(data: bytes, *, then_close: bool = True) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await writer.drain()
        if not then_close:
            await reader.read()

    return handler


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # whoever never reads to the end would keep it open beyond the loop
            raise
        finally:
            writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def door(url: str | None, timeout_s: float = 0.4, tokens: Tokens | None = None) -> Door:
    return Door(
        "CrowdTwist", url, timeout_s=timeout_s, secret_query=f"api_key={KEY}", calls_in_flight=50, tokens=tokens
    )


def tokens_of(url: str, *, timeout_s: float, scope: str = "scope") -> ClientCredentials:
    settings = OicSettings(
        token_url=url, client_id="id", client_secret=SecretStr("secret"), scope=scope, timeout_s=timeout_s
    )
    return ClientCredentials(settings)


async def sent(door: Door, request: Request = POST) -> Answer:
    try:
        return await door.send(request, door.timeout_s)
    finally:
        await door.close()


def outcome(handler: Handler) -> Answer | StageError:
    async def run() -> Answer | StageError:
        async with serving(handler) as url:
            try:
                return await sent(door(url))
            except StageError as error:
                return error

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (hangs, OutcomeUnknownError),
        (drips, OutcomeUnknownError),
        (resets, OutcomeUnknownError),
        (says(b""), OutcomeUnknownError),
        (says(b"HTTP/1.1 200 OK\r\nContent-Le"), OutcomeUnknownError),
        (says(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"id":'), OutcomeUnknownError),
        (says(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id":', then_close=False), OutcomeUnknownError),
        (says(b"SSH-2.0-OpenSSH\r\n\r\n"), OutcomeUnknownError),
    ],
    ids=["hang", "drip", "reset", "close", "cut in the head", "cut in the body", "hang in the body", "not HTTP"],
)
def test_no_whole_answer_after_sending_is_unknown(handler: Handler, expected: type[StageError]) -> None:
    assert type(outcome(handler)) is expected


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:{free_port()}", "http://no.such.host.invalid", "crowdtwist.com", "ftp://x", "", None],
    ids=["refused", "no such host", "no scheme", "other scheme", "empty", "unset"],
)
def test_what_cannot_be_connected_is_unreachable(url: str | None) -> None:
    with pytest.raises(UnreachableError):
        asyncio.run(sent(door(url)))


def test_a_tls_failure_is_unreachable() -> None:
    async def run() -> None:
        async with serving(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
            await sent(door(url.replace("http", "https"), timeout_s=1))

    with pytest.raises(UnreachableError):
        asyncio.run(run())


def test_a_connect_time_out_is_unreachable() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)  # noqa: FBT003 - its signature
            client.connect_ex(full.getsockname())
        with pytest.raises(UnreachableError):
            asyncio.run(sent(door(f"http://127.0.0.1:{full.getsockname()[1]}")))
        for client in waiting:
            client.close()


def test_waiting_for_a_free_slot_is_bounded_and_unreachable() -> None:
    async def run() -> tuple[Answer | BaseException, ...]:
        async with serving(hangs) as url:
            narrow = Door("CrowdTwist", url, timeout_s=0.2, calls_in_flight=1)
            calls = (narrow.send(POST, 0.2), narrow.send(POST, 0.1))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            await narrow.close()
            return answers

    first, second = asyncio.run(run())
    assert isinstance(first, OutcomeUnknownError)
    assert isinstance(second, UnreachableError)


def test_a_connection_that_was_closed_while_idle_is_replaced_unseen() -> None:
    async def run() -> list[int]:
        async with serving(says(answer_of(200, b"{}"))) as url:
            idle = door(url)
            statuses = []
            for pause_s in (0.0, 0.02, 0.0, 0.0):
                statuses.append((await idle.send(POST, 1)).status)
                await asyncio.sleep(pause_s)
            await idle.close()
            return statuses

    assert asyncio.run(run()) == [200] * 4


@pytest.mark.parametrize("handler", [hangs, resets, says(b"")])
def test_the_api_key_is_in_no_error(handler: Handler) -> None:
    async def run() -> Exchange:
        async with serving(handler) as url:
            behind = door(url)
            exchange = Exchange(behind)
            try:
                with pytest.raises(StageError) as caught:
                    await exchange.ask("POST", "/v2/users", "id_type=id", document={"first_name": "Andy"})
            finally:
                await behind.close()
            assert caught.value.__context__ is None
            assert KEY not in "".join(traceback.format_exception(caught.value))
            return exchange

    assert KEY not in str(asyncio.run(run()).calls)
    gc.collect()


def test_the_key_and_the_query_reach_the_server() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(answer_of(200, b"{}"))

    outcome(handler)
    assert heads[0].startswith(b"POST /v2/users?id_type=id&api_key=s3cr3t-k3y HTTP/1.1\r\n")
    assert heads[0].endswith(b'{"first_name":"Andy"}')


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (answer_of(401, b"{}"), UnauthorisedError),
        (answer_of(403, b"<html>"), UnauthorisedError),
        (answer_of(408, b"{}"), UnavailableError),
        (answer_of(429, b"{}"), ThrottledError),
        (answer_of(500, b"{}"), UnavailableError),
        (answer_of(503, b"<html>"), UnavailableError),
        (answer_of(503, b"<html>", b"Retry-After: 7"), ThrottledError),
        (answer_of(302, b"", b"Location: /login"), UnavailableError),
        (answer_of(200, b"<html>"), UnavailableError),
        (answer_of(200, b""), UnavailableError),
        (answer_of(200, b'"ok"'), UnavailableError),
        (answer_of(200, b'{"a":\xff}'), UnavailableError),
        (answer_of(404, b"<html>"), UnavailableError),
    ],
)
def test_an_answer_that_is_no_answer_is_an_error(data: bytes, expected: type[StageError]) -> None:
    answer = outcome(says(data))
    assert isinstance(answer, Answer)
    assert type(verdict("CrowdTwist", answer)) is expected


@pytest.mark.parametrize("data", [answer_of(200, b"{}"), answer_of(404, b'{"error":""}'), answer_of(200, b"[]")])
def test_other_answers_are_for_the_stage_to_read(data: bytes) -> None:
    answer = outcome(says(data))
    assert isinstance(answer, Answer)
    assert verdict("CrowdTwist", answer) is None


def test_an_error_status_can_be_handed_over_when_it_is_json() -> None:
    assert verdict("Siebel", Answer(500, {"ERROR": "x"}), frozenset({500})) is None
    assert isinstance(verdict("Siebel", Answer(500, None), frozenset({500})), UnavailableError)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("9" * 14, 30 * 86_400.0),
        (formatdate(1007, usegmt=True), 7.0),
        (formatdate(900, usegmt=True), 0.0),
    ]
    + [(said, None) for said in (None, "soon", "nan", "inf", "", "Wed, 99 Foo 2026 00:00:00 GMT")]
    + [(said, None) for said in ("1_0", "1e3", "0x10", "٣", "1,5", "7 s", "7;8")]
    + [("9" * 400, 30 * 86_400.0), ("-" + "9" * 400, 0.0), ("Fri, 31 Dec 9999 23:59:59 GMT", 30 * 86_400.0)]
    + [("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after_is_seconds_or_a_date(said: str | None, expected: float | None) -> None:
    assert retry_after_s(said, 1000.0) == expected


@pytest.mark.parametrize("year", [2001, 2026, 2199], ids=["behind", "now", "ahead"])
def test_an_instant_to_wait_for_is_by_the_clock_of_who_named_it(year: int) -> None:
    until, said_at = (f"Mon, 05 Mar {year} 10:{minute}:00 GMT" for minute in ("02", "00"))
    error = verdict("CrowdTwist", Answer(429, None, until, date=said_at), frozenset())
    assert isinstance(error, ThrottledError)
    assert error.retry_after_s == 120


@given(st.text(max_size=30))
def test_retry_after_never_fails_and_is_never_negative(said: str) -> None:
    seconds = retry_after_s(said, 1000.0)
    assert seconds is None or seconds >= 0


def test_dots_cannot_climb_out_of_a_path() -> None:
    assert segment("CrowdTwist", "Member Number", "a/b ?#%ü") == "a%2Fb%20%3F%23%25%C3%BC"
    for dots in (".", ".."):
        with pytest.raises(DataError, match="Member Number"):
            segment("CrowdTwist", "Member Number", dots)


def test_an_exchange_has_one_deadline_for_all_its_calls() -> None:
    async def run() -> Exchange:
        async with serving(hangs) as url:
            behind = door(url, timeout_s=0.8)
            exchange = Exchange(behind)
            for error in (OutcomeUnknownError, UnreachableError):
                with pytest.raises(error):
                    await exchange.ask("GET", "/")
            await behind.close()
            return exchange

    exchange = asyncio.run(run())
    assert exchange.done("late").took_ms < 1600
    assert [call.http_status for call in exchange.calls] == [None, None]


def test_one_token_is_fetched_for_all_and_one_more_when_it_is_refused() -> None:
    granted: list[str] = []
    revoked: set[str] = set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if request.startswith(b"POST /token"):
                await asyncio.sleep(0.02)
                granted.append(f"t{len(granted)}")
                writer.write(answer_of(200, b'{"access_token":"%b","expires_in":3600}' % granted[-1].encode()))
            else:
                token = request.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
                writer.write(answer_of(401 if token in revoked else 200, b"{}"))

    async def run() -> None:
        async with serving(handler) as url:
            tokens = tokens_of(f"{url}/token", timeout_s=2)
            behind = door(url, timeout_s=2, tokens=tokens)
            await asyncio.gather(*(Exchange(behind).ask("GET", "/x") for _ in range(20)))
            assert granted == ["t0"]
            revoked.add("t0")
            await asyncio.gather(*(Exchange(behind).ask("GET", "/x") for _ in range(20)))
            assert granted == ["t0", "t1"]
            revoked.update({"t1", "t2"})
            exchange = Exchange(behind)
            with pytest.raises(UnauthorisedError):
                await exchange.ask("GET", "/x")
            assert granted == ["t0", "t1", "t2"]
            assert [call.http_status for call in exchange.calls] == [401, 401]
            await behind.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (answer_of(400, b'{"error":"invalid_client"}'), UnauthorisedError),
        (answer_of(401, b"{}"), UnauthorisedError),
        (answer_of(503, b"<html>"), UnavailableError),
        (answer_of(200, b"{}"), UnavailableError),
        (b"", UnavailableError),
    ],
)
def test_a_token_that_cannot_be_had_sends_nothing(data: bytes, expected: type[StageError]) -> None:
    async def run() -> None:
        async with serving(says(data)) as url:
            tokens = tokens_of(url, timeout_s=1, scope="")
            try:
                await tokens.token(1)
            finally:
                await tokens.close()

    with pytest.raises(expected) as caught:
        asyncio.run(run())
    assert type(caught.value) is expected

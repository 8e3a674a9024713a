"""Answers without end, small ones that unpack to large ones, and others that would cost us: read to a limit."""

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable

import psutil
import pytest

from shared.errors import ThrottledError, UnauthorisedError, UnavailableError
from shared.systems.answers import Answer, verdict
from shared.systems.transport import Door
from tests.unit.test_transport import POST, Handler, answer_of, read_request, says, serving

AT_ONCE = 6
MIB = 1024 * 1024


def packed(size_mib: int, wbits: int, content: bytes | None = None) -> bytes:
    """Pack a JSON text of *size_mib* MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    if content is not None:
        return packer.compress(content) + packer.flush()
    filling = (packer.compress(b"x" * MIB) for _ in range(size_mib))
    pieces = [
        packer.compress(b'{"a":"'),
        *filling,
        packer.compress(b'"}'),
    ]
    return b"".join([*pieces, packer.flush()])


GZIP, ZLIB = 31, 15
BOMB = packed(200, GZIP)
BOMBS: dict[str, Handler] = {
    "gzip": says(answer_of(200, BOMB, b"Content-Encoding: gzip", b"Connection: close")),
    "gzip twice": says(answer_of(200, packed(0, GZIP, BOMB), b"Content-Encoding: gzip, gzip")),
    "deflate": says(answer_of(200, packed(200, ZLIB), b"Content-Encoding: deflate", b"Connection: close")),
    "said to be zstd": says(answer_of(200, BOMB, b"Content-Encoding: zstd", b"Connection: close")),
    "gzip that breaks off": says(answer_of(200, BOMB[:-100], b"Content-Encoding: gzip", b"Connection: close")),
    "an error": says(answer_of(500, BOMB, b"Content-Encoding: gzip", b"Connection: close")),
    "long and plain": says(answer_of(200, b"[" + b"1," * 2 * MIB + b"1]")),
    "many empty parts": says(answer_of(200, b"[" + b"{}," * 600_000 + b"1]")),
    "many numbers": says(answer_of(200, b"[" + b"1," * 900_000 + b"1]")),
}


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    with contextlib.closing(writer):
        while not writer.is_closing():
            writer.write(b'"' + b"x" * 60_000 + b'",')
            await writer.drain()


async def endless_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.closing(writer):
        while not writer.is_closing():
            writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
            await writer.drain()


BOMBS |= {"endless": endless, "endless in chunks": endless_chunks}


async def grown(work: Callable[[], Awaitable[None]]) -> float:
    """Do *work*; give by how many MiB this process grew at most."""
    process = psutil.Process()
    before = peak = process.memory_info().rss

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    await work()
    watching.cancel()
    return (peak - before) / MIB


@pytest.mark.parametrize("kind", BOMBS)
def test_several_answers_without_limit_cost_little_and_harm_nobody(kind: str) -> None:
    async def run() -> None:
        async with (
            serving(BOMBS[kind]) as bad,
            serving(says(answer_of(200, b'{"id":1}', b"Connection: close"))) as good,
        ):
            bad_door, good_door = (Door("CrowdTwist", url, timeout_s=5, calls_in_flight=50) for url in (bad, good))

            async def one() -> None:
                answer = await bad_door.send(POST, 5)
                assert isinstance(verdict("CrowdTwist", answer), UnavailableError)

            async def calls() -> None:
                others = [good_door.send(POST, 5) for _ in range(30)]
                answers = await asyncio.gather(*(one() for _ in range(AT_ONCE)), *others)
                assert answers[AT_ONCE:] == [Answer(200, {"id": 1})] * 30

            assert await grown(calls) < 100
            await bad_door.close()
            await good_door.close()

    asyncio.run(run())


@pytest.mark.parametrize(("size", "fits"), [(1024, True), (1025, False)])
@pytest.mark.parametrize("wbits", [None, GZIP])
def test_the_limit_counts_bytes_after_unpacking(size: int, wbits: int | None, *, fits: bool) -> None:
    body = b'{"a":"' + b"x" * (size - 8) + b'"}'
    headers = [] if wbits is None else [b"Content-Encoding: gzip"]
    data = answer_of(200, body if wbits is None else packed(0, wbits, body), *headers)

    async def run() -> Answer:
        async with serving(says(data)) as url:
            door = Door("CrowdTwist", url, timeout_s=5, calls_in_flight=1, answer_max_bytes=1024)
            try:
                return await door.send(POST, 5)
            finally:
                await door.close()

    answer = asyncio.run(run())
    assert (answer.status, answer.document is not None, answer.is_cut) == (200, fits, not fits)


def in_pieces(*pieces: bytes) -> Handler:
    """Answer so that each of *pieces* comes when those before it are read."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return handler


HEAD = b"HTTP/1.1 200 OK\r\n"
IN_PIECES = {
    "of a known length": in_pieces(HEAD + b"Content-Length: 8\r\n\r\n", b'{"', b'id"', b":1}"),
    "in chunks": in_pieces(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b'2\r\n{"\r\n', b'6\r\nid":1}\r\n', b"0\r\n\r\n"
    ),
    "until it hangs up": in_pieces(HEAD + b"Connection: close\r\n\r\n", b'{"id"', b":1}"),
    "long": in_pieces(answer_of(200, b'{"id":1}' + b" " * MIB)),
    "none": in_pieces(answer_of(204, b"")),
}


@pytest.mark.parametrize("kind", IN_PIECES)
def test_an_answer_that_comes_in_pieces_is_read_whole(kind: str) -> None:
    async def run() -> Answer:
        async with serving(IN_PIECES[kind]) as url:
            door = Door("CrowdTwist", url, timeout_s=60, calls_in_flight=1)
            try:
                return await door.send(POST, 60)
            finally:
                await door.close()

    answer = asyncio.run(run())
    assert (answer.status, answer.document) == ((204, None) if kind == "none" else (200, {"id": 1}))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, UnavailableError) for status in (200, 404, 500)),
        (401, UnauthorisedError),
        (429, ThrottledError),
    ],
)
def test_a_status_means_what_it_means_however_long_the_answer_is(status: int, expected: type[Exception]) -> None:
    assert type(verdict("CrowdTwist", Answer(status, None, is_cut=True), frozenset({404, 500}))) is expected

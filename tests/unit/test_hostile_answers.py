"""Answers that no client asked for in this form: odd headers, and more than one answer to one question."""

import asyncio

import pytest

from shared.errors import StageError, ThrottledError, UnavailableError
from shared.systems.answers import Answer, verdict
from tests.unit.test_transport import POST, answer_of, door, outcome, read_request, says, serving

OF_ANOTHER = answer_of(400, b'{"error":"input_error","message":"Email Address is already taken."}')


@pytest.mark.parametrize("name", [b"Date", b"Retry-After", b"Server", b"Total-Record-Count"])
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"id":1}', type(None)),
        (200, b"<html>", UnavailableError),
        (429, b"{}", ThrottledError),
        (503, b"<html>", UnavailableError),
    ],
)
def test_a_header_that_is_not_ascii_says_nothing_and_the_answer_stands(
    name: bytes, status: int, body: bytes, expected: type[StageError | None]
) -> None:
    answer = outcome(says(answer_of(status, body, name + b": 1 f\xe9vrier")))
    assert isinstance(answer, Answer)
    assert type(verdict("CrowdTwist", answer)) is expected


@pytest.mark.parametrize(
    "first",
    [
        answer_of(200, b'{"id":1}'),
        b"HTTP/1.1 204 X\r\n\r\n",
        b"HTTP/1.1 204 X\r\nContent-Length: %d\r\n\r\n" % len(OF_ANOTHER),
        b"HTTP/1.1 304 X\r\n\r\n",
        answer_of(200, b'{"id":1}', b"Transfer-Encoding: chunked")[:-8] + b'8\r\n{"id":1}\r\n0\r\n\r\n',
    ],
    ids=["whole", "none", "a body where none may be", "not modified", "two lengths"],
)
def test_what_follows_an_answer_is_no_answer_to_the_next_question(first: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(first + OF_ANOTHER)
        await reader.read()

    async def run() -> list[int]:
        async with serving(handler) as url:
            one = door(url, timeout_s=10)
            answers = [await one.send(POST, 10) for _ in range(3)]
            await one.close()
        return [answer.status for answer in answers]

    status = int(first.split()[1])
    assert asyncio.run(run()) == [status] * 3

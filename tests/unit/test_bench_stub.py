"""The benchmark's stub: our own clients take its answers for good, and it counts what it was told.

Not collected where there is no C compiler: `tests/conftest.py`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from shared.settings import CrowdTwistSettings, SiebelSettings
from shared.systems.crowdtwist import CrowdTwist
from shared.systems.siebel import Siebel
from tests.bench.stub import Stub, StubError, compiled, stub
from tests.raw_http import connected, statuses, to_the_end

T = TypeVar("T")
USER = {"third_party_id": "296-1", "first_name": 'Än\n"n"', "is_active": 1, "gender_id": 2}
FIELDS = {"CT Sync Status": "Success", "CT Sync Error": 'a "quoted" text'}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with stub(tmp_path_factory.mktemp("stub") / "stub.log") as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(outside: Stub) -> None:
    outside.set_latency(0)
    outside.reset()


def crowdtwist(outside: Stub, talk: Callable[[CrowdTwist], Coroutine[Any, Any, T]]) -> T:
    async def talked() -> T:
        client = CrowdTwist(CrowdTwistSettings(base_url=outside.url), 10)
        try:
            return await talk(client)
        finally:
            await client.close()

    return asyncio.run(talked())


def siebel(outside: Stub, talk: Callable[[Siebel], Coroutine[Any, Any, T]]) -> T:
    async def talked() -> T:
        client = Siebel(SiebelSettings(base_url=outside.url, username="SADMIN"), 10)
        try:
            return await talk(client)
        finally:
            await client.close()

    return asyncio.run(talked())


def test_a_user_is_there_once_posted_and_not_before(outside: Stub) -> None:
    async def talk(client: CrowdTwist) -> None:
        await client.test()
        assert await client.find(client.exchange(), "296-1") is None
        absent, nobody = await client.update(client.exchange(), "296-1", USER, USER)
        assert (absent.status, nobody) == (404, None)
        _, created = await client.create(client.exchange(), "296-1", USER, USER)
        assert created is not None
        assert {name: created[name] for name in USER} == USER
        _, updated = await client.update(client.exchange(), "296-1", {"is_active": 0}, {})
        assert updated == {"id": created["id"], "third_party_id": "296-1", "is_active": 0}
        assert await client.find(client.exchange(), "296-1") == {"id": created["id"], "third_party_id": "296-1"}

    crowdtwist(outside, talk)
    counts = outside.counts()
    assert (counts.crowdtwist_post, counts.crowdtwist_put, counts.crowdtwist_get, counts.refused) == (1, 2, 3, 0)
    assert sum(outside.slots()) == counts.crowdtwist == 6


def test_a_row_is_found_and_written_alone_and_beside_others(outside: Stub) -> None:
    async def talk(client: Siebel) -> tuple[str, object]:
        await client.test()
        row_id = await client.look_up(client.exchange(), "296/1+2", None)
        one = await client.write(client.exchange(), row_id, FIELDS, FIELDS)
        rows = [{"Id": f"1-{number}", **FIELDS} for number in range(100)]
        many = await client.write_many(client.exchange(), rows)
        assert many.document == rows
        return row_id, one.document

    row_id, one = siebel(outside, talk)
    assert row_id == "1-296/1+2"
    assert one == {"items": {"Id": row_id, **FIELDS}}
    counts = outside.counts()
    assert (counts.siebel_get, counts.siebel_put, counts.siebel_put_many) == (2, 1, 1)
    assert (counts.rows, counts.members, counts.refused) == (101, 101, 0)


def test_a_row_that_is_written_twice_is_one_member(outside: Stub) -> None:
    async def talk(client: Siebel) -> None:
        for _ in range(2):
            await client.write(client.exchange(), "1-7", FIELDS, FIELDS)

    began = time.time()
    siebel(outside, talk)
    counts, row = outside.counts(), outside.row("1-7")
    assert (counts.rows, counts.members, row.writes) == (2, 1, 2)
    assert began < counts.last_new_at < row.at < time.time()
    assert outside.row("1-8").writes == 0


def test_what_was_counted_is_forgotten_at_a_reset(outside: Stub) -> None:
    siebel(outside, lambda client: client.write(client.exchange(), "1-7", FIELDS, FIELDS))
    outside.reset()
    assert outside.counts().calls == outside.counts().rows == outside.row("1-7").writes == 0


def test_every_answer_takes_the_latency_and_they_pass_side_by_side(outside: Stub) -> None:
    async def talk(client: CrowdTwist) -> float:
        await client.find(client.exchange(), "opens the connection")
        outside.set_latency(300)
        began = time.perf_counter()
        await asyncio.gather(*(client.find(client.exchange(), str(number)) for number in range(10)))
        return time.perf_counter() - began

    assert 0.29 < crowdtwist(outside, talk) < 3.0, "ten of them, one after the other"
    assert outside.counts().cpu_s < 0.29, "nobody turns in circles meanwhile"


@pytest.mark.parametrize("size", [7, 1000])
def test_requests_in_pieces_and_in_a_row_are_answered_in_order(outside: Stub, size: int) -> None:
    put = b'PUT /siebel/v1.0/data/A/B/1-1 HTTP/1.1\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{"a": 12}'
    sent = b"GET /v2/users/1 HTTP/1.1\r\nHost: stub\r\n\r\n" + put
    with httpx.Client(base_url=outside.url) as client, connected(client) as one:
        for start in range(0, len(sent), size):
            one.sendall(sent[start : start + size])
            time.sleep(0.001)
        said = to_the_end(one)
    assert statuses(said) == [404, 200]
    assert said.endswith(b'{"items":{"Id":"1-1","a": 12}}')


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v2/users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\r\n\r\n",
        b"POST /v2/users HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    ],
    ids=["chunked", "nothing", "too long"],
)
def test_what_is_no_request_ends_the_connection_and_counts_as_refused(outside: Stub, sent: bytes) -> None:
    with httpx.Client(base_url=outside.url) as client, connected(client) as one:
        one.sendall(sent)
        assert to_the_end(one) == b""
    assert outside.counts().refused == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v2/users", b"[]", 400),
        ("POST", "/v2/users", b'{"first_name": "A"}', 400),
        ("PUT", "/siebel/v1.0/data/A/B", b"{}", 400),
        ("PUT", "/siebel/v1.0/data/A", b"{}", 404),
        ("GET", "/elsewhere", b"", 404),
    ],
)
def test_what_nobody_would_send_is_refused(outside: Stub, method: str, path: str, body: bytes, status: int) -> None:
    assert httpx.request(method, outside.url + path, content=body).status_code == status
    assert outside.counts().refused == 1


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.bench.stub.ARTIFACTS", tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(StubError, match=r"^the benchmark's stub is written in C.* install gcc, or set CC$"):
        compiled()

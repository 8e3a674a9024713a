"""Tokens that cannot be sent, or whose life makes no sense: the token endpoint's failure, never kept, never a bug."""

import asyncio
import json
from typing import Any

import pytest

from shared.errors import UnavailableError
from shared.systems.transport import Exchange
from tests.unit.test_transport import answer_of, door, read_request, serving, tokens_of

GOOD = {"access_token": "abc.DEF-123_~+/=", "token_type": "Bearer", "expires_in": 3600}
LIVES: list[Any] = [0, -1, True, "soon", "", [60], {}, 1e300, 10**18, "1e3", "٣"]
UNUSABLE: list[Any] = [
    *({"access_token": token} for token in ("tök", "a b", "a\r\nX: y", "abc\n", " abc", "\0", "", "x" * 100_000)),
    *({"access_token": token} for token in (None, 5, True, ["abc"], {"a": "b"}, 1.5)),
    *({"expires_in": life} for life in LIVES),
    [],
    {"access_token": "x" * 3_000_000},
]


async def asked(granted: list[Any]) -> tuple[list[object], list[str]]:
    """Ask for as many tokens as there are in *granted*; give what came, and what the system behind was sent."""
    seen: list[str] = []
    grants = iter(granted)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request.startswith(b"POST /token"):
            document = next(grants)
            body = json.dumps(GOOD | document if isinstance(document, dict) else document).encode()
        else:
            seen.append(request.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode())
            body = b"{}"
        writer.write(answer_of(200, body, b"Connection: close"))
        await writer.drain()

    async with serving(handler) as url:
        tokens = tokens_of(f"{url}/token", timeout_s=5)
        behind = door(url, timeout_s=5, tokens=tokens)
        came: list[object] = []
        for _ in granted:
            try:
                came.append((await Exchange(behind).ask("GET", "/x")).status)
            except UnavailableError as error:
                came.append(error.what)
        await behind.close()
    return came, seen


@pytest.mark.parametrize("document", UNUSABLE, ids=lambda part: str(part)[:40])
def test_a_token_that_cannot_be_used_is_refused_and_the_next_call_asks_again(document: object) -> None:
    came, seen = asyncio.run(asked([document, {}]))
    assert isinstance(came[0], str)
    assert came[0].startswith(("the token endpoint gave no token", "answered "))
    assert came[1:] == [200]
    assert seen == [GOOD["access_token"]]


@pytest.mark.parametrize("life", [3600, 3600.5, "3600", None, 10**9], ids=str)
def test_a_life_in_any_usual_form_is_taken(life: object) -> None:
    came, seen = asyncio.run(asked([{"expires_in": life}, {"access_token": "never asked for"}]))
    assert came == [200, 200]
    assert seen == [GOOD["access_token"]] * 2

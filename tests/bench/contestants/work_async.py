"""The work of `work.deliver` for event loops, over aiohttp.

`httpx.AsyncClient` is what the documentation of arq and others shows, yet its pool costs more with every call in flight
(encode/httpx#3215): the same taskiq worker took 3.2 ms of CPU per event with it and 1.3 ms with aiohttp, so that all
contestants on an event loop have aiohttp.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import cache
from typing import Any

import aiohttp

from tests.bench.contestants import work

_LOGIN = aiohttp.BasicAuth(*work.SIEBEL_LOGIN)


@cache
def session() -> aiohttp.ClientSession:
    """Return this process's session; its one loop uses it."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=work.TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0),
        raise_for_status=True,
    )


async def deliver(event: Mapping[str, Any]) -> None:
    """Do the three stages of one event, waiting beside others."""
    async with session().post(work.users_url(), params=work.API_KEY, json=work.user_of(event)) as answer:
        await answer.read()
    url = work.member_url(event["member"]["row_id"])
    async with session().put(url, json=work.STATUS, auth=_LOGIN) as answer:
        await answer.read()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run *coroutine* in the one loop of a process that enqueues: its connections belong to that loop."""
    _runner().run(coroutine)


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()

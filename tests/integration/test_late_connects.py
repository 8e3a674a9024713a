"""A call is paid for before it is connected; however long that takes, no minute has more than its budget."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Engine, text

from deploy.sandbox.server import RunningSandbox
from shared.budgets import permits
from shared.errors import BudgetSpentError
from shared.ledger import spending
from shared.ledger.engine import transaction
from shared.pipeline import Stage
from shared.settings import CrowdTwistSettings, Settings
from shared.systems.transport import Door, Request
from tests.rig import eventually

GET = Request("GET", "/v2/users/1", "id_type=third_party_id")
ANSWER = b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}"
SPENT = text("select coalesce(sum(calls), 0)::int from spend")
AGED = text("update spend set slot = slot - cast(4 * (:s - extract(epoch from clock_timestamp()) + :at) as bigint)")
"""As they are in the ledger when it is *s* seconds after the instant *at*."""


@contextmanager
def full() -> Iterator[tuple[socket.socket, ExitStack]]:
    """Give a listener that takes no more connections until somebody accepts, and those that are in the way.

    A SYN is dropped meanwhile, and sent again.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as others:
        for _ in range(3):
            one = others.enter_context(socket.socket())
            one.setblocking(False)  # noqa: FBT003
            one.connect_ex(listener.getsockname())
        yield listener, others


def door(ledger: Engine, url: str, budget: int) -> Door:
    settings = Settings(_env_file=None, crowdtwist=CrowdTwistSettings(budget_per_minute=budget))
    paid = permits(ledger, settings)[Stage.CROWDTWIST]
    return Door("CrowdTwist", url, timeout_s=60, calls_in_flight=1, permits=paid)


def spent(ledger: Engine) -> int:
    with transaction(ledger) as tx:
        return int(tx.execute(SPENT).scalar_one())


async def until_spent(ledger: Engine, calls: int) -> None:
    await asyncio.to_thread(eventually, lambda: spent(ledger) >= calls, f"{calls} paid for")


def test_a_call_that_connects_late_weighs_for_a_minute_from_its_arrival(ledger: Engine) -> None:
    arrived_at: list[float] = []

    async def hears(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readline():
                arrived_at.append(time.time())
                writer.write(ANSWER)
                await writer.drain()
        finally:
            writer.close()

    async def call() -> None:
        with full() as (listener, others):
            one = door(ledger, f"http://127.0.0.1:{listener.getsockname()[1]}", budget=1)
            called = asyncio.create_task(one.send(GET, 60))
            await until_spent(ledger, 1)
            until = time.monotonic() + 2.5
            await asyncio.to_thread(eventually, lambda: time.monotonic() > until, "a while")
            async with await asyncio.start_server(hears, sock=listener):
                others.close()
                await called
                with pytest.raises(BudgetSpentError):
                    await one.send(GET, 60)
                await until_spent(ledger, 2)
                await one.close()

    asyncio.run(call())
    assert len(arrived_at) == 1
    with transaction(ledger) as tx:
        tx.execute(AGED, {"s": 59, "at": arrived_at[0]})
        assert sum(spending.used(tx, Stage.CROWDTWIST).values()) >= 1


def test_a_call_over_an_open_connection_is_counted_once_however_late_it_is_answered(
    ledger: Engine, running_simulators: RunningSandbox
) -> None:
    running_simulators.control.reset()
    running_simulators.control.set("crowdtwist", latency_ms=600)

    async def call() -> None:
        one = door(ledger, running_simulators.crowdtwist, budget=100)
        await one.send(GET, 60)
        await until_spent(ledger, 2)  # it had to connect, and may have done that for long
        await one.send(GET, 60)
        await one.close()

    asyncio.run(call())
    assert spent(ledger) == 3

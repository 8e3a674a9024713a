"""Intake by one api process: events per second as NDJSON, and how long a single POST takes at 200 a second.

The senders are processes and threads of their own, but share the machine; nothing else of ours runs.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import orjson
from pyreqwest.client import ClientBuilder

from tests.bench.accounting import used_since
from tests.bench.drain import say
from tests.bench.events import member_event, member_events
from tests.bench.scenarios import Options, Start

TITLE = "intake: NDJSON, and single POSTs at 200 a second"
KEYS: Sequence[str] = ("accepts_per_s", "post_p99_ms")
_EVENTS = 60_000
_IN_A_BODY = 1_000
_SENDERS = 2
_PER_S = 200
_SECONDS = 20
_NDJSON = {"Content-Type": "application/x-ndjson"}


def run(start: Start, options: Options) -> dict[str, float]:
    """Send bodies of a thousand lines as fast as they are taken, then single events on a clock that never waits."""
    count = options.scaled(_EVENTS // _IN_A_BODY, _SENDERS)
    bodies = list(_bodies(count + 1))
    with start() as on, on.api() as url:
        _send(url, bodies[:1])
        cpu, began = on.accounts.cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(_SENDERS) as senders:
            list(senders.map(lambda first: _send(url, bodies[first::_SENDERS]), range(1, _SENDERS + 1)))
        per_s = count * _IN_A_BODY / (time.perf_counter() - began)
        _say_cpu("NDJSON", cpu, on.accounts.cpu_s(), count * _IN_A_BODY)
        cpu, posts = on.accounts.cpu_s(), _PER_S * options.scaled(_SECONDS, 3)
        took = asyncio.run(_post_on_the_clock(url, posts))
        _say_cpu("single POST", cpu, on.accounts.cpu_s(), posts + _PER_S)
    say(f"single POST at {_PER_S}/s: p50 {statistics.median(took):.1f} ms, max {max(took):.0f} ms")
    return {"accepts_per_s": per_s, "post_p99_ms": statistics.quantiles(took, n=100)[-1]}


def _say_cpu(what: str, before: Mapping[str, float], after: Mapping[str, float], events: int) -> None:
    used = used_since(before, after)
    say(f"{what}, CPU ms/event: api {used['api'] / events * 1e3:.3f}, ledger {used['ledger'] / events * 1e3:.3f}")


def _bodies(count: int) -> Iterator[bytes]:
    for body in range(count):
        events = member_events("N", _IN_A_BODY, body * _IN_A_BODY)
        yield b"\n".join(orjson.dumps(event) for event in events)


def _send(url: str, bodies: Sequence[bytes]) -> None:
    with httpx.Client(trust_env=False, timeout=60) as client:
        for body in bodies:
            answer = client.post(f"{url}/v1/member-events", content=body, headers=_NDJSON).raise_for_status()
            if (accepted := answer.content.count(b'"outcome":"accepted"')) != _IN_A_BODY:
                raise ValueError(f"{accepted} of {_IN_A_BODY} events were accepted")


async def _post_on_the_clock(url: str, count: int) -> list[float]:
    """Return the ms from each event's turn to its answer, of *count* and as many more as warm up."""
    builder = ClientBuilder().no_proxy().timeout(timedelta(seconds=30)).error_for_status(enable=True)
    events = [orjson.dumps(member_event(f"P-{index}")) for index in range(count + _PER_S)]
    async with builder.build() as client:
        began = time.perf_counter()

        async def post(index: int) -> float:
            turn = began + index / _PER_S
            await asyncio.sleep(max(0.0, turn - time.perf_counter()))
            call = client.post(f"{url}/v1/member-events").header("content-type", "application/json")
            await call.body_bytes(events[index]).build().send()
            return (time.perf_counter() - turn) * 1000

        took = await asyncio.gather(*(post(index) for index in range(len(events))))
    return took[_PER_S:]

"""How long a single event takes on an idle stack, from the POST to the status in Siebel."""

import statistics
import time
from collections.abc import Sequence

import httpx

from tests.bench.events import member_event, row_id
from tests.bench.rig import Rig
from tests.bench.scenarios import Options, Start

TITLE = "idle: POST to the status in Siebel, one at a time"
KEYS: Sequence[str] = ("idle_p50_ms", "idle_p99_ms")
_SINGLE = 300
_WARM_UP = 10
_PAUSE_S = 0.05


def run(start: Start, options: Options) -> dict[str, float]:
    """POST single events, each when the one before is told."""
    with start() as on, on.ours("dispatcher"), on.ours("worker"), on.api() as url, httpx.Client() as client:
        count = options.scaled(_SINGLE, 20)
        took = [told_after_ms(on, client, url, f"I-{index}") for index in range(count + _WARM_UP)][_WARM_UP:]
    return {"idle_p50_ms": statistics.median(took), "idle_p99_ms": statistics.quantiles(took, n=100)[-1]}


def told_after_ms(on: Rig, client: httpx.Client, url: str, number: str) -> float:
    """POST an event of member *number*; return the ms until its status is in Siebel."""
    time.sleep(_PAUSE_S)
    began = time.time()
    client.post(f"{url}/v1/member-events", json=member_event(number)).raise_for_status()
    while not (row := on.stub.row(row_id(number))).writes:
        if time.time() > began + 10:
            raise TimeoutError(f"the status of {number} took longer than 10 s")
        time.sleep(0.002)
    return (row.at - began) * 1000

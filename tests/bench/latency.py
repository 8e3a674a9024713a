"""How long a single event takes on an idle stack, from the POST to the status in Siebel."""

import statistics
import time
from dataclasses import dataclass

import httpx

from deploy.local.programs import free_port
from tests.bench.rig import Rig, wait_until

_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Latency:
    """Units: milliseconds."""

    p50_ms: float
    p95_ms: float


def idle_latency(on: Rig, count: int) -> Latency:
    """POST *count* single events, one after the other, each when the one before is told; dispatcher and worker run."""
    port = free_port()
    with on.process("api", "-m", "producers.cli", "api", "--port", str(port)), httpx.Client() as client:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_ready(client, url), 30, "the api's start")
        took = [_one(on, client, url, f"L-{index}") for index in range(count + 5)][5:]
    return Latency(statistics.median(took), statistics.quantiles(took, n=20)[-1])


def _one(on: Rig, client: httpx.Client, url: str, number: str) -> float:
    member = {"member_number": number, "row_id": f"1-{number}", "status": "Active", "first_name": "Ann"}
    member |= {"last_name": "Lee", "email_address": f"{number}@example.org", "postal_code": "10010"}
    member["country_code"] = "US"
    event = {"operation": "enroll", "occurred_at": "2026-11-23T08:51:00Z", "member": member}
    time.sleep(_PAUSE_S)
    before = on.control.state("siebel")["members"]
    began = time.perf_counter()
    client.post(f"{url}/v1/member-events", json=event).raise_for_status()
    deadline = began + 10
    while on.control.state("siebel")["members"] == before and time.perf_counter() < deadline:
        time.sleep(0.001)
    return (time.perf_counter() - began) * 1000


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False

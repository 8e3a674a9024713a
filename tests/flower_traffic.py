"""What goes through a stack so that Flower has something to show, and whom none of its pages may name."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from deploy.local.programs import free_port
from deploy.local.stack import Stack, running_stack
from shared.pipeline import Stage
from shared.settings import ApiSettings, DispatcherSettings, FlowerSettings, Settings
from tests.rig import eventually

BATCH = [f"41-{position}" for position in range(7)]
WAITS = "43-0"
REFUSED = "44-0"
PERSON = ("Zephyrine", "Quuxworth", "quuxworth", "10042-6789", "1971-05-06")


@dataclass
class Flower:
    """A Flower of a whole stack, seen with its login."""

    stack: Stack
    http: httpx.Client
    instance_ids: dict[str, str] = field(default_factory=dict)
    """By member number."""

    def send(self, *numbers: str, **changes: str) -> None:
        """Send an event of each member, in one request."""
        events = [_event(number, **changes) for number in numbers]
        answer = httpx.post(f"{self.stack.api_url}/v1/member-events", json=events, trust_env=False).json()
        assert {result["outcome"] for result in answer["results"]} == {"accepted"}
        self.instance_ids |= {result["member_number"]: result["instance_id"] for result in answer["results"]}

    def tasks(self, **wanted: str) -> list[dict[str, Any]]:
        """Return the tasks that its list shows, those with *wanted* values."""
        query = "draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=name&order[0][dir]=asc"
        rows = self.http.get(f"/tasks/datatable?{query}").json()["data"]
        return [row for row in rows if wanted.items() <= row.items()]

    def task_of(self, number: str, **wanted: str) -> dict[str, Any]:
        """Return the task that has this member alone."""
        (row,) = self.tasks(args=f"1 member: {number}", **wanted)
        return row

    def has(self, number: str, state: str) -> bool:
        """Return whether a task with this member alone is in *state*."""
        return bool(self.tasks(args=f"1 member: {number}", state=state))

    def workers(self) -> list[str]:
        return [str(worker["hostname"]) for worker in self.http.get("/workers?json=1").json()["data"]]

    def live_worker(self) -> str:
        return next(name for name in self.workers() if name.startswith("live"))

    def look_at(self, worker: str) -> str:
        """Return a worker's page as it is now, not as Flower remembers it."""
        self.http.get("/api/workers", params={"refresh": "true", "workername": worker}).raise_for_status()
        return self.http.get(f"/worker/{worker}").text

    def look_at_reserved(self) -> str:
        """Return the live worker's page when it has tasks reserved."""
        worker, page = self.live_worker(), ""

        def is_reserving() -> bool:
            nonlocal page
            page = self.look_at(worker)
            return bool(reserved(page))

        eventually(is_reserving, "reserved tasks")
        return page

    @contextmanager
    def standing_still(self, *numbers: str) -> Iterator[None]:
        """For the length of the block the live worker takes tasks and begins none: they stay reserved."""
        processes = psutil.Process(self.stack.pids()["worker-live"]).children()
        for process in processes:
            process.suspend()
        try:
            self.send(*numbers)
            yield
        finally:
            for process in processes:
                process.resume()

    def let_some_fail(self) -> None:
        """Let one member wait for its next attempt, and another be refused for good."""
        assert self.stack.control is not None
        self.stack.control.fault("crowdtwist", "maintenance", member=[WAITS], times=1)
        self.send(WAITS)
        eventually(lambda: self.has(WAITS, "RETRY"), "a retry in Flower")
        self.send(REFUSED, last_name="")
        eventually(lambda: self.has(REFUSED, "FAILURE"), "a failure in Flower")


def reserved(page: str) -> list[str]:
    """Return the arguments, the real ones, of the tasks that a worker's page shows as reserved."""
    table, _, _ = page.partition("Reserved tasks")[2].partition("</table>")
    return re.findall(r'<span class="worker-task-args" title="(.*?)">', table)[::2]


@contextmanager
def flower_of_a_stack(home: Path) -> Iterator[Flower]:
    """Run a whole stack, with metrics and api on ports that Flower and the simulators usually have."""
    port, metrics = free_port(), free_port(9100)
    api, dispatcher = ApiSettings(port=port), DispatcherSettings(metrics_port=metrics)
    usual = FlowerSettings.model_construct(_fields_set=set(), port=port)
    settings = Settings.model_construct(home=home, api=api, dispatcher=dispatcher, flower=usual)
    with running_stack(settings, sandbox={Stage.CROWDTWIST, Stage.SIEBEL}) as stack:
        login = (stack.flower_user, stack.flower_password)
        with httpx.Client(base_url=stack.flower_url, auth=login, trust_env=False, timeout=20) as client:
            yield Flower(stack, client)


def _event(number: str, **changes: str) -> dict[str, object]:
    member = {
        "member_number": number,
        "first_name": "Zephyrine",
        "last_name": "Quuxworth",
        "email_address": f"quuxworth.{number}@example.org",
        "postal_code": "10042-6789",
        "country_code": "US",
        "date_of_birth": "1971-05-06",
    }
    occurred = {"event_id": f"flower-{number}", "operation": "enroll", "occurred_at": "2026-03-02T08:00:00Z"}
    return {**occurred, "member": member | changes}

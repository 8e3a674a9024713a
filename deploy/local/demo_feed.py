"""Feeds the demo's sample through the real api, shows how it goes, and keeps what is needed to judge it."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.local.demo_expectations import Expected
from deploy.local.demo_sample import Request
from deploy.local.demo_view import Ticker
from deploy.local.signals import Stop
from deploy.local.stack import Stack, StoppedError
from deploy.sandbox.client import SandboxControl

_OPEN = frozenset({"pending", "running", "waiting", "held"})
_SETTLED_WITHIN_S = 60.0
_STILL_S = 4.0
"""Longer than a lost write takes to land in the demo, and the read-back after it.  Units: seconds."""
_LOOK_AGAIN_S = 0.25
_QUIET_S = 1.5
_PAGE = 1000

Instance = dict[str, Any]


class NotSettledError(Exception):
    """What was accepted did not come to an end in time."""


@dataclass(frozen=True, slots=True)
class Calls:
    """How many calls each system had had."""

    crowdtwist: int
    siebel: int


class Feed:
    """The producer of the demo.

    Attributes:
        expected: What must come of all that was sent.
        surprises: Answers of intake that were not as expected, in words.
        outcomes: The answers of intake, counted.
        calls_before: The calls that had been made before all the rest had to be without effect.
    """

    def __init__(self, stack: Stack, stop: Stop) -> None:
        if stack.control is None:
            raise ValueError("the demo needs its simulators")
        self.stack = stack
        self.control: SandboxControl = stack.control
        self.expected = Expected()
        self.surprises: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self.calls_before: Calls | None = None
        self._stop = stop
        self._sent = 0
        self._api = httpx.Client(base_url=stack.api_url, timeout=30, trust_env=False)
        self._ticker = Ticker()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.close()
        self._api.close()

    def seed_siebel(self, requests: Iterable[Request]) -> None:
        """Let Siebel know the members, as it does before it tells of them; an event need not name the ROW_ID."""
        members = {
            told.number: {"member_number": told.number, "row_id": told.member.get("row_id", "")}
            for request in requests
            for told in request.events
            if told.number
        }
        self.control.seed(*members.values())

    def send(self, request: Request) -> None:
        """Post one request and compare the answers of intake."""
        wanted = self.expected.take(request)
        headers = {"Content-Type": request.content_type}
        answer = self._api.post("/v1/member-events", content=request.body, headers=headers)
        results = answer.json().get("results", [])
        found = [str(result["outcome"]) for result in results]
        if found != wanted:
            odd = [
                f"event {told.key[:40]}: {is_now}, should be {should_be}"
                for told, is_now, should_be in zip(request.events, found, wanted, strict=False)
                if is_now != should_be
            ]
            self.surprises += odd or [f"HTTP {answer.status_code}, {len(found)} results for {len(wanted)} events"]
        self.outcomes.update(found)
        self.accepted |= {str(result["instance_id"]) for result in results if result["outcome"] == "accepted"}
        self._sent += len(request.events)

    def settle(self) -> None:
        """Wait until everything accepted has come to an end, and show how it goes.

        Raises:
            NotSettledError: It takes longer than a minute.
            StoppedError: Somebody asked for the end.
        """
        give_up_at = time.monotonic() + _SETTLED_WITHIN_S
        while _OPEN & (states := Counter(one["state"] for one in self.instances())).keys():
            self._ticker.show(self._progress(states))
            if self._stop.wait(_LOOK_AGAIN_S):
                raise StoppedError
            if time.monotonic() > give_up_at:
                raise NotSettledError(f"after {_SETTLED_WITHIN_S:g} s still {_counted(states)}")
        self._ticker.show(self._progress(states), done=True)
        self.expected.settle()

    def break_crowdtwist(self, seconds: float) -> None:
        """Put CrowdTwist into maintenance for some seconds."""
        self.control.fault("crowdtwist", "maintenance", for_s=seconds)

    def expect_no_calls(self) -> None:
        """From now on nothing that is sent may reach CrowdTwist or Siebel.

        What got no answer of CrowdTwist's own in the outage is read back a little after its repetition: that comes
        first.

        Raises:
            StoppedError: Somebody asked for the end.
        """
        give_up_at = time.monotonic() + _SETTLED_WITHIN_S
        while (before := self.calls()) != self.calls_before and time.monotonic() < give_up_at:
            self.calls_before = before
            if self._stop.wait(_STILL_S):
                raise StoppedError

    def quiet(self) -> Calls:
        """Give the calls when there was time for forbidden ones."""
        self._stop.wait(_QUIET_S)
        return self.calls()

    def calls(self) -> Calls:
        """Count the calls so far."""
        crowdtwist, siebel = (int(self.control.state(name)["calls_total"]) for name in ("crowdtwist", "siebel"))
        return Calls(crowdtwist, siebel)

    def instances(self) -> list[Instance]:
        """List every instance, newest first."""
        found: list[Instance] = []
        cursor: str | None = None
        while True:
            query = {"limit": str(_PAGE)} | ({"cursor": cursor} if cursor else {})
            page = self._api.get("/v1/instances", params=query).raise_for_status().json()
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def member(self, number: str) -> dict[str, Any]:
        """Give one member's timeline."""
        return dict(self._api.get(f"/v1/members/{number}").raise_for_status().json())

    def _progress(self, states: Counter[str]) -> str:
        crowdtwist = self.control.state("crowdtwist")
        answered: Counter[str] = Counter()
        for by_status in crowdtwist["calls"].values():
            answered.update({("ok" if status == "200" else status): count for status, count in by_status.items()})
        told = sum(member["status"] is not None for member in self.control.members())
        return (
            f"sent {self._sent} · {_counted(states)} · CrowdTwist: {crowdtwist['users']} users, "
            f"calls {_counted(answered)} · Siebel: {told} told"
        )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing yet"

"""What every scene of the demo stands on: it sends events, looks, waits, and says which promises were kept."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from rich.console import Console
from rich.status import Status

from deploy.local.stack import Stack, StoppedError
from deploy.local.supervisor import Stop
from deploy.local.up import say
from deploy.sandbox.client import SandboxControl
from shared.pipeline import Stage, spoken
from shared.settings import Settings

_PLAIN_EVERY_S = 2.0
_WIDTH = 140


def console() -> Console:
    """Give the way to print tables: as wide as the terminal, or as a log is read."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


class NotSettledError(Exception):
    """What was accepted did not come to an end in time."""


class Ticker:
    """Shows how it goes."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._shown_at = 0.0

    def show(self, text: str, *, done: bool = False) -> None:
        """Show *text* instead of the one before; *done* lets it stand."""
        if done:
            self.close()
            say(f"   {text}")
        elif sys.stdout.isatty():
            if self._status is None:
                self._status = console().status(text)
                self._status.start()
            self._status.update(text)
        elif time.monotonic() - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            say(f"   {text}")

    def close(self) -> None:
        """Give the line back."""
        if self._status:
            self._status.stop()
            self._status = None


OPEN = ("pending", "running", "waiting", "held")
CROWDTWIST, SIEBEL, OIC = "crowdtwist", "siebel", "oic"

_LOOK_AGAIN_S = 0.1
_SHOWN_EVERY_S = 1.0
_SHOWN_MAX = 5
_PAGE = 1000
_DAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

Record = dict[str, Any]
Query = list[tuple[str, str | int | float | bool | None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One story.

    Attributes:
        about: What one is going to see.
        shortened: Which settings differ from the defaults, so that it ends soon.
        settings: Gives the settings of the stack.
        act: Plays it and keeps its promises.
        simulated: The connections that are simulated.
    """

    about: str
    shortened: str
    settings: Callable[[Settings], Settings]
    act: Callable[["Theatre"], None]
    simulated: frozenset[Stage] = field(default=frozenset({Stage.CROWDTWIST, Stage.SIEBEL}))


@dataclass(frozen=True, slots=True)
class Face:
    """A way of being down: *words* for it, and what makes it and ends it again."""

    words: str
    shown: Callable[[SandboxControl], AbstractContextManager[None]]


def fault(name: str, kind: str, **details: object) -> Callable[[SandboxControl], AbstractContextManager[None]]:
    """Give what makes the simulator *name* faulty, for a `Face`."""

    @contextmanager
    def shown(control: SandboxControl) -> Iterator[None]:
        fault_id = control.fault(name, kind, **details)
        try:
            yield
        finally:
            control.heal(name, fault_id)

    return shown


class Theatre:
    """A running stack, its simulators and its api.

    Attributes:
        kept: Whether every promise so far was kept.
    """

    def __init__(self, stack: Stack, stop: Stop) -> None:
        if stack.control is None:
            raise ValueError("a scene needs its simulators")
        self.control: SandboxControl = stack.control
        self.api = httpx.Client(base_url=stack.api_url, timeout=30, trust_env=False)
        self.kept = True
        self._known: set[str] = set()
        self._stop = stop
        self._ticker = Ticker()
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.close()
        self.api.close()

    def send(self, *events: Record) -> list[str]:
        """Post events and give their instances; anything but `accepted` breaks a promise."""
        self._seed_siebel(events)
        answer = self.api.post("/v1/member-events", json=list(events)).raise_for_status().json()
        odd = [f"{one['event_id']}: {one['outcome']}" for one in answer["results"] if one["outcome"] != "accepted"]
        if odd:
            self.promise("every event is accepted", odd)
        return [str(one["instance_id"]) for one in answer["results"]]

    def _seed_siebel(self, events: Iterable[Record]) -> None:
        """Let Siebel know the members, as it does before it tells of them."""
        row_ids = {one["member"]["member_number"]: one["member"]["row_id"] for one in events}
        new = [{"member_number": number, "row_id": row_ids[number]} for number in row_ids.keys() - self._known]
        if new:
            self.control.seed(*new)
        self._known |= row_ids.keys()

    def instances(self, *states: str) -> list[Record]:
        """List the instances in these states."""
        found: list[Record] = []
        cursor: str | None = None
        while True:
            query: Query = [("limit", _PAGE), *(("state", state) for state in states)]
            query += [("cursor", cursor)] if cursor else []
            page = self.api.get("/v1/instances", params=query).raise_for_status().json()
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def instance(self, instance_id: str) -> Record:
        """Show one instance."""
        return dict(self.api.get(f"/v1/instances/{instance_id}").raise_for_status().json())

    def activity(self, number: str) -> list[Record]:
        """List what happened to a member's instances."""
        member = self.api.get(f"/v1/members/{number}").raise_for_status().json()
        return [line for one in member["instances"] for line in one["activity"]]

    def connection(self, name: str) -> Record:
        """Show one connection."""
        items = self.api.get("/v1/connections").raise_for_status().json()["items"]
        return next(dict(one) for one in items if one["name"] == name)

    def is_settled(self) -> bool:
        """Say whether nothing is on its way any more."""
        query: Query = [("limit", 1), *(("state", state) for state in OPEN)]
        return not self.api.get("/v1/instances", params=query).raise_for_status().json()["items"]

    def statuses(self) -> Counter[str]:
        """Count what Siebel shows."""
        return Counter(str(member["status"] or "nothing yet") for member in self.control.members())

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            StoppedError: Somebody asked for the end.
        """
        if self._stop.wait(seconds):
            raise StoppedError

    def until(self, true: Callable[[], object], what: str, *, within_s: float, name: str = CROWDTWIST) -> None:
        """Wait until *true*, and show how the connection *name* does meanwhile.

        Raises:
            NotSettledError: It takes too long.
            StoppedError: Somebody asked for the end.
        """
        began = time.monotonic()
        while not true():
            self.show(name)
            self.wait(_LOOK_AGAIN_S)
            if time.monotonic() > began + within_s:
                raise NotSettledError(f"not within {within_s:g} s: {what}")
        if time.monotonic() > began + _SHOWN_EVERY_S:
            self.show(name, done=True)

    def show(self, name: str, *, done: bool = False) -> None:
        """Show how it goes, at most once a second; *done* lets it stand."""
        if not done and time.monotonic() - self._shown_at < _SHOWN_EVERY_S:
            return
        self._shown_at = time.monotonic()
        found = self.connection(name)
        probe = "" if not found["next_probe_in_s"] else f", next probe in {found['next_probe_in_s']:.0f} s"
        users = self.control.state(CROWDTWIST)["users"]
        self._ticker.show(
            f"{spoken(name)} {spoken(found['state'])}{probe} · {found['held']} held · CrowdTwist {users} users · "
            f"Siebel {counted(self.statuses())}",
            done=done,
        )

    def promise(self, promise: str, failures: Sequence[str] = ()) -> None:
        """Say whether *promise* was kept: there are no *failures*."""
        self._ticker.close()
        say(f"{'BROKEN' if failures else 'kept  '}  {promise}")
        for failure in failures[:_SHOWN_MAX]:
            say(f"          {failure}")
        if len(failures) > _SHOWN_MAX:
            say(f"          … and {len(failures) - _SHOWN_MAX} more")
        self.kept = self.kept and not failures

    def timeline(self, instance_id: str) -> None:
        """Print what happened to one instance."""
        found = self.instance(instance_id)
        say(f"   instance {instance_id} of member {found['member_number']}: {spoken(found['state'])}")
        for line in found["activity"]:
            calls = " ".join(f"{call['method']} {call['http_status'] or 'no answer'}" for call in line["calls"])
            attempt = f" #{line['attempt']}" if line["attempt"] else ""
            at = datetime.fromisoformat(line["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
            where = f"{spoken(line['stage'] or 'intake')}{attempt:<4}"
            say(f"     {at}  {where} {spoken(line['state']):<11} {line['what']}  {calls}")


def event(number: str, version: int = 0, operation: str = "update") -> Record:
    """Give an event of a member; its content tells the *version*, the greatest one is the newest."""
    return {
        "event_id": f"{number}-{version}",
        "operation": operation,
        "occurred_at": (_DAY + timedelta(minutes=version)).isoformat(),
        "modification": version,
        "member": {
            "member_number": number,
            "row_id": f"1-{number}",
            "status": "Active",
            "first_name": "Ann",
            "last_name": f"Version {version}",
            "email_address": f"{number.lower()}@example.org",
            "postal_code": "10010",
            "country_code": "US",
        },
    }


def outdated(users: Iterable[Mapping[str, Any]], newest: Mapping[str, int]) -> list[str]:
    """Name the members whom CrowdTwist does not hold as in their *newest* version."""
    held = {str(user["third_party_id"]): user["last_name"] for user in users}
    return [
        f"{number}: CrowdTwist has {held.get(number)}, not Version {version}"
        for number, version in newest.items()
        if held.get(number) != f"Version {version}"
    ] + [f"{number}: nobody sent it" for number in held.keys() - newest.keys()]


def counted(counts: Mapping[str, int]) -> str:
    """Say how many there are of each."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"

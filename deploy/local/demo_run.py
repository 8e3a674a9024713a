"""What every story of the demo stands on: it sends events, looks, waits, and says which promises were kept."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from rich.console import Console
from rich.status import Status

from deploy.local.demo_sample import PROGRAM_ID
from deploy.local.programs import PREFIX
from deploy.local.stack import Stack, StoppedError, say
from deploy.local.supervisor import Stop
from deploy.sandbox.server import SandboxControl
from shared.pipeline import Stage, spoken
from shared.settings import Settings

OPEN = ("pending", "running", "waiting", "held")

_LOOK_AGAIN_S = 0.1
_SHOWN_EVERY_S = 1.0
_PLAIN_EVERY_S = 2.0
_WITHIN_S = 60.0
_SHOWN_MAX = 10
_PAGE = 1000
_WIDTH = 140
_DAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

Record = dict[str, Any]
Query = list[tuple[str, str | int | float | bool | None]]


class NotSettledError(Exception):
    """What was awaited did not come in time."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One story.

    Attributes:
        about: What one is going to see.
        act: Plays it and keeps its promises.
        changes: The settings that it plays with instead of the demo's, by the name of their group.
        simulated: The connections that are simulated.
    """

    about: str
    act: Callable[["DemoRun"], None]
    changes: Mapping[str, Mapping[str, object]]
    simulated: frozenset[Stage] = field(default=frozenset({Stage.CROWDTWIST, Stage.SIEBEL}))

    def settings(self, given: Settings) -> Settings:
        """Return the settings of its stack."""
        return given.model_copy(
            update={group: getattr(given, group).model_copy(update=dict(of)) for group, of in self.changes.items()}
        )

    @property
    def changed(self) -> str:
        """Say which settings are not as by default, and what that is."""
        defaults = Settings.model_construct()
        said = []
        for group, changed in self.changes.items():
            for name, value in changed.items():
                default = getattr(getattr(defaults, group), name)
                if value != default:
                    said.append(f"{PREFIX}{group.upper()}__{name.upper()}={_shown(value)} ({_shown(default)})")
        return ", ".join(said)


class DemoRun:
    """A running stack, its simulators and its api.

    Attributes:
        kept: Whether every promise so far was kept.
    """

    def __init__(self, stack: Stack, stop: Stop) -> None:
        if stack.control is None:
            raise ValueError("the demo needs its simulators")
        self.control: SandboxControl = stack.control
        self.api = httpx.Client(base_url=stack.api_url, timeout=30, trust_env=False)
        self.kept = True
        self._stack = stack
        self._known: set[str] = set()
        self._stop = stop
        self._status: Status | None = None
        self._looked_at = self._said_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_line()
        self.api.close()

    def send(self, *events: Record) -> list[str]:
        """Post events and return their instances; anything but `accepted` breaks a promise."""
        self.seed_siebel({one["member"]["member_number"]: one["member"]["row_id"] for one in events})
        answer = self.api.post("/v1/member-events", json=list(events)).raise_for_status().json()
        odd = [f"{one['event_id']}: {one['outcome']}" for one in answer["results"] if one["outcome"] != "accepted"]
        if odd:
            self.promise("every event is accepted", odd)
        return [str(one["instance_id"]) for one in answer["results"]]

    def seed_siebel(self, row_ids: Mapping[str, str]) -> None:
        """Let Siebel know members, by number, as it does before it tells of them."""
        new = [{"member_number": number, "row_id": row_ids[number]} for number in row_ids.keys() - self._known]
        if new:
            self.control.seed(*new)
        self._known |= row_ids.keys()

    def erase(self, number: str) -> None:
        """Let CrowdTwist have a member no more, as its agent may do."""
        key = self._stack.settings.crowdtwist.api_key
        query = {"id_type": "third_party_id", "api_key": "" if key is None else key.get_secret_value()}
        url = f"{self._stack.sandbox[Stage.CROWDTWIST.value]}/v2/users/{number}"
        httpx.delete(url, params=query, trust_env=False).raise_for_status()

    def instances(self, *states: str) -> list[Record]:
        """Return the instances in these states, all of them when none is named, newest first."""
        found: list[Record] = []
        cursor: str | None = None
        while True:
            query: Query = [("limit", _PAGE), *(("state", state) for state in states)]
            query += [("cursor", cursor)] if cursor else []
            page = self.read("/v1/instances", query)
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def instance(self, instance_id: str) -> Record:
        """Return one instance."""
        return self.read(f"/v1/instances/{instance_id}")

    def member(self, number: str) -> Record:
        """Return one member with its instances and what happened to them."""
        return self.read(f"/v1/members/{number}")

    def connection(self, name: str) -> Record:
        """Return one connection."""
        return next(dict(one) for one in self.read("/v1/connections")["items"] if one["name"] == name)

    def read(self, path: str, query: Query | None = None) -> Record:
        """Return an answer of the api."""
        return dict(self.api.get(path, params=query).raise_for_status().json())

    def is_settled(self) -> bool:
        """Return whether nothing is on its way any more."""
        query: Query = [("limit", 1), *(("state", state) for state in OPEN)]
        return not self.read("/v1/instances", query)["items"]

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            StoppedError: Somebody asked for the end.
        """
        if self._stop.wait(seconds):
            raise StoppedError

    def until(
        self, true: Callable[[], object], what: str, *, within_s: float = _WITHIN_S, name: str = Stage.CROWDTWIST.value
    ) -> None:
        """Wait until *true*, and show how the connection *name* does meanwhile.

        Raises:
            NotSettledError: It takes too long.
            StoppedError: Somebody asked for the end.
        """
        began = time.monotonic()
        while not true():
            self.show_connection(name)
            self.wait(_LOOK_AGAIN_S)
            if time.monotonic() > began + within_s:
                raise NotSettledError(f"not within {within_s:g} s: {what}")
        if time.monotonic() > began + _SHOWN_EVERY_S:
            self.show_connection(name, done=True)

    def show_connection(self, name: str, *, done: bool = False) -> None:
        """Show how a connection does, at most once a second; *done* lets it stand."""
        if not done and time.monotonic() - self._looked_at < _SHOWN_EVERY_S:
            return
        self._looked_at = time.monotonic()
        found = self.connection(name)
        probe = "" if not found["next_probe_in_s"] else f", next probe in {found['next_probe_in_s']:.0f} s"
        users = self.control.state("crowdtwist")["users"]
        statuses = Counter(str(member["status"] or "nothing yet") for member in self.control.members())
        self.show(
            f"{spoken(name)} {spoken(found['state'])}{probe} · {found['held']} held · CrowdTwist {users} users · "
            f"Siebel {counted(statuses)}",
            done=done,
        )

    def show(self, text: str, *, done: bool = False) -> None:
        """Show *text* in the line that changes, elsewhere than on a terminal now and then; *done* lets it stand."""
        if done:
            self._end_line()
            say(f"   {text}")
        elif sys.stdout.isatty():
            if self._status is None:
                self._status = console().status(text)
                self._status.start()
            self._status.update(text)
        elif time.monotonic() - self._said_at >= _PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            say(f"   {text}")

    def _end_line(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None

    def promise(self, promise: str, failures: Sequence[str] = ()) -> None:
        """Return whether *promise* was kept: there are no *failures*."""
        self._end_line()
        say(f"{'BROKEN' if failures else 'kept  '}  {promise}")
        for failure in failures[:_SHOWN_MAX]:
            say(f"          {failure}")
        if len(failures) > _SHOWN_MAX:
            say(f"          … and {len(failures) - _SHOWN_MAX} more")
        self.kept = self.kept and not failures

    def print_instance(self, instance_id: str) -> None:
        """Print what happened to one instance."""
        found = self.instance(instance_id)
        say(f"   instance {instance_id} of member {found['member_number']}: {spoken(found['state'])}")
        for line in found["activity"]:
            attempt = f" #{line['attempt']}" if line["attempt"] else ""
            where = f"{spoken(line['stage'] or 'intake')}{attempt:<4}"
            calls = spoken_calls(line["calls"])
            say(f"     {clock(line['at'])}  {where} {spoken(line['state']):<11} {line['what']}  {calls}")


@contextmanager
def faulty(control: SandboxControl, name: str, kind: str, **details: object) -> Iterator[None]:
    """Let the simulator *name* be faulty for the length of the block."""
    fault_id = control.fault(name, kind, **details)
    try:
        yield
    finally:
        control.heal(name, fault_id)


def event(number: str, version: int = 0) -> Record:
    """Return an update of a member; its content tells the *version*, the greatest one is the newest."""
    return {
        "event_id": f"{number}-{version}",
        "operation": "update",
        "occurred_at": (_DAY + timedelta(minutes=version)).isoformat(),
        "modification": version,
        "member": {
            "member_number": number,
            "row_id": f"1-{number}",
            "program_id": PROGRAM_ID,
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


def console() -> Console:
    """Return the way to print tables: as wide as the terminal, or as a log is read."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def counted(counts: Mapping[str, int]) -> str:
    """Say how many there are of each."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"


def clock(instant: str) -> str:
    """Return the local time of day of an instant, to the millisecond."""
    return datetime.fromisoformat(instant).astimezone().strftime("%H:%M:%S.%f")[:-3]


def spoken_calls(calls: Iterable[Mapping[str, Any]]) -> str:
    """Return `POST 503 GET no answer` for the calls of an attempt."""
    return " ".join(f"{call['method']} {call['http_status'] or 'no answer'}".strip() for call in calls)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

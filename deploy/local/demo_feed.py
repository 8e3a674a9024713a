"""Feeds the demo's sample through the real api, shows how it goes, and keeps what is needed to judge it."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx
from rich.markup import escape
from rich.table import Table

from deploy.local.demo_sample import TAKEN, Expected, Request, differences
from deploy.local.scene_theatre import NotSettledError, Ticker, console
from deploy.local.stack import Stack, StoppedError
from deploy.local.supervisor import Stop
from deploy.local.up import say
from deploy.sandbox.client import SandboxControl
from shared.pipeline import spoken

_OPEN = frozenset({"pending", "running", "waiting", "held"})
_SETTLED_WITHIN_S = 60.0
_STILL_S = 4.0
"""Longer than a lost write takes to land in the demo, and the read-back after it.  Units: seconds."""
_LOOK_AGAIN_S = 0.25
_QUIET_S = 1.5
_PAGE = 1000

Instance = dict[str, Any]


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


_FINAL = frozenset({"completed", "rejected", "superseded", "unchanged", "skipped"})
_SHOWN_MAX = 10
_MAINTENANCE = 503
_ALL = 20_000
_MEANINGS = {
    "completed": "in CrowdTwist",
    "rejected": "Data Error",
    "superseded": "overtaken by a newer event",
    "unchanged": "nothing new",
    "skipped": "not an Individual, or another programme",
    "duplicate": "known already, answered like the first",
    "conflict": "same event id, other content: refused",
    "refused": "not a member event; the answer names the field",
}


def report(feed: Feed) -> bool:
    """Print the table, the timelines and the promises; say whether every promise held."""
    instances = feed.instances()
    siebel = {str(member["member_number"]): member for member in feed.control.members()}
    console().print(_table(feed, instances, siebel))
    for title, number in (
        ("went through the outage", _through_the_outage(feed)),
        ("Data Error", _with_error(siebel, TAKEN)),
    ):
        if number:
            _print_timeline(title, feed.member(number))
    kept = True
    say("")
    for promise, failures in _promises(feed, instances, siebel):
        say(f"{'BROKEN' if failures else 'kept  '}  {promise}")
        for failure in failures[:_SHOWN_MAX]:
            say(f"          {failure}")
        if len(failures) > _SHOWN_MAX:
            say(f"          … and {len(failures) - _SHOWN_MAX} more")
        kept = kept and not failures
    return kept


def _promises(
    feed: Feed, instances: list[Instance], siebel: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, list[str]]]:
    """Give each promise with the ways in which it was broken."""
    states = {one["instance_id"]: one["state"] for one in instances}
    open_ones = {number: state for number, state in states.items() if state not in _FINAL}
    yield "every event got the answer that it deserved", feed.surprises
    yield (
        f"all {len(feed.accepted)} accepted events reached a final state, none of them a dead letter",
        [f"instance {number}: {spoken(state)}" for number, state in open_ones.items()]
        + [f"instance {number}: lost" for number in sorted(feed.accepted - states.keys())],
    )
    yield (
        f"CrowdTwist holds the newest good content of {len(feed.expected.users)} members, and nobody else",
        differences(feed.expected.users, feed.control.users()),
    )
    yield f"Siebel says of {len(feed.expected.status)} members what their newest event came to", _untrue(feed, siebel)
    yield "what was sent again caused no call", _needless(feed)
    for name in ("CrowdTwist", "Siebel"):
        together = feed.control.state(name.lower())["overlapping_keys"]
        yield f"{name} never had two calls of one member at once", [f"{number}: two at once" for number in together]
    refused = feed.control.state("crowdtwist")["calls"]
    count = sum(by_status.get(str(_MAINTENANCE), 0) for by_status in refused.values())
    yield f"the outage was real: {count} calls were refused", [] if count else ["no call met it"]


def _untrue(feed: Feed, siebel: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name the members of whom Siebel does not say what it should, or says something that it should not."""
    wrong = []
    for number, member in sorted(siebel.items()):
        status, error = member["status"], str(member["error"] or "")
        wanted, words = feed.expected.status.get(number, (None, ""))
        if status != wanted or (words not in error if words else error):
            wrong.append(f"{number}: {status} {error!r}, should be {wanted} {words!r}")
    return wrong + [f"{number}: unknown to Siebel" for number in sorted(feed.expected.status.keys() - siebel.keys())]


def _needless(feed: Feed) -> list[str]:
    before, after = feed.calls_before, feed.quiet()
    if before is None:
        return ["it was not sent again"]
    return [] if before == after else [f"calls before: {before}, after: {after}"]


def _table(feed: Feed, instances: list[Instance], siebel: Mapping[str, Mapping[str, Any]]) -> Table:
    in_crowdtwist = {user["third_party_id"] for user in feed.control.users()}
    table = Table("outcome", "events", "members", "CrowdTwist holds", "Siebel says", "meaning", title="What came of it")
    for outcome, meaning in _MEANINGS.items():
        members = {one["member_number"] for one in instances if one["state"] == outcome}
        events = sum(one["state"] == outcome for one in instances) or feed.outcomes[outcome]
        said = Counter(siebel[number]["status"] or "nothing" for number in members if number in siebel)
        table.add_row(
            outcome,
            str(events),
            str(len(members)) if members else "",
            str(len(members & in_crowdtwist)) if members else "",
            ", ".join(f"{count} {status}" for status, count in said.most_common()),
            meaning,
        )
    return table


def _through_the_outage(feed: Feed) -> str | None:
    """Find a member whose calls were refused most often before one went through."""
    refused: Counter[str] = Counter()
    last: dict[str, int | None] = {}
    for call in feed.control.calls("crowdtwist", limit=_ALL):
        refused[call["key"]] += call["status"] == _MAINTENANCE
        last[call["key"]] = call["status"]
    for number, times in refused.most_common():
        if times and last[number] == 200:  # noqa: PLR2004 - HTTP's word for success
            return number
    return None


def _with_error(siebel: Mapping[str, Mapping[str, Any]], words: str) -> str | None:
    return next((number for number, member in siebel.items() if words in str(member["error"])), None)


def _print_timeline(title: str, member: Mapping[str, Any]) -> None:
    table = Table(title=f"Member {member['member_number']}: {title}", title_justify="left", box=None, padding=(0, 1))
    for column in ("time", "stage", "try", "state", "what happened", "calls"):
        table.add_column(column, no_wrap=column in {"time", "stage", "try", "state"})
    for one in reversed(member["instances"]):
        table.add_row("", "", "", "", f"[bold]instance {one['instance_id']}: {one['operation']}")
        for line in one["activity"]:
            calls = " ".join(_call(call) for call in line["calls"])
            cells = (spoken(line["stage"]), line["attempt"], spoken(line["state"]), line["what"], calls)
            table.add_row(_clock(line["at"]), *(escape("" if cell is None else str(cell)) for cell in cells))
    told = f"{member['told_status']} {member['told_error'] or ''}".strip()
    console().print(table)
    say(f"  Siebel says: {told}\n")


def _call(call: Mapping[str, Any]) -> str:
    return f"{call['method']} {call['http_status'] or 'no answer'}".strip()


def _clock(instant: str) -> str:
    return datetime.fromisoformat(instant).astimezone().strftime("%H:%M:%S.%f")[:-3]

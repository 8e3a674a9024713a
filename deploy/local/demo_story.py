"""The demo's main story: a day of members through an outage, a table, two timelines, and each promise checked.

1. A few hundred members enrol, as NDJSON and as Siebel's own XML.
2. CrowdTwist goes into maintenance for some seconds, and the next day's changes arrive meanwhile.
3. It comes back; everything heals by itself.
4. Much is sent once more: nothing may happen.
5. What CrowdTwist holds and Siebel says is compared with what the sample asks for, worked out independently.
"""

import time
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from rich.markup import escape
from rich.table import Table

from deploy.local import demo_sample as sample
from deploy.local.demo_run import OPEN, DemoRun, NotSettledError, Record, Scene, clock, console, counted, spoken_calls
from deploy.local.demo_sample import TAKEN, Expected, Request, differences
from deploy.local.stack import complain, say
from shared.pipeline import spoken

_OUTAGE_S = 6.0
_LINES_PER_REQUEST = 60
_SETTLED_WITHIN_S = 60.0
_STILL_S = 4.0
"""Longer than a lost write takes to land in the demo, and the read-back after it.  Units: seconds."""
_LOOK_AGAIN_S = 0.25
_QUIET_S = 1.5
_ALL = 20_000
_FINAL = frozenset({"completed", "rejected", "superseded", "unchanged", "skipped"})
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

Siebel = Mapping[str, Mapping[str, Any]]
"""What Siebel holds of each member, by number."""


def act(run: DemoRun) -> None:
    """Play the story and keep its promises."""
    feed = _Feed(run)
    try:
        feed.send_all()
    except NotSettledError as error:
        complain(str(error))
    instances = run.instances()
    siebel = {str(member["member_number"]): member for member in run.control.members()}
    console().print(_table(feed, instances, siebel))
    with_error = next((number for number, member in siebel.items() if TAKEN in str(member["error"])), None)
    for title, number in (("went through the outage", _through_the_outage(run)), ("Data Error", with_error)):
        if number:
            _print_timeline(title, run.member(number))
    say("")
    _keep_promises(feed, instances, siebel)


MAIN = Scene(about="", act=act, changes={})


class _Feed:
    """Sends the sample, and keeps what is needed to judge it.

    Attributes:
        expected: What must come of all that was sent.
        surprises: Answers of intake that were not as expected, in words.
        outcomes: The answers of intake, counted.
        calls_before: The calls of CrowdTwist and Siebel before all the rest had to be without effect.
    """

    def __init__(self, run: DemoRun) -> None:
        self.run = run
        self.expected = Expected()
        self.surprises: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self.calls_before: tuple[int, int] | None = None
        self._sent = 0

    def send_all(self) -> None:
        """Send the sample in its acts.

        Raises:
            NotSettledError: What was sent does not come to an end within a minute.
            StoppedError: Somebody asked for the end.
        """
        first = [*sample.ndjson("members.ndjson", _LINES_PER_REQUEST), sample.siebel_xml("siebel_messages.xml")]
        next_day = sample.json_array("changes.json")
        self.run.seed_siebel(
            {change.number: change.member.get("row_id", "") for one in first for change in one.events if change.number}
        )
        say("1. members enrol: NDJSON, and SiebelMessage XML")
        self._send(*first)
        say(
            f"2. CrowdTwist is in maintenance for {_OUTAGE_S:g} s (503, an HTML page), "
            "and the next day's changes arrive"
        )
        self.run.control.fault("crowdtwist", "maintenance", for_s=_OUTAGE_S)
        self._send(next_day)
        say("3. much of it is sent once more, and updates without news: nothing may happen")
        self._await_stillness()
        self._send(*first, next_day, *sample.ndjson("again.ndjson", _LINES_PER_REQUEST))

    def _send(self, *requests: Request) -> None:
        """Post requests, compare the answers of intake, and wait until all that was accepted has come to an end."""
        for request in requests:
            wanted = self.expected.take(request)
            headers = {"Content-Type": request.content_type}
            answer = self.run.api.post("/v1/member-events", content=request.body, headers=headers)
            results = answer.json().get("results", [])
            found = [str(result["outcome"]) for result in results]
            if found != wanted:
                odd = [
                    f"event {change.key[:40]}: {is_now}, should be {should_be}"
                    for change, is_now, should_be in zip(request.events, found, wanted, strict=False)
                    if is_now != should_be
                ]
                self.surprises += odd or [f"HTTP {answer.status_code}, {len(found)} results for {len(wanted)} events"]
            self.outcomes.update(found)
            self.accepted |= {str(result["instance_id"]) for result in results if result["outcome"] == "accepted"}
            self._sent += len(request.events)
        give_up_at = time.monotonic() + _SETTLED_WITHIN_S
        while not (states := Counter(one["state"] for one in self.run.instances())).keys().isdisjoint(OPEN):
            self.run.show(self._progress(states))
            self.run.wait(_LOOK_AGAIN_S)
            if time.monotonic() > give_up_at:
                raise NotSettledError(f"after {_SETTLED_WITHIN_S:g} s still {counted(states)}")
        self.run.show(self._progress(states), done=True)
        self.expected.settle()

    def _await_stillness(self) -> None:
        """Wait until no call is made any more: from now on nothing that is sent may reach CrowdTwist or Siebel.

        What got no answer of CrowdTwist's own in the outage is read back a little after its repetition: that comes
        first.
        """
        give_up_at = time.monotonic() + _SETTLED_WITHIN_S
        while (before := self.calls()) != self.calls_before and time.monotonic() < give_up_at:
            self.calls_before = before
            self.run.wait(_STILL_S)

    def calls(self) -> tuple[int, int]:
        """Return how many calls CrowdTwist and Siebel had so far."""
        crowdtwist, siebel = (int(self.run.control.state(name)["calls_total"]) for name in ("crowdtwist", "siebel"))
        return crowdtwist, siebel

    def _progress(self, states: Counter[str]) -> str:
        crowdtwist = self.run.control.state("crowdtwist")
        answered: Counter[str] = Counter()
        for by_status in crowdtwist["calls"].values():
            answered.update({("ok" if status == "200" else status): count for status, count in by_status.items()})
        notified = sum(member["status"] is not None for member in self.run.control.members())
        return (
            f"sent {self._sent} · {counted(states)} · CrowdTwist: {crowdtwist['users']} users, "
            f"calls {counted(answered)} · Siebel: {notified} told"
        )


def _keep_promises(feed: _Feed, instances: list[Record], siebel: Siebel) -> None:
    run, expected = feed.run, feed.expected
    states = {one["instance_id"]: one["state"] for one in instances}
    run.promise("every event got the answer that it deserved", feed.surprises)
    run.promise(
        f"all {len(feed.accepted)} accepted events reached a final state, none of them a dead letter",
        [f"instance {number}: {spoken(state)}" for number, state in states.items() if state not in _FINAL]
        + [f"instance {number}: lost" for number in sorted(feed.accepted - states.keys())],
    )
    run.promise(
        f"CrowdTwist holds the newest good content of {len(expected.users)} members, and nobody else",
        differences(expected.users, run.control.users()),
    )
    run.promise(
        f"Siebel says of {len(expected.status)} members what their newest event came to",
        _untrue(expected, siebel),
    )
    run.wait(_QUIET_S)  # time for forbidden ones
    before, after = feed.calls_before, feed.calls()
    needless = [f"calls before: {before}, after: {after}"] if before else ["it was not sent again"]
    run.promise("what was sent again caused no call", needless if before != after else [])
    for name in ("CrowdTwist", "Siebel"):
        together = run.control.state(name.lower())["overlapping_keys"]
        run.promise(
            f"{name} never had two calls of one member at once", [f"{number}: two at once" for number in together]
        )
    calls = run.control.state("crowdtwist")["calls"]
    count = sum(by_status.get(str(HTTPStatus.SERVICE_UNAVAILABLE.value), 0) for by_status in calls.values())
    run.promise(f"the outage was real: {count} calls were refused", [] if count else ["no call met it"])


def _untrue(expected: Expected, siebel: Siebel) -> list[str]:
    """Name the members of whom Siebel does not say what it should, or says something that it should not."""
    wrong = []
    for number, member in sorted(siebel.items()):
        status, error = member["status"], str(member["error"] or "")
        wanted, words = expected.status.get(number, (None, ""))
        if status != wanted or (words not in error if words else error):
            wrong.append(f"{number}: {status} {error!r}, should be {wanted} {words!r}")
    return wrong + [f"{number}: unknown to Siebel" for number in sorted(expected.status.keys() - siebel.keys())]


def _table(feed: _Feed, instances: list[Record], siebel: Siebel) -> Table:
    in_crowdtwist = {user["third_party_id"] for user in feed.run.control.users()}
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


def _through_the_outage(run: DemoRun) -> str | None:
    """Find a member whose calls were refused most often before one went through."""
    refused: Counter[str] = Counter()
    last: dict[str, int | None] = {}
    for call in run.control.calls("crowdtwist", limit=_ALL):
        refused[call["key"]] += call["status"] == HTTPStatus.SERVICE_UNAVAILABLE
        last[call["key"]] = call["status"]
    for number, times in refused.most_common():
        if times and last[number] == HTTPStatus.OK:
            return number
    return None


def _print_timeline(title: str, member: Record) -> None:
    table = Table(title=f"Member {member['member_number']}: {title}", title_justify="left", box=None, padding=(0, 1))
    for column in ("time", "stage", "try", "state", "what happened", "calls"):
        table.add_column(column, no_wrap=column in {"time", "stage", "try", "state"})
    for one in reversed(member["instances"]):
        table.add_row("", "", "", "", f"[bold]instance {one['instance_id']}: {one['operation']}")
        for line in one["activity"]:
            cells = (line["attempt"], spoken(line["state"]), line["what"], spoken_calls(line["calls"]))
            shown = (escape("" if cell is None else str(cell)) for cell in (spoken(line["stage"]), *cells))
            table.add_row(clock(line["at"]), *shown)
    console().print(table)
    status = f"{member['told_status']} {member['told_error'] or ''}".strip()
    say(f"  Siebel says: {status}\n")

"""What the demo says at the end: a table of what came of it, two timelines, and each promise, kept or broken."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from deploy.local.demo_expectations import TAKEN, differences
from deploy.local.demo_feed import Feed, Instance
from deploy.local.demo_view import console
from deploy.local.terminal import say
from shared.pipeline import spoken

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

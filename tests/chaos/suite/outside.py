"""The independent checker: what became of what was accepted, by the journals of the outside systems alone.

It knows neither our ledger nor our code: what producers were answered, what CrowdTwist and Siebel were asked to change,
and what they hold now.  Of spec section 7: promise 1 is `lost`, promise 2 `stale_applied`, promise 3 `wrong_status`,
promise 5 `duplicate_effects`.

Three things are excused, since nobody on our side could help them: a write that lands when nobody waits for its answer
any more (the journal says so), one that a frozen worker had in its socket as it stood still, and one that was given up
while the wire was silent, and arrives with those after it when that sounds again.  None may last.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from deploy.sandbox.server import SandboxControl
from tests.chaos.suite.feed import DELETED, Accepted, Sent

_THAWED_S = 5.0
"""So long after a worker woke, what it had in its socket may still arrive."""
_NAMED = re.compile(r"\[instance (\d+)\]")
_OK = range(200, 300)


@dataclass
class Outside:
    """What outside systems were asked to change and hold now, by member."""

    crowdtwist: dict[str, list[dict[str, Any]]]
    siebel: dict[str, list[dict[str, Any]]]
    users: dict[str, dict[str, Any]]
    members: dict[str, dict[str, Any]]
    overlaps: list[tuple[str, str, float]]
    """System, member, and when a second call of the member came while one was in flight; epoch seconds."""

    @classmethod
    def of(cls, control: SandboxControl) -> "Outside":
        """Read it all from the simulators."""
        crowdtwist: dict[str, list[dict[str, Any]]] = {}
        for entry in sorted(control.journal("crowdtwist"), key=lambda one: float(one["at"])):
            for number in entry["keys"]:
                crowdtwist.setdefault(number, []).append(entry)
        siebel: dict[str, list[dict[str, Any]]] = {}
        for entry in sorted(control.journal("siebel"), key=lambda one: float(one["at"])):
            document = entry["document"]
            rows = document if isinstance(document, list) else [{"Id": entry["path"].rpartition("/")[2], **document}]
            for row in rows:
                siebel.setdefault(row["Id"].removeprefix("1-"), []).append({**entry, "row": row})
        overlaps = [
            (system, number, at)
            for system in ("crowdtwist", "siebel")
            for number, times in control.state(system)["overlaps"].items()
            for at in times
        ]
        users = {one["third_party_id"]: one for one in control.users()}
        members = {one["member_number"]: one for one in control.members()}
        return cls(crowdtwist, siebel, users, members, overlaps)

    def applied_at(self) -> list[float]:
        """Return when CrowdTwist or Siebel took a write, in order."""
        entries = (one for some in (*self.crowdtwist.values(), *self.siebel.values()) for one in some)
        return sorted(one["at"] for one in entries if one["status"] in _OK)


@dataclass
class Findings:
    """What does not hold, a line for each."""

    lost: list[str] = field(default_factory=list)
    stale_applied: list[str] = field(default_factory=list)
    wrong_status: list[str] = field(default_factory=list)
    duplicate_effects: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many there are of each."""
        return {name: len(getattr(self, name)) for name in self.__dataclass_fields__}

    def lines(self) -> list[str]:
        """Return them all."""
        return [f"{name}: {line}" for name in self.__dataclass_fields__ for line in getattr(self, name)]


def check(accepted: Accepted, outside: Outside, frozen: Iterable[tuple[float, float]]) -> Findings:
    """Return what does not hold; *frozen*: when workers stood still, epoch seconds."""
    findings = Findings()
    windows = [(began, ended + _THAWED_S) for began, ended in frozen]

    def is_excused(entry: Mapping[str, Any]) -> bool:
        return bool(entry["late"]) or any(began <= entry["at"] <= ended for began, ended in windows)

    by_instance = accepted.by_instance()
    for number, events in accepted.events.items():
        one = _Member(number, sorted(events, key=lambda event: event.version), outside, by_instance)
        stale = [entry for entry in one.stale() if not is_excused(entry)]
        findings.stale_applied += [f"{number}: {one.shown(entry)} came after a newer one" for entry in stale]
        findings.duplicate_effects += one.created_twice()
        findings.wrong_status += [line for entry, line in one.overwritten() if not is_excused(entry)]
        one.judge_end(findings)
    for system, number, at in outside.overlaps:
        if number in accepted.events and not any(began <= at <= ended for began, ended in windows):
            findings.duplicate_effects.append(f"{number}: two calls at once at {system}, at {at:.3f}")
    return findings


class _Member:
    """One member: its accepted events in order of version, and what was done about them outside."""

    def __init__(self, number: str, events: Sequence[Sent], outside: Outside, by_instance: Mapping[int, Sent]) -> None:
        self.number = number
        self.events = events
        self.newest = events[-1]
        self.user = outside.users.get(number)
        self.row = outside.members.get(number) or {"status": None, "error": None}
        self.applied = [one for one in outside.crowdtwist.get(number, ()) if one["status"] in _OK]
        self.told = [one for one in outside.siebel.get(number, ()) if one["status"] in _OK]
        self._by_instance = by_instance

    def stale(self) -> list[dict[str, Any]]:
        """Return what CrowdTwist was made to show after it had shown something newer.

        A mark may be of several versions: each time it is taken for the oldest one that is not older than the last.
        """
        found, reached = [], 0
        for entry in self.applied:
            versions = [one.version for one in self.events if one.mark == _mark(entry)]
            newer = [version for version in versions if version >= reached]
            if newer:
                reached = newer[0] if not entry["late"] else reached
            else:
                found.append(entry)
        return found

    def created_twice(self) -> list[str]:
        """Return a line for each time that the member was created beyond the first."""
        created = [one for one in self.applied if one["method"] == "POST"]
        return [f"{self.number}: created again, {self.shown(one)}" for one in created[1:]]

    def overwritten(self) -> list[tuple[Mapping[str, Any], str]]:
        """Return each status that speaks of something older than what Siebel showed before it, or of nothing done."""
        found: list[tuple[Mapping[str, Any], str]] = []
        for before, after in pairwise(self.told):
            named, earlier = self._named(after), self._named(before)
            if named is None:
                continue
            if earlier is not None and named.version < earlier.version:
                found.append((after, f"{self.number}: told of version {named.version} after {earlier.version}"))
            elif before["row"]["CT Sync Status"] == "Success" and self._reached(before["at"]) >= named.version:
                what = after["row"]["CT Sync Status"]
                found.append((after, f"{self.number}: {what} of version {named.version} after its success"))
        deletes = any(one.mark == DELETED for one in self.events)
        found += [
            (entry, f"{self.number}: Success was told before CrowdTwist had anything")
            for entry in self.told
            if entry["row"]["CT Sync Status"] == "Success" and not self._reached(entry["at"]) and not deletes
        ]
        return found

    def _named(self, entry: Mapping[str, Any]) -> Sent | None:
        name = _NAMED.search(entry["row"].get("CT Sync Error") or "")
        return None if name is None else self._by_instance.get(int(name[1]))

    def _reached(self, at: float) -> int:
        """Return the newest version that CrowdTwist had been sent by then; of a mark of several, the oldest."""
        marks = {_mark(entry) for entry in self.applied if entry["at"] <= at}
        first: dict[str, int] = {}
        for event in self.events:
            first.setdefault(event.mark, event.version)
        return max((first[mark] for mark in marks if mark in first), default=0)

    def judge_end(self, findings: Findings) -> None:
        """Find out whether both systems show what became of the newest event."""
        newest, status, error = self.newest, self.row["status"], self.row["error"] or ""
        where = f"{self.number}: version {newest.version} ({newest.mark}{'' if newest.is_good else ', bad'})"
        if newest.is_good:
            if not self._shows_newest():
                is_there = any(_mark(entry) == newest.mark for entry in self.applied)
                shown = (self.user or {}).get("first_name")
                (findings.stale_applied if is_there else findings.lost).append(
                    f"{where}; CrowdTwist shows {shown}; Siebel shows {status} {error}"
                )
            if (status, error) != ("Success", ""):
                findings.wrong_status.append(f"{where}; Siebel shows {status} {error}")
            return
        named = self._named({"row": {"CT Sync Error": error}})
        if status != "Data Error" or named is None or named.mark != newest.mark:
            findings.wrong_status.append(f"{where}; Siebel shows {status} {error}")
            if not any((told := self._named(entry)) and told.mark == newest.mark for entry in self.told):
                findings.lost.append(f"{where}; Siebel was never told of it")

    def _shows_newest(self) -> bool:
        if self.newest.mark == DELETED:
            return self.user is None or not self.user["is_active"]
        shown = ("first_name", "last_name", "email_address", "postal_code")
        member = self.newest.body["member"]
        return self.user is not None and self.user["is_active"] and all(self.user[one] == member[one] for one in shown)

    @staticmethod
    def shown(entry: Mapping[str, Any]) -> str:
        """Return an entry in a few words."""
        late = ", late" if entry["late"] else ""
        return f"{entry['method']} of {_mark(entry)} at {entry['at']:.3f}{late}"


def _mark(entry: Mapping[str, Any]) -> str:
    document = entry["document"] or {}
    return str(document["first_name"]) if "first_name" in document else DELETED


def longest_recovery_s(troubles: Iterable[tuple[float, float]], applied_at: Sequence[float]) -> float:
    """Return the longest time from the end of a trouble to the next write that was taken, whatever else was broken.

    Units: epoch seconds.  Where nothing was to be written any more there is no word.
    """
    ends = [ended for _, ended in troubles]
    firsts = [
        applied_at[place] - ended for ended in ends if (place := bisect_left(applied_at, ended)) < len(applied_at)
    ]
    return round(max(firsts, default=0.0), 3)

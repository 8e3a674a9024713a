"""A system is down in several ways, one after another, while events arrive: what `outage` and `oic` share."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from deploy.local.scene_theatre import Face, Record, Theatre, event, outdated
from deploy.local.up import say
from shared.pipeline import FAILURE_STATUS, Stage, spoken
from shared.settings import Connection, Settings

WARM_UP = 50
SUCCESS_WITHIN_S = 5.0

_ROUND_S = 0.2
_EVENTS_PER_S = 2000 / 60
_TWICE = 0.15
_OK = 200
_WITHIN_S = 60.0
_MINUTE_S = 60.0
_ALL = 20_000
_TOLD_WITHIN_S = 3.0
"""How long after the limit Siebel may take to show it: the dispatcher's tick, the call, some batches of them."""


@dataclass(frozen=True, slots=True)
class Downtime:
    """How long and how.

    Shape: *path* begins those calls of the system that are of members.  Units: *outage_s* seconds in all.
    """

    stage: Stage
    outage_s: float
    faces: Sequence[Face]
    path: str

    @property
    def events(self) -> int:
        """How many events arrive meanwhile."""
        return int(self.outage_s * _EVENTS_PER_S)

    @property
    def members(self) -> int:
        """How many members they are of; the others are second changes."""
        return int(self.events * (1 - _TWICE))

    @property
    def limit_s(self) -> float:
        """How long a failure lasts until Siebel is told."""
        return self.outage_s / 6

    @property
    def probe_cap_s(self) -> float:
        """The longest time between two probes."""
        return self.outage_s / 15

    @property
    def budget(self) -> int:
        """Calls per minute: just enough for one of each member."""
        return WARM_UP + self.members + 100

    @property
    def shortened(self) -> str:
        """Say which settings were shortened."""
        of = f"MEMBERSYNC_{self.stage.upper()}__"
        return (
            f"{of}PROBE_CAP_S={self.probe_cap_s:g} (60), {of}TIMEOUT_S={self._timeout_s:g} (30), "
            f"{of}BUDGET_PER_MINUTE={self.budget}, MEMBERSYNC_SIEBEL__REPORT_AFTER_S={self.limit_s:g} (300)"
        )

    @property
    def _timeout_s(self) -> float:
        return max(1.0, self.outage_s / 30)

    def settings(self, given: Settings, **more: object) -> Settings:
        """Give the settings of the stack; *more* of the system that is down."""
        connection: Connection = given.connection(self.stage).model_copy(
            update={
                "timeout_s": self._timeout_s,
                "probe_first_s": min(1.0, self.probe_cap_s),
                "probe_cap_s": self.probe_cap_s,
                "budget_per_minute": self.budget,
                **more,
            }
        )
        siebel = given.siebel.model_copy(update={"report_after_s": self.limit_s})
        return given.model_copy(update={"siebel": siebel, self.stage.value: connection})


def play(theatre: Theatre, of: Downtime) -> None:
    """Play it, and check what it promises."""
    story = _Story(theatre, of)
    try:
        story.warm_up()
        story.go_down()
        story.check_while_down()
        story.recover()
        story.check_afterwards()
    finally:
        story.heal()


class _Story:
    def __init__(self, theatre: Theatre, of: Downtime) -> None:
        self._theatre = theatre
        self._of = of
        self._status = FAILURE_STATUS[of.stage]
        self._newest: dict[str, int] = {}
        self._first_at: dict[str, float] = {}
        self._newest_at: dict[str, float] = {}
        self._warm: set[str] = set()
        self._sent = 0
        self._down = ExitStack()
        self._recovered_at = 0.0

    def warm_up(self) -> None:
        say(f"1. all is well: {WARM_UP} members come through")
        self._send([event(f"W-{number:04}") for number in range(WARM_UP)])
        self._warm = set(self._newest)
        self._theatre.until(self._theatre.is_settled, "the first members through", within_s=_WITHIN_S, name=self._name)

    def go_down(self) -> None:
        """Let each face follow the one before it, without a moment of health between them."""
        say(
            f"2. {spoken(self._of.stage)} is down for {self._of.outage_s:g} s, "
            f"and {self._of.events} events arrive meanwhile"
        )
        began = time.monotonic()
        share_s = self._of.outage_s / len(self._of.faces)
        for number, face in enumerate(self._of.faces, start=1):
            before, self._down = self._down, ExitStack()
            self._down.enter_context(face.shown(self._theatre.control))
            before.close()
            say(f"   {face.words}")
            self._feed(began, until=began + number * share_s)

    def check_while_down(self) -> None:
        """Look at the members that wait, right before the recovery."""
        of, theatre = self._of, self._theatre
        now = time.monotonic()
        siebel = {str(one["member_number"]): one for one in theatre.control.members()}
        waiting = theatre.instances("held")
        found = theatre.connection(self._name)
        theatre.show(self._name, done=True)
        theatre.promise(
            f"the breaker is open, and {len(waiting)} instances are held",
            [] if found["state"] != "up" and waiting else [f"it is {found['state']}"],
        )
        spent = [f"instance {one['instance_id']}: attempt {one['attempt']}" for one in waiting if one["attempt"]]
        theatre.promise("no attempt of them is spent", spent)
        theatre.promise(
            f"Siebel shows `{self._status}` for those that have waited {of.limit_s:g} s, and for nobody else",
            self._untrue(siebel, now),
        )

    def recover(self) -> None:
        say(f"3. {spoken(self._of.stage)} is back; nobody does anything")
        self._recovered_at = time.time()
        self.heal()
        self._theatre.until(self._theatre.is_settled, "everything sent", within_s=3 * _WITHIN_S, name=self._name)

    def heal(self) -> None:
        """End whatever makes it down."""
        self._down.close()

    def check_afterwards(self) -> None:
        of, theatre = self._of, self._theatre
        theatre.promise("no dead letter", [f"instance {one['instance_id']}" for one in theatre.instances("dead")])
        calls = [one for one in theatre.control.calls(self._name, limit=_ALL) if one["path"].startswith(of.path)]
        self._check_first_success(calls)
        busiest = _busiest_minute(calls)
        theatre.promise(
            f"at most {busiest} calls in any minute, of {of.budget} that the budget allows",
            [] if busiest <= of.budget else [f"{busiest} calls in a minute"],
        )
        theatre.promise(
            f"CrowdTwist holds the newest of {len(self._newest)} members",
            outdated(theatre.control.users(), self._newest),
        )
        shown = theatre.control.members()
        theatre.promise(
            f"Siebel shows `Success` of all of them; {self._told(shown)} had shown `{self._status}` meanwhile",
            [f"{one['member_number']}: {one['status']} {one['error']}" for one in shown if one["status"] != "Success"]
            or ([] if self._told(shown) else [f"nobody was ever shown as {self._status}"]),
        )

    def _check_first_success(self, calls: list[Record]) -> None:
        good = [one["at"] for one in calls if one["status"] == _OK and one["at"] >= self._recovered_at]
        after_s = min(good, default=float("inf")) - self._recovered_at
        most_s = SUCCESS_WITHIN_S + self._of.probe_cap_s
        self._theatre.promise(
            f"the first success {after_s:.1f} s after the recovery (at most {self._of.probe_cap_s:g} s to the next "
            f"probe, and {SUCCESS_WITHIN_S:g} s)",
            [] if after_s <= most_s else [f"{after_s:.1f} s are more than {most_s:g}"],
        )

    def _told(self, shown: list[Record]) -> int:
        return sum(any(told["status"] == self._status for told in one["history"]) for one in shown)

    def _untrue(self, siebel: dict[str, Record], now: float) -> list[str]:
        wrong = []
        for number in self._newest.keys() - self._warm:
            status = siebel[number]["status"] if number in siebel else None
            longest_s, newest_s = now - self._first_at[number], now - self._newest_at[number]
            if newest_s > self._of.limit_s + _TOLD_WITHIN_S and status != self._status:
                wrong.append(f"{number}: has waited for {newest_s:.1f} s, and Siebel shows {status}")
            if longest_s < self._of.limit_s and status is not None:
                wrong.append(f"{number}: has waited for {longest_s:.1f} s only, and Siebel shows {status}")
        return wrong

    def _feed(self, began: float, until: float) -> None:
        while (now := time.monotonic()) < until:
            due = min(self._of.events, int((now - began) * _EVENTS_PER_S)) - self._sent
            self._send([self._next() for _ in range(due)])
            self._theatre.show(self._name)
            self._theatre.wait(_ROUND_S)

    def _next(self) -> Record:
        number, version = f"S-{self._sent % self._of.members:04}", self._sent // self._of.members
        self._sent += 1
        return event(number, version)

    def _send(self, events: list[Record]) -> None:
        if events:
            self._theatre.send(*events)
        for one in events:
            number = one["member"]["member_number"]
            self._newest[number] = one["modification"]
            self._newest_at[number] = time.monotonic()
            self._first_at.setdefault(number, self._newest_at[number])

    @property
    def _name(self) -> str:
        return self._of.stage.value


def _busiest_minute(calls: list[Record]) -> int:
    at = sorted(one["at"] for one in calls)
    first = busiest = 0
    for last, instant in enumerate(at):
        while at[first] <= instant - _MINUTE_S:
            first += 1
        busiest = max(busiest, last - first + 1)
    return busiest

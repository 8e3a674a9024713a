"""The scenes `outage` and `oic`: a system is down in several ways, one after another, while events arrive."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from deploy.local.demo_run import DemoRun, Record, Scene, event, faulty, outdated
from deploy.local.stack import say
from deploy.sandbox.server import SandboxControl
from shared.pipeline import FAILURE_STATUS, Stage, spoken

OUTAGE_S = 60.0
"""As the scenes have it; a test plays a shorter one."""

_WARM_UP = 50
_SUCCESS_WITHIN_S = 15.0
_ROUND_S = 0.2
_EVENTS_PER_S = 2000 / 60
_TWICE = 0.15
_RECOVERED_WITHIN_S = 180.0
_MINUTE_S = 60.0
_ALL = 20_000
_NOTIFIED_WITHIN_S = 5.0
"""How long after the limit Siebel may take to show it: the dispatcher's tick, the call, some batches of them."""
_OURS, _ROTATED = "secret", "rotated"
"""The client secret that the simulator takes."""
_FLOW = "/ic/api/integration/v1/flows/rest/"

Face = tuple[str, Callable[[SandboxControl], AbstractContextManager[None]]]
"""A way of being down: words for it, and what makes it and ends it again."""


def outage(outage_s: float) -> Scene:
    """CrowdTwist refuses, then hangs, then answers 503 with a page.

    Units: seconds of outage; what depends on it shrinks with it.
    """
    faces: list[Face] = [
        ("it refuses connections", partial(faulty, name="crowdtwist", kind="refuse")),
        ("it takes requests and never answers", partial(faulty, name="crowdtwist", kind="hang")),
        ("it answers 503 with a maintenance page", partial(faulty, name="crowdtwist", kind="maintenance")),
    ]
    downtime = _Downtime(Stage.CROWDTWIST, outage_s, faces, path="/v2/users")
    return Scene(
        about=(
            "CrowdTwist is away for a while. Events are accepted all the same; their instances are held, only one at a "
            "time probes,\nSiebel tells the truth meanwhile, and everything goes out by itself when CrowdTwist is back."
        ),
        act=downtime.play,
        changes=downtime.changes,
    )


def oic(outage_s: float) -> Scene:
    """The flow runs in Oracle Integration, which refuses, is not active, and rejects our token.

    Units: seconds of outage; what depends on it shrinks with it.
    """
    rejected = partial(faulty, name="oic", kind="status", status=HTTPStatus.UNAUTHORIZED, path=_FLOW)
    faces: list[Face] = [
        ("it refuses connections", partial(faulty, name="oic", kind="refuse")),
        ("its integration is not active (404)", _inactive),
        ("the integration rejects every token (401)", rejected),
        ("our client's secret was changed, and all tokens revoked: there are no fresh ones (401)", _other_secret),
    ]
    downtime = _Downtime(Stage.OIC, outage_s, faces, path=_FLOW)

    def act(run: DemoRun) -> None:
        downtime.play(run)
        _check_tokens(run)

    return Scene(
        about=(
            "The member sync flow runs in Oracle Integration, and that is away in four ways. No member is to blame for "
            "any of them:\nthey are held, Siebel shows `OIC Failure`, and everything goes on by itself."
        ),
        act=act,
        changes={**downtime.changes, "oic": {**downtime.changes["oic"], "mode": "remote"}},
        simulated=frozenset(Stage),
    )


@contextmanager
def _inactive(control: SandboxControl) -> Iterator[None]:
    control.set("oic", active=False)
    try:
        yield
    finally:
        control.set("oic", active=True)


@contextmanager
def _other_secret(control: SandboxControl) -> Iterator[None]:
    control.set("oic", client_secret=_ROTATED)
    control.revoke_tokens()
    try:
        yield
    finally:
        control.set("oic", client_secret=_OURS)


def _check_tokens(run: DemoRun) -> None:
    """Of each attempt whose token was rejected: one fresh token, tried once, then it is a failure."""
    calls = run.control.calls("oic", limit=_ALL)
    rejected = [one for one in calls if one["path"].startswith(_FLOW) and one["status"] == HTTPStatus.UNAUTHORIZED]
    fetched = sum(one["path"] == "/oauth2/v1/token" and one["status"] == HTTPStatus.OK for one in calls)
    attempts = [
        [call["http_status"] for call in line["calls"]]
        for number in {one["key"] for one in rejected}
        for one in run.member(number)["instances"]
        for line in one["activity"]
        if line["code"] == "unauthorised" and line["calls"]
    ]
    with_kept_and_fresh, without_fresh = [HTTPStatus.UNAUTHORIZED] * 2, [HTTPStatus.UNAUTHORIZED]
    odd = [
        f"an attempt's calls were answered {one}" for one in attempts if one not in (with_kept_and_fresh, without_fresh)
    ]
    replaced = attempts.count(with_kept_and_fresh)
    run.promise(
        f"a rejected token is replaced by a fresh one once, then it is a failure: {replaced} attempts with a "
        f"fresh one, {fetched} tokens fetched in all",
        odd or ([] if replaced else ["no fresh token was rejected"]),
    )


@dataclass(slots=True)
class _Downtime:
    """How long a system is down and how, and what was sent meanwhile.

    Attributes:
        outage_s: In all; each of the *faces* has its share.
        path: Begins those calls of the system that are of members.
    """

    stage: Stage
    outage_s: float
    faces: Sequence[Face]
    path: str
    _newest: dict[str, int] = field(default_factory=dict)
    """The newest version of each member, and when it was sent, and when its first one."""
    _newest_at: dict[str, float] = field(default_factory=dict)
    _first_at: dict[str, float] = field(default_factory=dict)

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
        """How long a failure lasts until Siebel is notified."""
        return self.outage_s / 6

    @property
    def probe_cap_s(self) -> float:
        """The longest time between two probes."""
        return self.outage_s / 15

    @property
    def budget(self) -> int:
        """Calls per minute: just enough for one of each member."""
        return _WARM_UP + self.members + 100

    @property
    def changes(self) -> dict[str, dict[str, object]]:
        """The settings that shrink with the outage."""
        return {
            self.stage.value: {
                "probe_first_s": min(1.0, self.probe_cap_s),
                "probe_cap_s": self.probe_cap_s,
                "timeout_s": max(1.0, self.outage_s / 30),
                "budget_per_minute": self.budget,
            },
            "siebel": {"report_after_s": self.limit_s},
        }

    def play(self, run: DemoRun) -> None:
        """Play it, and check what it promises."""
        name, system = self.stage.value, spoken(self.stage)
        say(f"1. all is well: {_WARM_UP} members come through")
        self._send(run, [event(f"W-{number:04}") for number in range(_WARM_UP)])
        warm = set(self._newest)
        run.until(run.is_settled, "the first members through", name=name)
        say(f"2. {system} is down for {self.outage_s:g} s, and {self.events} events arrive meanwhile")
        with ExitStack() as down:
            self._be_down(run, down)
            run.show_connection(name, done=True)
            self._check_while_down(run, warm)
            say(f"3. {system} is back; nobody does anything")
            recovered_at = time.time()
        run.until(run.is_settled, "everything sent", within_s=_RECOVERED_WITHIN_S, name=name)
        self._check_afterwards(run, recovered_at)

    def _be_down(self, run: DemoRun, down: ExitStack) -> None:
        """Let each face follow the one before it, without a moment of health between them; the last one stays on."""
        began, sent = time.monotonic(), 0
        for count, (words, face) in enumerate(self.faces, start=1):
            before = down.pop_all()
            down.enter_context(face(run.control))
            before.close()
            say(f"   {words}")
            until = began + count * self.outage_s / len(self.faces)
            while (now := time.monotonic()) < until:
                due = range(sent, min(self.events, int((now - began) * _EVENTS_PER_S)))
                self._send(run, [event(f"S-{one % self.members:04}", one // self.members) for one in due])
                sent += len(due)
                run.show_connection(self.stage.value)
                run.wait(_ROUND_S)

    def _send(self, run: DemoRun, events: list[Record]) -> None:
        if events:
            run.send(*events)
        for one in events:
            number = one["member"]["member_number"]
            self._newest[number] = one["modification"]
            self._newest_at[number] = time.monotonic()
            self._first_at.setdefault(number, self._newest_at[number])

    def _check_while_down(self, run: DemoRun, warm: set[str]) -> None:
        """Look at the members that wait, right before the recovery."""
        now = time.monotonic()
        siebel = {str(one["member_number"]): one["status"] for one in run.control.members()}
        waiting = run.instances("held")
        state = run.connection(self.stage.value)["state"]
        run.promise(
            f"the breaker is open, and {len(waiting)} instances are held",
            [] if state != "up" and waiting else [f"it is {state}"],
        )
        spent = [f"instance {one['instance_id']}: attempt {one['attempt']}" for one in waiting if one["attempt"]]
        run.promise("no attempt of them is spent", spent)
        wrong, failure = [], FAILURE_STATUS[self.stage]
        for number in self._newest.keys() - warm:
            status = siebel.get(number)
            longest_s, newest_s = now - self._first_at[number], now - self._newest_at[number]
            if newest_s > self.limit_s + _NOTIFIED_WITHIN_S and status != failure:
                wrong.append(f"{number}: has waited for {newest_s:.1f} s, and Siebel shows {status}")
            if longest_s < self.limit_s and status is not None:
                wrong.append(f"{number}: has waited for {longest_s:.1f} s only, and Siebel shows {status}")
        run.promise(
            f"Siebel shows `{failure}` for those that have waited {self.limit_s:g} s, and for nobody else", wrong
        )

    def _check_afterwards(self, run: DemoRun, recovered_at: float) -> None:
        run.promise("no dead letter", [f"instance {one['instance_id']}" for one in run.instances("dead")])
        every = run.control.calls(self.stage.value, limit=_ALL)
        calls = [one for one in every if one["path"].startswith(self.path)]
        good = [one["at"] for one in calls if one["status"] == HTTPStatus.OK and one["at"] >= recovered_at]
        after_s = min(good, default=float("inf")) - recovered_at
        most_s = _SUCCESS_WITHIN_S + self.probe_cap_s
        run.promise(
            f"the first success {after_s:.1f} s after the recovery (at most {self.probe_cap_s:g} s to the next "
            f"probe, and {_SUCCESS_WITHIN_S:g} s)",
            [] if after_s <= most_s else [f"{after_s:.1f} s are more than {most_s:g}"],
        )
        busiest = _busiest_minute([one["at"] for one in calls])
        run.promise(
            f"at most {busiest} calls in any minute, of {self.budget} that the budget allows",
            [] if busiest <= self.budget else [f"{busiest} calls in a minute"],
        )
        run.promise(
            f"CrowdTwist holds the newest of {len(self._newest)} members", outdated(run.control.users(), self._newest)
        )
        members, failure = run.control.members(), FAILURE_STATUS[self.stage]
        count = sum(any(write["status"] == failure for write in one["history"]) for one in members)
        run.promise(
            f"Siebel shows `Success` of all of them; {count} had shown `{failure}` meanwhile",
            [f"{one['member_number']}: {one['status']} {one['error']}" for one in members if one["status"] != "Success"]
            or ([] if count else [f"nobody was ever shown as {failure}"]),
        )


def _busiest_minute(instants: list[float]) -> int:
    at = sorted(instants)
    first = busiest = 0
    for last, instant in enumerate(at):
        while at[first] <= instant - _MINUTE_S:
            first += 1
        busiest = max(busiest, last - first + 1)
    return busiest

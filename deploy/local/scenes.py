"""The scenes of `membersync demo --scene NAME`: stories beside the main one, each of its own length.

A scene says what one is going to see, which settings it changes, and acts on a `DemoRun`: it sends events, breaks and
heals the simulators, waits, and says of each promise whether it was kept.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from deploy.local.demo_run import DemoRun, Record, Scene, event, faulty, outdated
from deploy.local.scene_downtime import OUTAGE_S, oic, outage
from deploy.local.up import say
from shared.pipeline import spoken

CROWDTWIST = "crowdtwist"
POISONED = "POISON"
ATTEMPTS = 6
_GIVES_UP_SOON = {CROWDTWIST: {"max_attempts": ATTEMPTS, "retry_base_s": 0.3, "retry_cap_s": 2.0}}
_OTHERS_AT_ONCE = 3
_ROUND_S = 0.3
_QUIET_S = 1.5
_ENDED = frozenset({"done", "stopped"})


def dead_letter(run: DemoRun) -> None:
    """One member fails for good while all others succeed; fixed, requeued, done."""
    with _poisoned(run) as dead:
        causes = run.read("/v1/dead-letters")["items"]
        said = (f"{one['count']} at {spoken(one['stage'])}, {one['code']}" for one in causes)
        say(f"   dead letters by cause: {'; '.join(said)}")
    say("2. CrowdTwist is corrected, and an operator requeues the dead letter")
    job = _requeue(run, dead.instance_id, "CrowdTwist corrected it")
    run.until(run.is_settled, "the requeued one through")
    run.until(lambda: _siebel_shows(run) == "Success", "Siebel notified")
    ends = (job["state"], run.instance(dead.instance_id)["state"])
    run.promise("the job is done and the instance completed", [] if ends == ("done", "completed") else [str(ends)])
    newest = dict.fromkeys((*dead.others, POISONED), 0)
    run.promise(f"CrowdTwist has all {len(newest)} members", outdated(run.control.users(), newest))
    run.promise("Siebel shows `Success` of it")


def overtaken(run: DemoRun) -> None:
    """A dead letter is requeued after a newer event of the member succeeded, and harms nothing."""
    with _poisoned(run) as dead:
        pass
    say("2. CrowdTwist is corrected, and the member is changed once more in Siebel: that comes through")
    run.send(event(POISONED, 1))
    run.until(lambda: _siebel_shows(run) == "Success", "Siebel notified")
    run.until(run.is_settled, "the newer one through")
    before = run.control.state(CROWDTWIST)["calls_total"]
    say("3. an operator requeues the old dead letter")
    job = _requeue(run, dead.instance_id, "it was forgotten")
    run.wait(_QUIET_S)
    run.print_instance(dead.instance_id)
    ends = (job["state"], run.instance(dead.instance_id)["state"])
    run.promise(
        "the job is done, and the old one closed as superseded", [] if ends == ("done", "superseded") else [str(ends)]
    )
    calls = run.control.state(CROWDTWIST)["calls_total"] - before
    run.promise("CrowdTwist had no call", [f"{calls} calls"] if calls else [])
    newest = dict.fromkeys(dead.others, 0) | {POISONED: 1}
    run.promise("CrowdTwist keeps the newer data", outdated(run.control.users(), newest))
    status = _siebel_shows(run)
    run.promise("Siebel still shows `Success`", [] if status == "Success" else [f"it shows {status}"])


@dataclass(frozen=True, slots=True)
class _DeadLetter:
    """The dead letter of a member that CrowdTwist cannot digest, and the others that came through meanwhile."""

    instance_id: str
    others: list[str] = field(default_factory=list)


@contextmanager
def _poisoned(run: DemoRun) -> Iterator[_DeadLetter]:
    """Let a member become a dead letter; CrowdTwist digests it again when the block ends."""
    with faulty(run.control, CROWDTWIST, "status", member=[POISONED], status=500):
        say(f"1. CrowdTwist answers 500 whenever it gets member {POISONED}; the others come through")
        (instance_id,) = run.send(event(POISONED))
        dead = _DeadLetter(instance_id)
        breaker: set[str] = set()

        def is_dead() -> bool:
            numbers = [f"OTHER-{len(dead.others) + index}" for index in range(_OTHERS_AT_ONCE)]
            run.send(*map(event, numbers))
            dead.others.extend(numbers)
            breaker.add(run.connection(CROWDTWIST)["breaker"])
            run.wait(_ROUND_S)
            return str(run.instance(instance_id)["state"]) == "dead"

        run.until(is_dead, "a dead letter")
        run.until(run.is_settled, "the others through")
        run.print_instance(instance_id)
        _check(run, dead, breaker)
        yield dead


def _check(run: DemoRun, dead: _DeadLetter, breaker: set[str]) -> None:
    """Keep the promises that hold while the member is a dead letter; *breaker* is every state that was seen of it."""
    found = run.instance(dead.instance_id)
    run.promise(
        f"it is a dead letter after {found['attempt']} attempts of {ATTEMPTS}: {found['error']}",
        [] if (found["state"], found["attempt"]) == ("dead", ATTEMPTS) else [f"{found['state']}, {found['attempt']}"],
    )
    through = [one for one in run.instances("completed") if one["member_number"] in dead.others]
    run.promise(
        f"all {len(dead.others)} others came through meanwhile",
        [] if len(through) == len(dead.others) else [f"only {len(through)} did"],
    )
    healed_at = run.connection(CROWDTWIST)["healed_at"]
    opened = sorted(breaker - {"closed"}) or ([] if healed_at is None else ["it opened and healed"])
    run.promise("the breaker never opened, nobody was held", opened)
    run.until(lambda: _siebel_shows(run) == "CT Failure", "Siebel notified")
    run.promise(
        "Siebel shows `CT Failure` of it, and of nobody else",
        [
            f"{one['member_number']}: {one['status']}"
            for one in run.control.members()
            if one["status"] != ("CT Failure" if one["member_number"] == POISONED else "Success")
        ],
    )


def _requeue(run: DemoRun, instance_id: str, reason: str) -> Record:
    """Ask for the requeue as an operator does, and follow it; return the job when it is over."""
    wanted = {"ids": [instance_id], "reason": reason}
    plan = run.api.post("/v1/requeues", json={**wanted, "dry_run": True}).raise_for_status().json()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in plan["counts"].items() if count)
    reasons = "; ".join(one["reason"] for one in plan["reasons"])
    say(f"   the plan: {counts}" + (f" ({reasons})" if reasons else ""))
    job: Record = run.api.post("/v1/requeues", json=wanted).raise_for_status().json()

    def is_over() -> bool:
        job.update(run.read(f"/v1/requeues/{job['job_id']}"))
        return job["state"] in _ENDED

    run.until(is_over, "the requeue done")
    say(f"   job {job['job_id']}: {job['state']}")
    return job


def _siebel_shows(run: DemoRun) -> str | None:
    found = run.control.member(POISONED)
    return None if found is None else found["status"]


SCENES: Mapping[str, Scene] = {
    "outage": outage(OUTAGE_S),
    "oic": oic(OUTAGE_S),
    "dead-letter": Scene(
        about=(
            "One member makes CrowdTwist answer 500, every time. That is no outage: the others come through, so it\n"
            "alone is tried again, given up, and shown to a person; when the cause is gone, one command sends it on."
        ),
        act=dead_letter,
        changes=_GIVES_UP_SOON,
    ),
    "overtaken": Scene(
        about=(
            "A dead letter is requeued too late: the member was changed once more, and the newer data is in CrowdTwist "
            "already.\nThe requeue sees that, sends nothing, and closes the old one."
        ),
        act=overtaken,
        changes=_GIVES_UP_SOON,
    ),
}

"""A member that CrowdTwist cannot digest, among others that come through: what `dead-letter` and `overtaken` share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.local.scene_theatre import CROWDTWIST, Record, Theatre, event
from deploy.local.up import say
from shared.settings import Settings

POISONED = "POISON"
ATTEMPTS = 6
SHORTENED = (
    f"MEMBERSYNC_CROWDTWIST__MAX_ATTEMPTS={ATTEMPTS} (20), MEMBERSYNC_CROWDTWIST__RETRY_BASE_S=0.3 (10), "
    "MEMBERSYNC_CROWDTWIST__RETRY_CAP_S=2 (1800)"
)
_OTHERS_AT_ONCE = 3
_ROUND_S = 0.3
_WITHIN_S = 60.0
_ENDED = frozenset({"done", "stopped"})


@dataclass(slots=True)
class Poisoned:
    """A dead letter, and the others that came through meanwhile."""

    instance_id: str
    others: dict[str, int]


def settings(given: Settings) -> Settings:
    """Give the settings of the stack: it gives up soon."""
    update = {"max_attempts": ATTEMPTS, "retry_base_s": 0.3, "retry_cap_s": 2.0}
    return given.model_copy(update={"crowdtwist": given.crowdtwist.model_copy(update=update)})


@contextmanager
def poisoned(theatre: Theatre) -> Iterator[Poisoned]:
    """Let a member become a dead letter; CrowdTwist digests it again when the block ends."""
    fault_id = theatre.control.fault(CROWDTWIST, "status", member=[POISONED], status=500)
    say(f"1. CrowdTwist answers 500 whenever it gets member {POISONED}; the others come through")
    (instance_id,) = theatre.send(event(POISONED))
    found = Poisoned(instance_id, {})
    positions: set[str] = set()

    def is_dead() -> bool:
        numbers = [f"OTHER-{len(found.others) + index}" for index in range(_OTHERS_AT_ONCE)]
        theatre.send(*map(event, numbers))
        found.others |= dict.fromkeys(numbers, 0)
        positions.add(theatre.connection(CROWDTWIST)["breaker"])
        theatre.wait(_ROUND_S)
        return str(theatre.instance(instance_id)["state"]) == "dead"

    theatre.until(is_dead, "a dead letter", within_s=_WITHIN_S)
    theatre.until(theatre.is_settled, "the others through", within_s=_WITHIN_S)
    theatre.timeline(instance_id)
    _check(theatre, found, positions)
    try:
        yield found
    finally:
        theatre.control.heal(CROWDTWIST, fault_id)


def requeue(theatre: Theatre, instance_id: str, reason: str) -> Record:
    """Ask for the requeue as an operator does, and follow it; give the job when it is over."""
    asked = {"ids": [instance_id], "reason": reason}
    planned = theatre.api.post("/v1/requeues", json={**asked, "dry_run": True}).raise_for_status().json()
    say(f"   the plan: {_plan(planned)}")
    job = theatre.api.post("/v1/requeues", json=asked).raise_for_status().json()

    def is_over() -> bool:
        job.update(theatre.api.get(f"/v1/requeues/{job['job_id']}").raise_for_status().json())
        return job["state"] in _ENDED

    theatre.until(is_over, "the requeue done", within_s=_WITHIN_S)
    say(f"   job {job['job_id']}: {job['state']}")
    return dict(job)


def siebel_shows(theatre: Theatre) -> str | None:
    """Say what Siebel shows of the poisoned member."""
    found = theatre.control.member(POISONED)
    return None if found is None else found["status"]


def _check(theatre: Theatre, found: Poisoned, positions: set[str]) -> None:
    dead = theatre.instance(found.instance_id)
    theatre.promise(
        f"it is a dead letter after {dead['attempt']} attempts of {ATTEMPTS}: {dead['error']}",
        [] if (dead["state"], dead["attempt"]) == ("dead", ATTEMPTS) else [f"{dead['state']}, {dead['attempt']}"],
    )
    through = [one for one in theatre.instances("completed") if one["member_number"] in found.others]
    theatre.promise(
        f"all {len(found.others)} others came through meanwhile",
        [] if len(through) == len(found.others) else [f"only {len(through)} did"],
    )
    connection = theatre.connection(CROWDTWIST)
    opened = sorted(positions - {"closed"}) or ([] if connection["healed_at"] is None else ["it opened and healed"])
    theatre.promise("the breaker never opened, nobody was held", opened)
    theatre.until(lambda: siebel_shows(theatre) == "CT Failure", "Siebel told", within_s=_WITHIN_S)
    theatre.promise("Siebel shows `CT Failure` of it, and of nobody else", _also_failed(theatre))


def _also_failed(theatre: Theatre) -> list[str]:
    members = theatre.control.members()
    return [
        f"{one['member_number']}: {one['status']}"
        for one in members
        if one["status"] != ("CT Failure" if one["member_number"] == POISONED else "Success")
    ]


def _plan(planned: Record) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in planned["counts"].items() if count)
    reasons = "; ".join(one["reason"] for one in planned["reasons"])
    return counts + (f" ({reasons})" if reasons else "")

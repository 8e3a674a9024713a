"""The scene `guard`: a job in Siebel deactivates members by mistake, another takes their addresses; guards hold both.

The first is discarded, and nobody ever knew; the second was meant after all, and is released.
"""

import time
from collections.abc import Iterable, Sequence

from deploy.local.demo_run import DemoRun, Record, Scene, event
from deploy.local.demo_sample import EMAIL_DOMAIN
from deploy.local.stack import say

_ALL, _HIT, _OTHERS = 300, 15, 40
"""Members; of them five in a hundred at once; and others who change beside them."""


def guard() -> Scene:
    """Have too many members deactivated, then too many blanked."""
    return Scene(
        about=(
            "A job in Siebel goes wrong and deactivates one member in twenty; each event is valid by itself. They are "
            "held before\nanything is sent, all others go on, and a person decides: discarded, nothing ever happened; "
            "released, all of it is done."
        ),
        act=act,
        changes={"reconcile": {"every_h": 0.0}},
    )


def act(run: DemoRun) -> None:
    """Play it."""
    everybody = [f"GUARD-{place}" for place in range(_ALL)]
    hit, others = everybody[:_HIT], everybody[_HIT : _HIT + _OTHERS]
    say(f"1. {_ALL} members come in sync")
    run.send(*map(event, everybody))
    run.until(run.is_settled, "in sync")

    say(f"2. a job deactivates {_HIT} of them at once, while {_OTHERS} others change as ever")
    began = time.monotonic()
    run.send(*(_changed(number, 1, status="Inactive") for number in hit), *(event(number, 1) for number in others))
    hold = _the_hold(run)
    say(f"   held {time.monotonic() - began:.1f} s after the first of them was sent")
    run.promise("they are held before anything is sent", _unlike(hold, kind="mass_change", held=_HIT))
    run.until(lambda: _named(run, others, 1), "the others pass")
    run.promise("all others pass meanwhile")
    run.promise("CrowdTwist has nothing of it", _inactive(run, hit))
    say(f"   guard {hold['id']}: {hold['message']}, {hold['alike']} of {hold['went_out']}; decide at /guards")

    say("3. the job was wrong: an operator discards what it sent")
    _decide(run, hold, "discard", "the job ran on the wrong segment")
    wrong = [one["member_number"] for one in run.control.members() if one["status"] != "Success"]
    run.promise("CrowdTwist and Siebel show what they showed before", _inactive(run, hit) + wrong)
    run.send(*(_changed(number, 2, status="Inactive") for number in hit))
    again = _the_hold(run)
    run.promise("the same job, run again, is held at once", _unlike(again, kind="mass_change", held=_HIT))
    run.send(*(event(number, 3) for number in hit))
    run.until(lambda: _named(run, hit, 3), "their next events, which are well")
    run.promise("who is well again goes its own way, past the guard", _inactive(run, hit))

    say(f"4. {_HIT} members lose their e-mail addresses at once; this time it is meant")
    run.send(*(_changed(number, 4, email_address="") for number in hit))
    blank = _the_hold(run)
    run.promise("they are held, and the fields are named", _unlike(blank, kind="blanking", held=_HIT))
    _decide(run, blank, "release", "they asked to have them taken out")
    run.until(run.is_settled, "released")
    users = {user["third_party_id"]: str(user["email_address"]) for user in run.control.users()}
    run.promise("released, all of it is done", [number for number in hit if not users[number].endswith(EMAIL_DOMAIN)])
    kinds = [one["kind"] for one in run.read("/v1/guards")["items"]]
    run.promise(
        "one hold, and so one mail, for each of the three",
        [] if kinds == ["blanking", "mass_change", "mass_change"] else kinds or ["none"],
    )


def _changed(number: str, version: int, **fields: str) -> Record:
    whole = event(number, version)
    return whole | {"member": whole["member"] | fields}


def _the_hold(run: DemoRun) -> Record:
    """Return the hold that waits for a decision; an empty one: there is none."""
    return next((dict(one) for one in run.read("/v1/guards")["items"] if one["state"] == "holding"), {"id": "?"})


def _decide(run: DemoRun, hold: Record, what: str, reason: str) -> None:
    run.api.post(f"/v1/guards/{hold['id']}/{what}", json={"reason": reason}).raise_for_status()
    run.until(lambda: run.read(f"/v1/guards/{hold['id']}")["ended_at"], f"the hold to be {what}ed")
    state = run.read(f"/v1/guards/{hold['id']}")["state"]
    say(f"   guard {hold['id']} is {state}: {reason}")


def _unlike(hold: Record, **expected: object) -> list[str]:
    return [f"{name} is {hold.get(name)}" for name, value in expected.items() if hold.get(name) != value]


def _named(run: DemoRun, numbers: Iterable[str], version: int) -> bool:
    """Return whether CrowdTwist has these members in this version."""
    users = {user["third_party_id"]: user["last_name"] for user in run.control.users()}
    return all(users.get(number) == f"Version {version}" for number in numbers)


def _inactive(run: DemoRun, numbers: Sequence[str]) -> list[str]:
    """Name those of these members that CrowdTwist does not show as active."""
    users = {user["third_party_id"]: user for user in run.control.users()}
    return [number for number in numbers if not users[number]["is_active"]]

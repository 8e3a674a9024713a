"""The scene `overtaken`: a dead letter is requeued after a newer event of the member succeeded, and harms nothing."""

from deploy.local.scene_poison import POISONED, SHORTENED, poisoned, requeue, settings, siebel_shows
from deploy.local.scene_theatre import CROWDTWIST, Scene, Theatre, event, outdated
from deploy.local.up import say

_WITHIN_S = 60.0
_QUIET_S = 1.5


def scene() -> Scene:
    """Give the scene."""
    return Scene(
        about=(
            "A dead letter is requeued too late: the member was changed once more, and the newer data is in CrowdTwist "
            "already.\nThe requeue sees that, sends nothing, and closes the old one."
        ),
        shortened=SHORTENED,
        settings=settings,
        act=_act,
    )


def _act(theatre: Theatre) -> None:
    with poisoned(theatre) as found:
        pass
    say("2. CrowdTwist is corrected, and the member is changed once more in Siebel: that comes through")
    theatre.send(event(POISONED, 1))
    theatre.until(lambda: siebel_shows(theatre) == "Success", "Siebel told", within_s=_WITHIN_S)
    theatre.until(theatre.is_settled, "the newer one through", within_s=_WITHIN_S)
    before = theatre.control.state(CROWDTWIST)["calls_total"]
    say("3. an operator requeues the old dead letter")
    job = requeue(theatre, found.instance_id, "it was forgotten")
    theatre.wait(_QUIET_S)
    theatre.timeline(found.instance_id)
    state = theatre.instance(found.instance_id)["state"]
    theatre.promise(
        "the job is done, and the old one closed as superseded",
        [] if (job["state"], state) == ("done", "superseded") else [f"{job['state']}, {state}"],
    )
    calls = theatre.control.state(CROWDTWIST)["calls_total"] - before
    theatre.promise("CrowdTwist had no call", [f"{calls} calls"] if calls else [])
    theatre.promise("CrowdTwist keeps the newer data", outdated(theatre.control.users(), found.others | {POISONED: 1}))
    status = siebel_shows(theatre)
    theatre.promise("Siebel still shows `Success`", [] if status == "Success" else [f"it shows {status}"])

"""The scene `dead-letter`: one member fails for good while all others succeed; fixed, requeued, done."""

from deploy.local.scene_poison import POISONED, SHORTENED, poisoned, requeue, settings, siebel_shows
from deploy.local.scene_theatre import Scene, Theatre, outdated
from deploy.local.up import say
from shared.pipeline import spoken

_WITHIN_S = 60.0


def scene() -> Scene:
    """Give the scene."""
    return Scene(
        about=(
            "One member makes CrowdTwist answer 500, every time. That is no outage: the others come through, so it\n"
            "alone is tried again, given up, and shown to a person; when the cause is gone, one command sends it on."
        ),
        shortened=SHORTENED,
        settings=settings,
        act=_act,
    )


def _act(theatre: Theatre) -> None:
    with poisoned(theatre) as found:
        causes = theatre.api.get("/v1/dead-letters").raise_for_status().json()["items"]
        say(
            "   dead letters by cause: "
            + "; ".join(f"{one['count']} at {spoken(one['stage'])}, {one['code']}" for one in causes)
        )
    say("2. CrowdTwist is corrected, and an operator requeues the dead letter")
    job = requeue(theatre, found.instance_id, "CrowdTwist corrected it")
    theatre.until(theatre.is_settled, "the requeued one through", within_s=_WITHIN_S)
    theatre.until(lambda: siebel_shows(theatre) == "Success", "Siebel told", within_s=_WITHIN_S)
    state = theatre.instance(found.instance_id)["state"]
    theatre.promise("the job is done and the instance completed", [] if _is_done(job, state) else [f"{job}, {state}"])
    newest = found.others | {POISONED: 0}
    theatre.promise(f"CrowdTwist has all {len(newest)} members", outdated(theatre.control.users(), newest))
    theatre.promise("Siebel shows `Success` of it")


def _is_done(job: dict[str, object], state: str) -> bool:
    return (job["state"], state) == ("done", "completed")

"""The scene `outage`: CrowdTwist refuses, then hangs, then answers 503 with a page, while events arrive steadily."""

from deploy.local.scene_downtime import Downtime, play
from deploy.local.scene_theatre import CROWDTWIST, Face, Scene, fault
from shared.pipeline import Stage

_FACES = (
    Face("it refuses connections", fault(CROWDTWIST, "refuse")),
    Face("it takes requests and never answers", fault(CROWDTWIST, "hang")),
    Face("it answers 503 with a maintenance page", fault(CROWDTWIST, "maintenance")),
)


def scene(outage_s: float = 60.0) -> Scene:
    """Give the scene.  Units: seconds of outage; what depends on it shrinks with it."""
    of = Downtime(Stage.CROWDTWIST, outage_s, _FACES, path="/v2/users")
    return Scene(
        about=(
            "CrowdTwist is away for a while. Events are accepted all the same; their instances are held, only one at a "
            "time probes,\nSiebel tells the truth meanwhile, and everything goes out by itself when CrowdTwist is back."
        ),
        shortened=of.shortened,
        settings=of.settings,
        act=lambda theatre: play(theatre, of),
    )

"""The scenes of `membersync demo --scene NAME`: stories beside the main one, each of its own length."""

from collections.abc import Callable

from deploy.local import scene_dead_letter, scene_oic, scene_outage, scene_overtaken
from deploy.local.scene_theatre import Scene

SCENES: dict[str, Callable[[], Scene]] = {
    "outage": scene_outage.scene,
    "oic": scene_oic.scene,
    "dead-letter": scene_dead_letter.scene,
    "overtaken": scene_overtaken.scene,
}

"""`membersync demo --scene NAME`: each story ends well, and says so only when it did."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.pipeline import spoken
from shared.reconciling import DriftClass
from tests.rabbit import need_rabbitmq, running_rabbitmq
from tests.terminal import started

OUTAGE_S = 8
ENOUGH_S = 240
"""Half a minute on a machine that has nothing else to do."""
PROMISES_OF_DRIFT = 10
PLAY = """
import sys
from dataclasses import fields
from deploy.local.demo import SCENES, demo
from deploy.local.demo_run import Scene
from deploy.local.scene_downtime import oic, outage
from shared.settings import Settings, settings

class OnBroker(Scene):
    def settings(self, given: Settings) -> Settings:
        return Scene.settings(self, given).model_copy(update={{"broker_url": {broker!r}}})

scene = {scene}
sys.exit(demo(settings(), scene=OnBroker(*(getattr(scene, one.name) for one in fields(scene)))))
"""


@contextmanager
def played(scene: str, broker: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """Play a scene, on a *broker* that runs already or on one of its own."""
    free = {"MEMBERSYNC_API__PORT": "0", "MEMBERSYNC_FLOWER__PORT": "0"}
    with started("-c", PLAY.format(scene=scene, broker=broker), **free) as process:
        yield process


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need_rabbitmq()
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.mark.parametrize(
    ("scene", "promises"),
    [
        (f"outage({OUTAGE_S})", 8),
        (f"oic({OUTAGE_S})", 9),
        ("SCENES['dead-letter']", 7),
        ("SCENES['guard']", 9),
        ("SCENES['incident']", 7),
    ],  # "overtaken" is played in test_demo, where it is kept
)
def test_every_promise_of_a_scene_is_kept(scene: str, promises: int) -> None:
    _ends_well(scene, promises)


def test_every_promise_is_kept_on_rabbitmq_too(rabbitmq_url: str) -> None:
    said = _ends_well("SCENES['dead-letter']", 7, rabbitmq_url)
    assert "valkey " not in said


def _ends_well(scene: str, promises: int, broker: str | None = None) -> str:
    with played(scene, broker) as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0, said
    assert "BROKEN" not in said
    assert said.count("kept    ") == promises, said
    assert "shortened (default): MEMBERSYNC_" in said
    assert said.splitlines()[-1] == "every promise held"
    home = Path(re.findall(r"data and logs in (\S+)", said)[0])
    assert not home.exists()
    return said


def test_both_sides_drift_apart_and_all_of_it_is_found_explained_and_repaired() -> None:
    with played("SCENES['drift']") as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0, said
    assert "BROKEN" not in said
    assert said.count("kept    ") == PROMISES_OF_DRIFT, said
    for drift_class in DriftClass:
        assert f"\N{BOX DRAWINGS LIGHT VERTICAL} {spoken(drift_class)} " in said
    assert said.splitlines()[-1] == "every promise held"

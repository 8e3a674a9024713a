"""`membersync demo --scene NAME`: each story ends well, and says so only when it did."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.pipeline import spoken
from shared.reconciling import DriftClass
from tests.terminal import started

OUTAGE_S = 8
ENOUGH_S = 240
"""Half a minute on a machine that has nothing else to do."""
PROMISES_OF_DRIFT = 10
PLAY = """
import sys
from deploy.local.demo import demo
from deploy.local.scene_downtime import oic, outage
from shared.settings import settings
sys.exit(demo(settings(), scene={scene}))
"""


@contextmanager
def played(scene: str) -> Iterator[subprocess.Popen[str]]:
    free = {"MEMBERSYNC_API__PORT": "0", "MEMBERSYNC_FLOWER__PORT": "0"}
    with started("-c", PLAY.format(scene=scene), **free) as process:
        yield process


@pytest.mark.parametrize(
    ("scene", "promises"),
    [
        (f"outage({OUTAGE_S})", 8),
        (f"oic({OUTAGE_S})", 9),
        ("'dead-letter'", 7),
        ("'guard'", 9),
        ("'incident'", 7),
    ],  # "overtaken" is played in test_demo, where it is kept
)
def test_every_promise_of_a_scene_is_kept(scene: str, promises: int) -> None:
    with played(scene) as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0, said
    assert "BROKEN" not in said
    assert said.count("kept    ") == promises, said
    assert "shortened (default): MEMBERSYNC_" in said
    assert said.splitlines()[-1] == "every promise held"
    home = Path(re.findall(r"data and logs in (\S+)", said)[0])
    assert not home.exists()


def test_both_sides_drift_apart_and_all_of_it_is_found_explained_and_repaired() -> None:
    with played("'drift'") as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0, said
    assert "BROKEN" not in said
    assert said.count("kept    ") == PROMISES_OF_DRIFT, said
    for drift_class in DriftClass:
        assert f"\N{BOX DRAWINGS LIGHT VERTICAL} {spoken(drift_class)} " in said
    assert said.splitlines()[-1] == "every promise held"

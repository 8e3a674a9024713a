"""A demo without its stack: who interrupts it is heard, and what speaks against a promise makes it fail."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import demo
from deploy.local.demo_run import DemoRun, Scene, event, outdated
from deploy.local.stack import Stack
from deploy.sandbox.server import SandboxControl
from shared.settings import Settings

NOWHERE = "http://127.0.0.1:9"
Played = Callable[[Callable[[DemoRun], None]], tuple[int, str, Path]]


@contextmanager
def no_stack(settings: Settings, **_: object) -> Iterator[Stack]:
    with SandboxControl(NOWHERE) as control:
        yield Stack(settings.home, settings, {}, control, NOWHERE, NOWHERE, "flower", "p", dict)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Played:
    """Play a scene; gives its exit code, what was said, and its home."""
    monkeypatch.setattr(demo, "running_stack", no_stack)

    def play(act: Callable[[DemoRun], None]) -> tuple[int, str, Path]:
        code = demo.demo(Settings(_env_file=None), scene=Scene("A story.", act, {}))
        said = "".join(capsys.readouterr())
        return code, said, Path(re.findall(r"data and logs in (\S+)", said)[0])

    return play


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_runs_it_ends_at_once_and_leaves_nothing(played: Played, number: signal.Signals) -> None:
    def act(run: DemoRun) -> None:
        run.promise("so far")
        os.kill(os.getpid(), number)
        run.wait(60)
        run.promise("never said")

    code, said, home = played(act)
    assert code == 130
    assert said.endswith("kept    so far\nmembersync demo: interrupted\n")
    assert not home.exists()


def test_a_scene_in_which_a_promise_is_broken_fails_and_its_logs_stay(played: Played) -> None:
    def act(run: DemoRun) -> None:
        run.promise("nobody is lost")
        run.promise("CrowdTwist has all members", outdated([{"third_party_id": "stranger", "last_name": "S"}], {}))
        run.promise("Siebel shows it")

    code, said, home = played(act)
    assert code == 1
    assert said.count("kept    ") == 2
    assert "BROKEN  CrowdTwist has all members\n          stranger: nobody sent it\n" in said
    assert said.endswith(f"what happened is in {home / 'logs'}\nmembersync demo: a promise was broken, see above\n")
    assert home.exists()
    home.rmdir()


def test_what_crowdtwist_holds_is_compared_with_the_newest_version() -> None:
    held = [{"third_party_id": number, "last_name": event(number, 1)["member"]["last_name"]} for number in ("A", "B")]
    assert outdated(held, {"A": 1, "B": 1}) == []
    assert outdated(held, {"A": 1, "B": 2, "C": 0}) == [
        "B: CrowdTwist has Version 1, not Version 2",
        "C: CrowdTwist has None, not Version 0",
    ]

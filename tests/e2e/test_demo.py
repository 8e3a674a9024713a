"""`membersync demo`: it shows and checks what happened, and does not say that all is well when it is not."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.terminal import started

PROMISES = 8
ENOUGH_S = 110.0


@contextmanager
def demo(*arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    free = {"MEMBERSYNC_API__PORT": "0", "MEMBERSYNC_FLOWER__PORT": "0"}
    with started("-m", "producers.cli", "demo", *arguments, **free, **more) as process:
        yield process


def said_until(process: subprocess.Popen[str], words: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if words in line:
            return lines
    raise AssertionError("\n".join(lines))


def test_it_ends_well_within_two_minutes_with_a_table_two_timelines_and_every_promise_kept() -> None:
    with demo() as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0, said
    assert said.count("kept    ") == PROMISES
    assert "BROKEN" not in said
    assert said.splitlines()[-1] == "every promise held"
    for outcome in ("completed", "rejected", "superseded", "unchanged", "skipped", "duplicate", "conflict", "refused"):
        assert re.search(rf"│ {outcome} +│ +[1-9]\d* ", said), outcome
    assert re.search(r"Member 296-\d+: went through the outage", said)
    assert re.search(r"Member 296-\d+: Data Error", said)
    assert "Email Address is already taken [instance " in said
    assert "HTTP 503" in said
    home = Path(re.findall(r"data and logs in (\S+)", said)[0])
    assert not home.exists()


def test_a_scene_that_there_is_not_is_refused() -> None:
    with demo("--scene", "nonsense") as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 2
    assert "there is no scene nonsense; there are outage, oic, dead-letter, overtaken" in said


def test_a_home_with_somebody_elses_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with demo(MEMBERSYNC_HOME=str(tmp_path)) as process:
        said, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 1
    assert "is not empty" in said


def test_interrupted_while_it_starts_it_ends_and_leaves_nothing() -> None:
    """What interrupts it while it runs: tests/unit/test_demo_run.py."""
    with demo() as process:
        lines = said_until(process, "postgres ")
        process.terminate()
        assert process.wait(60) == 130
    assert not Path(re.findall(r"data and logs in (\S+)", lines[0])[0]).exists()


def test_a_scene_that_is_kept_runs_on_until_it_is_told_to_stop(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with demo("--scene", "overtaken", "--keep", MEMBERSYNC_HOME=str(home)) as process:
        lines = said_until(process, "still running")
        told = "\n".join(lines)
        assert "BROKEN" not in told
        assert told.count("kept    ") == 8, told
        assert "shortened (default): MEMBERSYNC_" in told
        assert str(home) in lines[-1]
        assert process.stdout is not None
        url = re.findall(r"api (http://\S+)", process.stdout.readline())[0]
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout.read().splitlines()[-1] == "every promise held"
    assert (home / "logs").exists()

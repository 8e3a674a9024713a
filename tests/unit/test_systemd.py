"""The units of deploy/systemd are valid, may do little, and know the product that they run."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.pipeline import QUEUES
from tests.deployed import DEPLOY, LONGEST_CALL_S, SECRETS, SETTINGS, queues_of, understood

UNITS = DEPLOY / "systemd"
SERVICES = sorted(file.name for file in UNITS.glob("*.service"))
EACH = pytest.mark.parametrize("service", SERVICES)
SYSTEM = "etc/systemd/system"
EXPOSED_AT_MOST = 20  # of 100, by systemd's own reckoning; 15 when this was written
Unit = dict[str, list[str]]


def read(service: str) -> Unit:
    """Return a unit with what is said of all of ours, as systemd joins them: each option with its values in order."""
    found: Unit = {}
    for file in (UNITS / service, *sorted((UNITS / "membersync-.service.d").iterdir())):
        for name, value in re.findall(r"^(\w+)=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name, []).append(value)
    return found


def command(service: str) -> list[str]:
    (line,) = read(service)["ExecStart"]
    program, *arguments = shlex.split(line)
    assert program == "/opt/membersync/bin/membersync"
    return ["membersync", *arguments]


def instances() -> Iterator[str]:
    """Name every unit as it is started: of a template the first."""
    for service in SERVICES:
        yield service.replace("@.", f"@{read(service).get('DefaultInstance', [''])[0]}.")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host that has the units, and a program where they look for it."""
    shutil.copytree(UNITS, tmp_path / SYSTEM)
    for name in ("sysinit.target", "basic.target", "network-online.target", "-.slice"):  # every host's own
        (tmp_path / SYSTEM / name).write_text("[Unit]\nDescription=of the host\n", encoding="utf-8")
    program = tmp_path / "opt/membersync/bin/membersync"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return tmp_path


def systemd_analyze(*asked: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs systemd-analyze (Debian: systemd)")
    return subprocess.run([tool, *asked], capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_wrong_with_the_units(host: Path) -> None:
    ran = systemd_analyze("verify", "--man=no", f"--root={host}", "membersync.target", *instances())
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_slip_of_the_pen_would_be_found(host: Path) -> None:
    unit = host / SYSTEM / "membersync-api.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("TimeoutStopSec", "TimeoutStopSecs"), encoding="utf-8")
    ran = systemd_analyze("verify", "--man=no", f"--root={host}", unit.name)
    assert "TimeoutStopSecs" in ran.stderr


def test_no_process_may_much(host: Path) -> None:
    limit = f"--threshold={EXPOSED_AT_MOST}"
    ran = systemd_analyze("security", "--offline=true", "--no-pager", limit, f"--root={host}", *instances())
    assert ran.returncode == 0, ran.stdout


def test_every_queue_has_a_worker() -> None:
    parsed = [understood(command(service)) for service in SERVICES]
    assert set(queues_of(parsed)) == set(QUEUES)
    assert {one["name"] for one in parsed} == {"api", "dispatcher", "worker", "flower", "migrate"}


@EACH
def test_a_unit_belongs_to_the_target_and_is_always_there(service: str) -> None:
    unit = read(service)
    assert unit["PartOf"] == ["membersync.target"]
    assert set(unit["WantedBy"]) == {"membersync.target"}
    assert unit["StartLimitIntervalSec"] == ["0"]
    if service == "membersync-migrate.service":
        assert (unit["Type"], unit["Restart"], unit["TimeoutStartSec"]) == (["oneshot"], ["on-failure"], ["infinity"])
    else:
        assert (unit["Type"], unit["Restart"]) == (["exec"], ["always"])
        assert any("membersync-migrate.service" in value.split() for value in unit["After"])


@EACH
def test_a_process_may_finish_its_calls_before_it_is_killed(service: str) -> None:
    unit = read(service)
    assert unit["KillMode"] == ["mixed"]
    if service != "membersync-migrate.service":  # which nobody waits for, and which can be killed
        makes_calls = command(service)[1] in {"api", "worker"}
        (stops_within_s,) = map(int, unit["TimeoutStopSec"])
        assert stops_within_s > (LONGEST_CALL_S + 5 if makes_calls else 10)


@EACH
def test_settings_are_settings_and_secrets_stay_in_their_file(service: str) -> None:
    unit = read(service)
    named = dict(line.split("=", 1) for line in unit["Environment"])
    assert named.keys() <= SETTINGS - SECRETS
    assert unit["EnvironmentFile"] == ["/etc/membersync/.env"]
    assert [f"/var/lib/{name}" for name in unit["StateDirectory"]] == [named["MEMBERSYNC_HOME"]]
    # Two of them on one host.
    assert [f"%t/{name}" for name in unit["RuntimeDirectory"]] == [named["MEMBERSYNC_HEALTH__FOLDER"]] == ["%t/%N"]
    if "dispatcher" in service:
        assert "%i" in named["MEMBERSYNC_DISPATCHER__METRICS_PORT"]


def test_the_user_is_made_before_anybody_runs_as_it(tmp_path: Path) -> None:
    tool = shutil.which("systemd-sysusers")
    if tool is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs systemd-sysusers (Debian: systemd)")
    (tmp_path / "etc").mkdir()
    made = subprocess.run(
        [tool, f"--root={tmp_path}", UNITS / "sysusers.conf"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (line,) = (tmp_path / "etc/passwd").read_text(encoding="utf-8").splitlines()
    name, *_, home, shell = line.split(":")
    for service in SERVICES:
        assert read(service)["User"] == read(service)["Group"] == [name]
    assert (home, shell) == ("/var/lib/membersync", "/usr/sbin/nologin")

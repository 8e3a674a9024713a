"""What deployment starts exists: every command line is parsed by the program that it calls, none is run."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import programs
from deploy.local.supervisor import Program
from shared.pipeline import QUEUES, Lane
from shared.settings import Settings
from tests.commands import parse
from tests.composed import interpolated, planned, trial
from tests.deployed import DEPLOY, LONGEST_CALL_S, SETTINGS, queues_of, understood
from tests.image import TOOLS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("membersync:")}
UP = [
    programs.ours(Settings(), "migrate", "migrate"),
    programs.ours(Settings(), "dispatcher", "dispatcher"),
    *(programs.worker(Settings(), lane) for lane in Lane),
    *(programs.page(Settings(), name, 8001) for name in programs.PAGES),
]


def in_dockerfile(word: str) -> list[str]:
    found = re.findall(rf"^{word} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [str(part) for part in json.loads(found[-1])]


def in_dockerfile_line(word: str) -> str:
    return str(re.findall(rf"^{word} (.+)$", DOCKERFILE, re.MULTILINE)[-1])


def command_line(service: dict[str, Any]) -> list[str]:
    return [*service.get("entrypoint", in_dockerfile("ENTRYPOINT")), *service.get("command", in_dockerfile("CMD"))]


@pytest.mark.parametrize("name", OURS)
def test_compose_starts_only_what_the_command_line_understands(name: str) -> None:
    understood(command_line(OURS[name]))


@pytest.mark.parametrize("program", UP, ids=lambda program: program.name)
def test_up_starts_only_what_the_command_line_understands(program: Program) -> None:
    _, option, module, *arguments = map(str, program.argv)
    assert (option, module) == ("-m", "producers.cli")
    assert parse(arguments)[0] == arguments[0]


def test_the_image_starts_with_the_command_line_of_the_project() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert in_dockerfile("ENTRYPOINT") == list(scripts)
    assert in_dockerfile("CMD") == ["--help"]


def test_every_file_that_the_image_is_built_from_is_there_and_let_in() -> None:
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert f"!{source.split('/')[0]}" in ignored


def test_the_image_runs_as_nobody_special_and_stops_in_order() -> None:
    user = in_dockerfile_line("USER")
    assert re.fullmatch(r"([1-9]\d*):([1-9]\d*)", user), "Kubernetes cannot see that a name is not root's"
    assert f"--uid {user.split(':')[0]}" in DOCKERFILE
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)
    assert all(service["read_only"] for service in OURS.values())


def test_the_image_is_built_by_the_tools_that_are_fetched_for_it() -> None:
    named = re.search(r"wanted = /\^\(([a-z|-]+)\)==/", DOCKERFILE)
    assert named
    assert set(named[1].split("|")) == TOOLS
    assert _pinned("requirements.lock").keys() >= TOOLS


def test_every_queue_has_a_worker_in_compose() -> None:
    parsed = [understood(command_line(service)) for service in OURS.values() if service["profiles"] == ["app"]]
    assert set(queues_of(parsed)) == set(QUEUES)


def test_every_queue_has_a_worker_in_up() -> None:
    assert set(queues_of([understood(["membersync", *map(str, program.argv[3:])]) for program in UP])) == set(QUEUES)


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_every_service_says_whether_it_is_well_and_may_finish_its_work(name: str) -> None:
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    if name in OURS:
        understood([str(part) for part in command])
    assert re.fullmatch(r"\d+s", SERVICES[name]["stop_grace_period"])


def test_whoever_calls_may_finish_its_calls_before_it_is_killed() -> None:
    for name, service in OURS.items():
        assert int(service["stop_grace_period"].rstrip("s")) > LONGEST_CALL_S, name
    assert all(programs.worker(Settings(), lane).grace_s > LONGEST_CALL_S for lane in Lane)


def test_each_service_belongs_to_one_profile_and_a_trial_has_them_all() -> None:
    profiles = {name: tuple(service["profiles"]) for name, service in SERVICES.items()}
    assert set(profiles.values()) == {("app",), ("sandbox",), ("observe",)}
    assert {name for name, profile in profiles.items() if profile == ("app",)} == {
        *("migrate", "api", "dispatcher", "worker-live", "worker-bulk", "flower", "postgres", "valkey")
    }
    assert {one.service for one in planned(trial(), "10.0.0.0/24")} == set(SERVICES)


def test_a_trial_says_all_that_must_be_said_and_nothing_that_is_no_setting() -> None:
    said = trial()
    assert {name for name in said if name.startswith("MEMBERSYNC_")} <= SETTINGS
    for name in {
        *re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT),
        *re.findall(r"^    environment: (\w+)$", COMPOSE_TEXT, re.MULTILINE),
    }:
        assert said[name], name
    roles = {one["role"] for one in json.loads(said["MEMBERSYNC_API__TOKENS"]).values()}
    assert roles == {"admin", "viewer", "producer"}
    assert json.loads(said["MEMBERSYNC_API__TOKENS"])[said["VIEWER_TOKEN"]]["role"] == "viewer"


def test_variables_of_compose_are_replaced_as_compose_does_it() -> None:
    known = {"A": "a", "EMPTY": ""}
    for said, meant in {
        "${A} $$A ${B:-b} ${B:-x${A}} ${EMPTY:-e}": "a $A b xa e",
        "${EMPTY-e}|${B-b}|${A:?no}|${B:-http://h:${EMPTY:-80}}": "|b|a|http://h:80",
    }.items():
        assert interpolated({"x": [said]}, known) == {"x": [meant]}
    with pytest.raises(ValueError, match="EMPTY: set it"):
        interpolated("${EMPTY:?set it}", known)


def test_what_observes_finds_what_it_is_to_look_at() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target for job in scraped for one in job["static_configs"] for target in one["targets"]}
    names = {name for one in planned(trial(), "10.0.0.0/24") for name in (one.name, one.service)}
    assert {target.partition(":")[0] for target in targets} <= names
    ports = {f"{name}:{port}" for name, service in OURS.items() for port in _listens_at(service)}
    assert {re.sub(r"^membersync-([a-z]+)-\d+:", r"\1:", target) for target in targets} == ports
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == f"http://prometheus:{SERVICES['prometheus']['ports'][0].rpartition(':')[2]}"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/dashboards.yml").read_text(encoding="utf-8"))["providers"]
    mounted = dict(reversed(volume.split(":")[:2]) for volume in SERVICES["grafana"]["volumes"])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert str(Path(home).parent) == provider["options"]["path"]
    assert mounted[home] == "./grafana/membersync.json"


def test_every_file_that_compose_mounts_is_there_and_every_volume_is_declared() -> None:
    declared = yaml.safe_load(COMPOSE_TEXT)["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in declared, volume


def _listens_at(service: dict[str, Any]) -> Iterator[str]:
    for name, value in service.get("environment", {}).items():
        if re.fullmatch(r"MEMBERSYNC_(API|FLOWER)__PORT|MEMBERSYNC_DISPATCHER__METRICS_PORT", name):
            yield value


def test_nothing_starts_before_the_schema_is_there() -> None:
    for name, service in OURS.items():
        if name not in {"migrate", "sandbox"}:
            assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_no_secret_is_written_down_and_none_may_be_forgotten() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKENS|API_KEY|SECRET|AUTH", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}|/run/secrets/\w+", value), (name, variable)
    assert not re.search(r"://[^@\s]*:(?!\$)[^@\s$]+@", COMPOSE_TEXT)


def test_every_setting_that_compose_makes_is_a_setting() -> None:
    made = {variable for service in OURS.values() for variable in service.get("environment", {})}
    assert made
    assert made <= SETTINGS


def test_the_broker_keeps_what_it_has_and_drops_nothing() -> None:
    command = " ".join(SERVICES["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_image_has_the_versions_that_were_tested() -> None:
    built, tested = _pinned("requirements-image.lock"), _pinned("requirements.lock")
    assert built.items() <= tested.items()
    assert not {"pytest", "ruff", "mypy", "hypothesis"} & built.keys()


def test_the_bench_adds_to_what_was_tested_and_changes_nothing_of_it() -> None:
    added, tested = _pinned("requirements-bench.lock"), _pinned("requirements.lock")
    assert {name: version for name, version in added.items() if name in tested}.items() <= tested.items()
    assert not {"arq", "dramatiq", "huey", "pgqueuer", "procrastinate", "rq", "saq", "taskiq"} & tested.keys()


def test_a_lock_keeps_what_is_pinned_unless_it_is_to_be_upgraded() -> None:
    said = {
        upgrade: subprocess.run(  # -n: what it would run
            ["make", "-n", "lock", *upgrade],  # noqa: S607
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for upgrade in ((), ("UPGRADE=1",))
    }
    assert [(text.count("pip compile"), text.count("--upgrade")) for text in said.values()] == [(4, 0), (4, 4)]


def _pinned(lock: str) -> dict[str, str]:
    pin = re.compile(r"^([a-z0-9._-]+(?:\[[a-z,]+\])?)==(\S+)", re.MULTILINE)
    return dict(pin.findall((ROOT / "deploy" / lock).read_text(encoding="utf-8")))

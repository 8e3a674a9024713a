"""What is in the image, and what it does: every service of deploy/compose.yaml, from it, until members are through.

What stands for PostgreSQL, Valkey and Prometheus is said in `tests.composed`.
"""

import json
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.programs import free_port
from deploy.sandbox.server import SandboxControl
from tests.composed import Composed, composed, trial
from tests.image import NAME, ImageError, Store, build, bytes_over_base, need_image, own_store, runs_with
from tests.rig import eventually, member_event

pytestmark = pytest.mark.timeout(600)  # a build, where others compute too
PUBLISHED = ("API", "FLOWER", "PROMETHEUS", "GRAFANA", "SANDBOX")
MOST_BYTES = 250_000_000
TOLD_EARLY = """
import os, signal, sys, types, producers.cli
sys.modules["producers.cli.app"] = types.SimpleNamespace(run=lambda _: os.kill(os.getpid(), signal.SIGTERM))
if os.getpid() == 1:
    producers.cli.main()
"""
LOOK = """
import importlib.metadata, json, os, pathlib, sys
site = pathlib.Path(sys.prefix)
json.dump({
    "python": sys.version.split()[0],
    "user": os.getuid(),
    "installed": sorted(one.name.lower().replace("_", "-") for one in importlib.metadata.distributions()),
    "tests": [str(one) for one in site.rglob("*") if one.is_dir() and one.name in {"test", "tests", "testing"}],
    "wheels": [str(one) for one in site.rglob("*.whl")],
    "uncompiled": [str(one) for one in site.rglob("*.py")
                   if not list(one.parent.glob(f"__pycache__/{one.stem}.cpython-*.pyc"))],
    "writable": [root for root, _, _ in os.walk("/") if not root.startswith(("/proc", "/sys", "/dev"))
                 and os.access(root, os.W_OK)],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    need_image()
    with own_store() as one:
        build(one)
        yield one


def test_the_image_is_small_and_says_what_it_is(store: Store) -> None:
    assert 10_000_000 < bytes_over_base(store) < MOST_BYTES
    (image,) = json.loads(store.podman("image", "inspect", NAME))
    labels = {name.rpartition(".")[2]: value for name, value in image["Labels"].items()}
    assert labels["title"] == "membersync"
    assert labels["version"]
    assert image["Config"]["Entrypoint"] == ["membersync"]


def test_the_image_has_what_the_lock_names_once_and_neither_tools_nor_tests(store: Store) -> None:
    bare = ("--rm", "--network", "none", "--read-only", "--read-only-tmpfs=false", "--entrypoint", "python")
    found = json.loads(store.run(*bare, command=("-I", "-c", LOOK)))
    assert found["installed"] == sorted(["membersync", *(one.name for one in runs_with(found["python"]))])
    assert {what: found[what] for what in ("user", "tests", "wheels", "uncompiled", "writable")} == {
        "user": 10001,
        "tests": [],
        "wheels": [],
        "uncompiled": [],
        "writable": [],
    }


def test_who_is_told_to_stop_while_it_still_imports_ends(store: Store) -> None:
    bare = ("--rm", "--network", "none", "--read-only", "--read-only-tmpfs=false", "--entrypoint", "python")
    with pytest.raises(ImageError):
        store.run(*bare, command=("-c", TOLD_EARLY))


@pytest.fixture(scope="module")
def services(store: Store) -> Iterator[Composed]:
    with composed(store, trial() | {f"{name}_PUBLISHED_PORT": str(free_port()) for name in PUBLISHED}) as running:
        yield running


def _at(services: Composed, name: str) -> str:
    """Return where a service is published on this machine."""
    host, port, _ = str(services[name].says["ports"][0]).split(":")
    return f"http://{host}:{port}"


def test_every_service_gets_well_and_members_get_through(services: Composed) -> None:
    assert [one.service for one in services.not_here] == ["grafana"]
    assert [one.service for one in services.started].count("dispatcher") == 2
    assert _statuses_after(services, "C-1", "C-2", "C-3", lane="live") == {"Success"}
    assert _statuses_after(services, "C-4", lane="bulk") == {"Success"}
    eventually(lambda: _scraped(services) == {"up": 4}, f"Prometheus: {_scraped(services)}")


def test_a_killed_process_is_started_again_and_nothing_is_lost(services: Composed) -> None:
    services.kill(services["worker-live"])
    services.wait(services["worker-live"])
    assert _statuses_after(services, "C-5", lane="live") == {"Success"}
    assert services.inspected(services["worker-live"])["RestartCount"] == 1


def test_each_ends_in_time_when_it_is_told_to_and_has_written_nowhere(services: Composed) -> None:
    changed = {line for one in services.ours() for line in services.changes(one)}
    assert changed <= {"C /etc"}, "besides /etc/hosts and the like, which podman mounts there"
    services.stop(*services.ours())
    services.stop(*(services[name] for name in ("prometheus", "valkey", "postgres")))
    assert {one.name: services.inspected(one)["State"]["ExitCode"] for one in services.started} == {
        one.name: 0 for one in services.started
    }
    for one in services.ours():
        assert "Read-only file system" not in services.log(one), one.name
        assert "Traceback" not in services.log(one), one.name


def _statuses_after(services: Composed, *numbers: str, lane: str) -> set[str]:
    """Send a change of each member; return the statuses that Siebel shows of them in the end."""
    events = [member_event(number) | {"lane": lane} for number in numbers]
    api = f"{_at(services, 'api')}/v1/member-events"
    answer = httpx.post(api, json=events, headers={"Authorization": "Bearer trial-siebel"}, trust_env=False)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    assert {one["outcome"] for one in answer.json()["results"]} == {"accepted"}
    with SandboxControl(_at(services, "sandbox")) as outside:

        def shown() -> list[str]:
            return [str((outside.member(number) or {}).get("status") or "") for number in numbers]

        eventually(lambda: all(shown()), f"Siebel shows {shown()}")
        return {*shown()}


def _scraped(services: Composed) -> dict[str, int]:
    """Return how many targets Prometheus finds in which health."""
    asked = f"{_at(services, 'prometheus')}/api/v1/targets"
    return Counter(one["health"] for one in httpx.get(asked, trust_env=False).json()["data"]["activeTargets"])

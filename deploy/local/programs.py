"""The programs of a stack: their command lines, environments and manners of stopping."""

import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from deploy.local.embedded_server import LOOPBACK, free_port
from deploy.local.environment import environment, variables
from deploy.local.processes import Program
from shared.addresses import hosts
from shared.pipeline import Lane, Stage
from shared.settings import Settings

__all__ = ["Program", "api", "flower", "ours", "pointed_at", "sandbox", "variables", "worker"]

_CODE = Path(__file__).parents[2]
_WORKER_GRACE_S = 40.0
"""A worker waits for its calls under way, each of which is bounded by its time-out."""


def ours(settings: Settings, name: str, *arguments: str, grace_s: float = 10.0) -> Program:
    """Give the program `membersync ARGUMENTS…`.

    Run as a module, not as the console script: that one is on no PATH while its venv is not activated.
    """
    return Program(
        name,
        [sys.executable, "-m", "producers.cli", *arguments],
        env=environment(settings),
        cwd=_CODE,
        log=settings.home / "logs" / f"{name}.log",
        grace_s=grace_s,
    )


def api(settings: Settings, port: int) -> Program:
    """Give the api's program for a port."""
    return ours(settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})}), "api", "api")


def flower(settings: Settings, port: int) -> Program:
    """Give Flower's program for a port."""
    changed = settings.flower.model_copy(update={"port": port})
    return ours(settings.model_copy(update={"flower": changed}), "flower", "flower")


def worker(settings: Settings, lane: Lane) -> Program:
    """Give the program of a lane's worker."""
    return ours(settings, f"worker-{lane}", "worker", "--lane", lane, grace_s=_WORKER_GRACE_S)


def sandbox(settings: Settings, simulated: frozenset[Stage], control_port: int) -> tuple[Program, dict[str, str]]:
    """Give the simulators' program, and their addresses by name.

    The ports are named, so that a restart finds them again; what they hold is kept in ``home/sandbox.json``.
    """
    ports = {"control": control_port} | {stage.value: free_port() for stage in sorted(simulated)}
    state = settings.home / "sandbox.json"
    program = Program(
        "sandbox",
        [sys.executable, "-m", "deploy.sandbox", *_options(ports), "--state-file", state],
        cwd=_CODE,
        log=settings.home / "logs" / "sandbox.log",
    )
    return program, {name: hosts.url(LOOPBACK, port) for name, port in ports.items()}


def _options(ports: Mapping[str, int]) -> list[str]:
    return [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]


def pointed_at(sandbox: Mapping[str, str], settings: Settings) -> Settings:
    """Give *settings* with the addresses of these simulators, and what they take for credentials."""
    changes: dict[str, object] = {}
    for stage in Stage:
        if stage in sandbox:
            update = {"base_url": sandbox[stage], **_credentials(stage, sandbox[stage])}
            changes[stage.value] = settings.connection(stage).model_copy(update=update)
    return settings.model_copy(update=changes)


def _credentials(stage: Stage, url: str) -> dict[str, object]:
    match stage:
        case Stage.OIC:
            token_url = f"{url}/oauth2/v1/token"
            return {
                "token_url": token_url,
                "client_id": "membersync",
                "client_secret": SecretStr("secret"),
                "scope": "",
            }
        case Stage.CROWDTWIST:
            return {"api_key": SecretStr("sandbox-key")}
        case Stage.SIEBEL:
            return {"username": "SADMIN", "password": SecretStr("SADMIN"), "token": None}

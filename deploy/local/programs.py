"""The programs of a stack: their command lines, environments and manners of stopping."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.supervisor import Program
from shared.addresses import hosts
from shared.pipeline import Lane, Stage
from shared.settings import Settings

PREFIX = "MEMBERSYNC_"
PAGES = {"api": "the api", "flower": "Flower"}
"""What has a port and an address of its own: the name of its settings and of its command, and what it is called."""

_CODE = Path(__file__).parents[2]
_WORKER_GRACE_S = 40.0
"""A worker waits for its calls under way, each of which is bounded by its time-out."""


def ours(settings: Settings, name: str, *arguments: str, grace_s: float = 10.0) -> Program:
    """Return the program `membersync ARGUMENTS…`.

    Run as a module, not as the console script: that one is on no PATH while its venv is not activated.
    """
    return Program(
        name,
        [sys.executable, "-m", "producers.cli", *arguments],
        env=inherited_environment() | dict(variables(settings)),
        cwd=_CODE,
        log=settings.home / "logs" / f"{name}.log",
        grace_s=grace_s,
    )


def at_port(settings: Settings, name: str, port: int) -> Settings:
    """Return *settings* with a port for one of `PAGES`."""
    return settings.model_copy(update={name: getattr(settings, name).model_copy(update={"port": port})})


def page(settings: Settings, name: str, port: int) -> Program:
    """Return the program of one of `PAGES` for a port."""
    return ours(at_port(settings, name, port), name, name)


def worker(settings: Settings, lane: Lane) -> Program:
    """Return the program of a lane's worker."""
    return ours(settings, f"worker-{lane}", "worker", "--lane", lane, grace_s=_WORKER_GRACE_S)


def sandbox(settings: Settings, simulated: frozenset[Stage], control_port: int) -> tuple[Program, dict[str, str]]:
    """Return the simulators' program, and their addresses by name.

    The ports are named, so that a restart finds them again; what they hold is kept in ``home/sandbox.json``.
    """
    ports = {"control": control_port} | {stage.value: free_port() for stage in sorted(simulated)}
    options = [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
    state = settings.home / "sandbox.json"
    program = Program(
        "sandbox",
        [sys.executable, "-m", "deploy.sandbox", *options, "--state-file", state],
        cwd=_CODE,
        log=settings.home / "logs" / "sandbox.log",
    )
    return program, {name: hosts.url(LOOPBACK, port) for name, port in ports.items()}


def pointed_at(sandbox: Mapping[str, str], settings: Settings) -> Settings:
    """Return *settings* with the addresses of these simulators, and what they take for credentials."""
    credentials: dict[Stage, dict[str, object]] = {
        Stage.OIC: {"client_id": "membersync", "client_secret": SecretStr("secret"), "scope": ""},
        Stage.CROWDTWIST: {"api_key": SecretStr("sandbox-key")},
        Stage.SIEBEL: {"username": "SADMIN", "password": SecretStr("SADMIN"), "token": None},
    }
    changes: dict[str, object] = {}
    for stage in Stage:
        if url := sandbox.get(stage):
            update = {"base_url": url, **credentials[stage]}
            if stage is Stage.OIC:
                update["token_url"] = f"{url}/oauth2/v1/token"
            changes[stage.value] = settings.connection(stage).model_copy(update=update)
    return settings.model_copy(update=changes)


def inherited_environment() -> dict[str, str]:
    """Return our own environment without its settings: what a child needs is handed to it, a typing error is not."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}


def variables(model: BaseModel, prefix: str = PREFIX) -> Iterator[tuple[str, str]]:
    """Name every setting, secrets included, as `shared.settings` reads it from the environment; unset is empty."""
    for name, field in type(model).model_fields.items():
        value, variable = getattr(model, name), f"{prefix}{(field.alias or name).upper()}"
        match value:
            case BaseModel():
                yield from variables(value, f"{variable}__")
            case None:
                yield variable, ""
            case SecretStr():
                yield variable, value.get_secret_value()
            case dict() | list():
                yield variable, json.dumps(to_jsonable_python(value))
            case _:
                yield variable, str(value)

"""The programs of a stack: their command lines, environments and manners of stopping."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from deploy.local.embedded_server import LOOPBACK, free_port
from deploy.local.supervisor import Program
from shared.addresses import hosts
from shared.pipeline import Lane, Stage
from shared.settings import Settings

PREFIX = "MEMBERSYNC_"
_OF_OTHERS = {"MEMBERSYNC_TOKEN", "MEMBERSYNC_VERSION"}
"""Read by `membersync produce` and by compose.yaml."""


def environment(settings: Settings) -> dict[str, str]:
    """Give the whole environment of a child that shall run with *settings*, secrets included."""
    return {**_inherited(), **dict(variables(settings))}


def variables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name every setting as `shared.settings` reads it; unset is empty."""
    return _variables(settings, PREFIX)


def unknown(settings: Settings) -> list[str]:
    """Name the variables, of the environment and of `.env`, that look like settings and that nobody reads."""
    known = {name for name, _ in variables(settings)}
    groups = {name.rpartition("__")[0] for name in known}
    sources = (EnvSettingsSource(Settings), DotEnvSettingsSource(Settings))
    given = {name.upper() for source in sources for name in source.env_vars if name.upper().startswith(PREFIX)}
    # What a JSON setting holds may be given one by one: MEMBERSYNC_SIEBEL__FIELD_NAMES__ROW_ID.
    return sorted(
        name for name in given - known - groups - _OF_OTHERS if not any(name.startswith(f"{one}__") for one in known)
    )


def _inherited() -> Mapping[str, str]:
    """Give our own environment without its settings: what a child needs is in *settings*, a typing error is not."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}


def _variables(model: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in type(model).model_fields.items():
        value, variable = getattr(model, name), f"{prefix}{(field.alias or name).upper()}"
        if isinstance(value, BaseModel):
            yield from _variables(value, f"{variable}__")
        else:
            yield variable, _text(value)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case dict() | list():
            return json.dumps(to_jsonable_python(value))
        case _:
            return str(value)


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

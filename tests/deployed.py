"""What a deployment says, as the product itself understands it: command lines, queues, settings, secrets."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from deploy import health
from deploy.local import programs
from deploy.sandbox import __main__ as sandbox
from shared.pipeline import STAGES, Lane, Stage
from shared.probe_files import PROCESSES
from shared.settings import Settings
from tests.commands import parse

DEPLOY = Path(__file__).parents[1] / "deploy"
SETTINGS = frozenset(name for name, _ in programs.variables(Settings()))


def _secrets(of: BaseModel, prefix: str = programs.PREFIX) -> Iterator[str]:
    for name, field in type(of).model_fields.items():
        value, variable = getattr(of, name), f"{prefix}{(field.alias or name).upper()}"
        if isinstance(value, BaseModel):
            yield from _secrets(value, f"{variable}__")
        elif field.repr is False or name == "tokens" or "SecretStr" in str(field.annotation):
            yield variable


SECRETS = frozenset(_secrets(Settings()))
"""The settings that nobody may read: those of which no representation shows anything, and what is made of tokens."""
BESIDE = frozenset({"SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_HEADERS"})
"""What is read from the environment and is no setting."""
LONGEST_CALL_S = max(Settings().connection(stage).timeout_s for stage in Stage)


def understood(command: list[str]) -> dict[str, Any]:
    """Let the program that a command line calls take it; return what it understands.  Nothing is run."""
    match command:
        case ["membersync", *arguments]:
            name, params = parse(arguments)
            return {"name": name, **params}
        case ["python", "-m", "deploy.sandbox", *arguments]:
            return vars(sandbox.parse(arguments))
        case ["python", "-m", "deploy.health", question, process]:
            assert question in health.QUESTIONS
            assert process in PROCESSES
            return {}
        case ["python", "-c", code]:
            compile(code, "compose.yaml", "exec")
            return {}
        case ["sleep", seconds]:
            return {"seconds": int(seconds)}
    raise AssertionError(f"nobody here understands {shlex.join(command)}")


def queues_of(parsed: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Name the queues that the workers among what was understood take messages from."""
    for params in parsed:
        if params.get("name") == "worker":
            lanes = list(Lane) if params["lane"] is None else [params["lane"]]
            yield from (stage.queue(Lane(lane)) for stage in STAGES for lane in lanes)

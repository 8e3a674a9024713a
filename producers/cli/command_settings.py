"""The settings that a command runs with: the environment's, and where they name no server, the running stack's.

`membersync up` writes `<home>/stack.json`; with it, commands typed in a second terminal just work.
"""

import json
import os
from typing import Annotated

import typer

from deploy.local.programs import pointed_at
from producers.cli.command import TroubleError
from shared.pipeline import Stage
from shared.settings import Settings, settings

Port = Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="To listen on; 0: any.")]
_HINT = "set it, or run `membersync up` beside this"


def configured() -> Settings:
    """Return the settings.

    Raises:
        SettingsInvalidError: they are not valid.
    """
    return settings()


def with_servers() -> Settings:
    """Return the settings of a process that needs both ledger and broker.

    Raises:
        TroubleError: one of them is not set.
    """
    of = settings()
    for name, url in (("MEMBERSYNC_LEDGER_URL", of.ledger_url), ("MEMBERSYNC_BROKER_URL", of.broker_url)):
        if url is None:
            raise TroubleError(f"{name} is not set", "set it; only `membersync up` and `demo` start embedded servers")
    return of


def with_ledger() -> Settings:
    """Return the settings, with the running stack's ledger, and its broker, where they name none.

    Raises:
        TroubleError: there is no ledger to be found.
    """
    of = settings()
    if of.ledger_url:
        return of
    stack = _running_stack(of)
    if not isinstance(stack.get("ledger_url"), str):
        raise TroubleError(f"MEMBERSYNC_LEDGER_URL is not set, and no stack runs in {of.home.resolve()}", _HINT)
    names = ("ledger_url", "broker_url")
    return of.model_copy(update={name: stack[name] for name in names if not getattr(of, name) and name in stack})


def with_connections() -> Settings:
    """Return the settings; where they name no ledger and no addresses, those of the running stack, simulators included.

    Raises:
        TroubleError: there is no ledger to be found.
    """
    return _with_simulators(with_ledger())[0]


def at_hand() -> tuple[Settings, bool]:
    """Return the settings; where they name no servers and addresses, those of the running stack.

    Returns also whether it is that stack which the settings mean.

    Raises:
        SettingsInvalidError: they are not valid.
    """
    of = settings()
    stack = _running_stack(of)
    urls = {name: stack[name] for name in ("ledger_url", "broker_url") if not getattr(of, name) and stack.get(name)}
    return _with_simulators(of.model_copy(update=urls))


def port_setting(program: str, option: int | None) -> str:
    """Return what names a program's port: its setting, or the option that was typed."""
    return f"MEMBERSYNC_{program}__PORT" if option is None else "--port"


def _with_simulators(of: Settings) -> tuple[Settings, bool]:
    """Return *of* with the running stack's simulators for what has no address, and whether *of* means that stack."""
    stack = _running_stack(of)
    is_stack = bool(stack) and stack.get("ledger_url") == of.ledger_url
    sandbox = stack.get("sandbox")
    if not is_stack or not isinstance(sandbox, dict):
        return of, is_stack
    unset = [stage for stage in Stage if of.connection(stage).base_url is None]
    return pointed_at({stage: sandbox[stage] for stage in unset if stage in sandbox}, of), is_stack


def _running_stack(of: Settings) -> dict[str, object]:
    """Read what the running stack wrote; nothing where none runs, or its owner is somebody else."""
    try:
        document = json.loads((of.home / "stack.json").read_text(encoding="utf-8"))
        os.kill(int(document["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}

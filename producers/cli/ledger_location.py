"""Where the ledger is: as the settings say, or that of the stack which runs on this machine's home folder.

`membersync up` writes `<home>/stack.json`; with it, commands typed in a second terminal just work.
"""

import getpass
import json
import os
from pathlib import Path

from deploy.local.programs import pointed_at
from producers.cli.command_errors import TroubleError
from producers.operations.job_control import Operator
from shared.pipeline import Stage
from shared.settings import Settings, settings

_HINT = "set it, or run `membersync up` beside this"


def configured() -> Settings:
    """Read the settings.

    Raises:
        SettingsInvalidError: they are not valid.
    """
    return settings()


def with_ledger() -> Settings:
    """Read the settings, and find the running stack's ledger where they name none.

    Raises:
        TroubleError: there is no ledger to be found.
    """
    of = configured()
    if of.ledger_url:
        return of
    url = _running(of.home / "stack.json").get("ledger_url")
    if not isinstance(url, str):
        raise TroubleError(f"MEMBERSYNC_LEDGER_URL is not set, and no stack runs in {of.home.resolve()}", _HINT)
    return of.model_copy(update={"ledger_url": url})


def with_connections() -> Settings:
    """Read the settings; where they name no ledger and no addresses, those of the running stack, simulators included.

    Raises:
        TroubleError: there is no ledger to be found.
    """
    of = with_ledger()
    stack = _running(of.home / "stack.json")
    sandbox = stack.get("sandbox")
    if stack.get("ledger_url") != of.ledger_url or not isinstance(sandbox, dict):
        return of
    return pointed_at({stage: sandbox[stage] for stage in _unset(of) if stage in sandbox}, of)


def at_hand() -> tuple[Settings, bool]:
    """Read the settings; where they name no servers and addresses, those of the stack that runs on this home.

    Returns also whether it is that stack which the settings mean.

    Raises:
        SettingsInvalidError: they are not valid.
    """
    of = configured()
    stack = _running(of.home / "stack.json")
    urls = {name: stack[name] for name in ("ledger_url", "broker_url") if not getattr(of, name) and stack.get(name)}
    of = of.model_copy(update=urls)
    is_stack = bool(stack) and stack.get("ledger_url") == of.ledger_url
    sandbox = stack.get("sandbox")
    if not is_stack or not isinstance(sandbox, dict):
        return of, is_stack
    return pointed_at({stage: sandbox[stage] for stage in _unset(of) if stage in sandbox}, of), is_stack


def operator() -> Operator:
    """Say who types: whoever is logged in on this machine; whoever reaches the ledger may do everything."""
    try:
        return Operator(getpass.getuser(), "cli")
    except (KeyError, OSError):
        return Operator("unknown", "cli")


def with_servers() -> Settings:
    """Read the settings of a process that needs both ledger and broker.

    Raises:
        TroubleError: one of them is not set.
    """
    of = configured()
    for name, url in (("MEMBERSYNC_LEDGER_URL", of.ledger_url), ("MEMBERSYNC_BROKER_URL", of.broker_url)):
        if url is None:
            raise TroubleError(f"{name} is not set", "set it; only `membersync up` and `demo` start embedded servers")
    return of


def _unset(of: Settings) -> list[Stage]:
    return [stage for stage in Stage if of.connection(stage).base_url is None]


def _running(file: Path) -> dict[str, object]:
    """Read what the running stack wrote; nothing where none runs, or its owner is somebody else."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        os.kill(int(document["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}

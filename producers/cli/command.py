"""What a command is made of: its groups of options, its exit codes, its JSON, and what keeps it from running.

A command that takes a dataclass, or another `Group`, has an option for each part of it.  A trouble says what, why, and
what to do about it.
"""

import gc
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Annotated, get_type_hints

import orjson
import typer

from shared.errors import LedgerError, LedgerSlowError, SettingsInvalidError
from shared.garbage import search_seldom
from shared.hosts import PortError

DONE = 0
NOTHING = 1
"""Nothing matched, or all was refused."""
IMPOSSIBLE = 2
"""Wrongly asked, or something needed is not set or not there."""
UNHEARD = 1
"""A port cannot be listened on; as `up` and the servers of others end."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

CORRECT_SETTINGS = "correct them; see .env.example"
_NO_TABLE, _NO_COLUMN = "42P01", "42703"


def loaded(name: str) -> ModuleType:
    """Import a module with all that it needs, which stays: to look for garbage in it takes a third of a short command.

    It is looked through neither while it is loaded, nor later, nor at the end of the process.
    """
    if name not in sys.modules:
        gc.disable()
        try:
            import_module(name)
        finally:
            search_seldom()
            gc.enable()
    return sys.modules[name]


def print_json(content: object) -> None:
    """Print one JSON object."""
    typer.echo(orjson.dumps(content, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2).decode())


class TroubleError(Exception):
    """A command cannot do what was asked; *hint* says what to do about it, and it ends with *code*."""

    def __init__(self, what: str, hint: str = "", code: int = IMPOSSIBLE) -> None:
        super().__init__(what, hint, code)
        self.what = what
        self.hint = hint
        self.code = code


def trouble_of(error: Exception) -> TroubleError | None:
    """Return what *error* means to a person; None: it is a bug."""
    cause = str(error)
    trouble = error if isinstance(error, TroubleError) else None
    match error:
        case PortError():
            trouble = TroubleError(cause, code=UNHEARD)
        case SettingsInvalidError():
            trouble = TroubleError(cause, CORRECT_SETTINGS)
        case LedgerSlowError():
            trouble = TroubleError("the ledger took too long to find this", "narrow it: --state, --member, --since")
        case LedgerError() if _NO_TABLE in cause or _NO_COLUMN in cause:
            trouble = TroubleError("the ledger's schema is not that of this version", "run `membersync migrate`")
        case LedgerError():
            hint = "check MEMBERSYNC_LEDGER_URL and its server; `membersync doctor` says more"
            trouble = TroubleError(f"the ledger does not serve ({cause})", hint)
    return trouble


@dataclass(frozen=True, slots=True)
class Group:
    """Options that a command takes as one value: `where: Annotated[Filter, Group(…)]`.

    Shape: *build* makes the value of what was typed, by the names of *parameters*.
    """

    parameters: tuple[inspect.Parameter, ...]
    build: Callable[..., object]


def expanded(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return *command* with the options of each group in its place, arguments first."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Group] = {}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command).parameters.values():
        group = _group_of(hints[one.name])
        if group is None:
            parameters.append(one.replace(annotation=hints[one.name]))
        else:
            groups[one.name] = group
            parameters += group.parameters

    @wraps(command)
    def run(**given: object) -> int | None:
        for name, group in groups.items():
            given[name] = group.build(**{one.name: given.pop(one.name) for one in group.parameters})
        return command(**given)

    parameters.sort(key=lambda one: one.kind)
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _group_of(hint: object) -> Group | None:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Group):
            return extra
    if not (isinstance(hint, type) and is_dataclass(hint)):
        return None
    hints = get_type_hints(hint, include_extras=True)
    return Group(
        tuple(
            inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
            for one in fields(hint)
        ),
        hint,
    )

"""Groups of options: a command that takes a dataclass, or another `Group`, has an option for each part of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import get_type_hints


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

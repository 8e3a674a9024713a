"""The options of the filter: a command that takes a `Filter` gets one for each of its conditions."""

import inspect
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from types import GenericAlias
from typing import Any, Concatenate, ParamSpec, get_type_hints

import typer

from producers.operations.filtering import INSTANT_SAID, filter_of
from shared.ledger.filters import CONDITIONS, Condition, Filter
from shared.pipeline import spoken

P = ParamSpec("P")


def _help(row: Condition) -> str:
    help_ = f"{row.help[0].upper()}{row.help[1:]}"
    if issubclass(row.of, datetime):
        return f"{help_}: {INSTANT_SAID}."
    words = (word if spoken(word).lower() == word.lower() else f"{word} ({spoken(word)})" for word in row.choices)
    choice = f": {', '.join(words)}" if row.choices else ""
    return f"{help_}{choice}{'; repeat for several' if row.several else ''}."


def _completion(row: Condition) -> Callable[[str], Iterable[str]] | None:
    known = row.known
    return known and (lambda incomplete: [word for word in known() if word.startswith(incomplete)])


def _option(row: Condition) -> inspect.Parameter:
    of = str if issubclass(row.of, datetime) else row.of
    option = typer.Option(
        [] if row.several else None,
        f"--{row.name}",
        metavar=row.metavar or ("WHEN" if issubclass(row.of, datetime) else row.name.upper()),
        help=_help(row),
        case_sensitive=False,
        autocompletion=_completion(row),
    )
    annotation = GenericAlias(list, (of,)) if row.several else of | None
    return inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=annotation)


_OPTIONS = {row.name: _option(row) for row in CONDITIONS}


def filtered(command: Callable[Concatenate[Filter, P], None]) -> Callable[..., None]:
    """Return *command*, whose first parameter is a filter, with the options that make one before its own."""

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401  # as typer read it from the signature below
        try:
            where = filter_of(datetime.now(UTC), **{name: given.pop(name) for name in _OPTIONS})
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        command(where, **given)  # type: ignore[call-arg]  # the rest of that signature

    _, *own = inspect.signature(command).parameters.values()
    arguments = [one for one in own if one.kind is not one.KEYWORD_ONLY]
    options = [one for one in own if one.kind is one.KEYWORD_ONLY]
    run.__signature__ = inspect.Signature([*arguments, *_OPTIONS.values(), *options])  # type: ignore[attr-defined]
    hints = get_type_hints(command, include_extras=True)
    run.__annotations__ = {one.name: hints.get(one.name, one.annotation) for one in (*_OPTIONS.values(), *own)}
    return run

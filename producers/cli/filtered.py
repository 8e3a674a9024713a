"""The filter of spec section 5, said once: a command that takes a `Filter` gets the options of one."""

import inspect
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from producers.cli.completing import codes
from producers.operations.filtering import filter_of
from shared.ledger.filters import Filter
from shared.pipeline import Lane, Stage, State, SyncStatus, spoken

P = ParamSpec("P")
_INSTANT = "2026-11-23T08:51:00Z, a date, or an age: 15m, 2h, 7d"


def _listed(words: Iterable[str]) -> str:
    """List words of an option, each with what it is called elsewhere, where that is another."""
    return ", ".join(word if spoken(word).lower() == word else f"{word} ({spoken(word)})" for word in words)


def _options(  # noqa: PLR0913  # the words of spec section 5; typer reads this signature
    *,
    state: Annotated[
        list[State] | None, typer.Option("--state", metavar="STATE", help=f"Repeat for several: {_listed(State)}.")
    ] = None,
    stage: Annotated[
        list[Stage] | None,
        typer.Option("--stage", metavar="STAGE", help=f"Where it stands, or failed: {_listed(Stage)}."),
    ] = None,
    status: Annotated[
        list[SyncStatus] | None,
        typer.Option("--status", metavar="STATUS", case_sensitive=False, help=f"{', '.join(SyncStatus)}."),
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code", metavar="CODE", help="Why it failed: data_error, throttled, bug, …", autocompletion=codes
        ),
    ] = None,
    member: Annotated[list[str] | None, typer.Option("--member", metavar="NUMBER", help="Member number.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help=f"Accepted then or later: {_INSTANT}.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Accepted before then.")] = None,
    lane: Annotated[Lane | None, typer.Option("--lane", metavar="LANE", help=f"{' or '.join(Lane)}.")] = None,
    text: Annotated[
        str,
        typer.Option("--text", metavar="TEXT", help="Beginning of event id or member number, or part of the error."),
    ] = "",
) -> Filter:
    try:
        return filter_of(
            now=datetime.now(UTC),
            state=state or (),
            stage=stage or (),
            status=status or (),
            code=code or (),
            member=member or (),
            lane=lane,
            since=since,
            until=until,
            text=text,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


_FILTER = inspect.signature(_options).parameters


def filtered(command: Callable[Concatenate[Filter, P], None]) -> Callable[..., None]:
    """Give *command*, whose first parameter is a filter, the options that make one in its place, before its own."""

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401  # as typer read it from the signature below
        where = _options(**{name: given.pop(name) for name in _FILTER})
        command(where, **given)  # type: ignore[call-arg]  # the rest of that signature

    _, *own = inspect.signature(command).parameters.values()
    arguments = [one for one in own if one.kind is not one.KEYWORD_ONLY]
    options = [one for one in own if one.kind is one.KEYWORD_ONLY]
    run.__signature__ = inspect.Signature([*arguments, *_FILTER.values(), *options])  # type: ignore[attr-defined]
    hints = get_type_hints(command, include_extras=True) | get_type_hints(_options, include_extras=True)
    run.__annotations__ = {name: hints[name] for name in (*_FILTER, *(one.name for one in own))}
    return run

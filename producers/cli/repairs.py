"""`membersync resend`: what CrowdTwist may have lost is sent to it once more."""

import inspect
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from producers.cli.command import Group
from producers.cli.dead_letters import Manner, carry_out
from producers.cli.terminal import FILTER_OPTIONS, where_of
from producers.operations.job_control import RESENT_MAX, Acknowledged, Ask
from producers.operations.reads import INSTANT_SAID, instant_of
from shared.ledger.jobs import Kind


def _acknowledged(
    acknowledged_since: str, acknowledged_until: str | None, limit: int | None, **words: str | Sequence[str] | None
) -> Acknowledged:
    now = datetime.now(UTC)
    try:
        since = instant_of("--acknowledged-since", acknowledged_since, now)
        until = instant_of("--acknowledged-until", acknowledged_until, now)
        return Acknowledged(where=where_of(**words), limit=limit or RESENT_MAX + 1, since=since, until=until)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _option(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_OPTIONS = (
    _option(
        "acknowledged_since",
        str,
        typer.Option(..., "--acknowledged-since", metavar="WHEN", help=f"Lost may be what came since: {INSTANT_SAID}."),
    ),
    _option(
        "acknowledged_until",
        str | None,
        typer.Option(None, "--acknowledged-until", metavar="WHEN", help="What it acknowledged then or later it has."),
    ),
    *FILTER_OPTIONS,
    _option(
        "limit",
        int | None,
        typer.Option(None, "--limit", metavar="N", min=1, max=RESENT_MAX, help="Only the newest so many."),
    ),
)
Lost = Annotated[Acknowledged, Group(_OPTIONS, _acknowledged)]
"""Whom CrowdTwist acknowledged since, and may have lost."""


def resend(
    lost: Lost,
    *,
    rate: Annotated[int | None, typer.Option("--rate", metavar="N", min=1, help="Members per minute.")] = None,
    recreate: Annotated[
        bool, typer.Option("--recreate", help="Create again whom it created since then and has no longer.")
    ] = False,
    manner: Manner,
) -> int:
    """Send CrowdTwist once more what it acknowledged; what is newer goes before it, and Siebel is told nothing."""
    return carry_out(Ask(Kind.RESEND, lost, manner.reason, rate, recreate=recreate), manner)

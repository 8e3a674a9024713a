"""`membersync resend` and `repair`: what CrowdTwist may have lost, and what a reconciliation found, is put right."""

import inspect
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from producers.cli.command import NOTHING, Group
from producers.cli.command_settings import with_ledger
from producers.cli.dead_letters import Manner, carry_out
from producers.cli.terminal import FILTER_OPTIONS, where_of
from producers.operations import job_control
from producers.operations.job_control import Ask
from producers.operations.job_selections import RESENT_MAX, Acknowledged, Differences
from producers.operations.reads import INSTANT_SAID, id_of, instant_of
from shared.ledger.engine import engine
from shared.ledger.jobs import Kind
from shared.reconciling import DriftClass


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


_LIMIT = _option(
    "limit",
    int | None,
    typer.Option(None, "--limit", metavar="N", min=1, max=RESENT_MAX, help="Only so many."),
)
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
    _LIMIT,
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


def _differences(
    run: str, drift_class: list[DriftClass], limit: int | None, **words: str | Sequence[str] | None
) -> Differences:
    run_id = id_of(run)
    if run_id is None:
        raise typer.BadParameter(f"{run} is no reconciliation's id")
    where = where_of(**words)
    return Differences(where=where, limit=limit or RESENT_MAX, run_id=run_id, classes=tuple(dict.fromkeys(drift_class)))


_RUN = inspect.Parameter(
    "run",
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    default=typer.Argument(..., metavar="RUN", help="The reconciliation's id."),
    annotation=str,
)
_CLASS = _option(
    "drift_class",
    list[DriftClass],
    typer.Option(
        [], "--class", metavar="CLASS", help=f"Only of this class; repeat for several: {', '.join(DriftClass)}."
    ),
)
Found = Annotated[Differences, Group((_RUN, _CLASS, *FILTER_OPTIONS, _LIMIT), _differences)]
"""What a reconciliation found."""


def repair(
    found: Found,
    *,
    rate: Annotated[int | None, typer.Option("--rate", metavar="N", min=1, help="Members per minute.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what two masters fight about: repaired twice.")] = False,
    manner: Manner,
) -> int:
    """Make events of Siebel's rows of this moment, or tell a status anew; orphans and who is gone are refused."""
    if not job_control.has_run(engine(with_ledger().ledger_url), found.run_id):
        typer.echo(f"there is no reconciliation {found.run_id}", err=True)
        return NOTHING
    return carry_out(Ask(Kind.REPAIR, found, manner.reason, rate, force=force), manner)

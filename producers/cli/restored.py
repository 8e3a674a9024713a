"""`membersync drop-checks`: a step of the way back from a ledger that was restored (the runbook has the others)."""

from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import operator
from producers.operations import restored
from producers.operations.job_control import AskError
from producers.operations.restored import NotPausedError
from shared.ledger.engine import engine


def drop_checks(
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why; is kept and shown. Needed.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    as_json: AsJson = False,
) -> int:
    """Drop the checks that were due after lost answers: in a restored ledger they would put older content back.

    CrowdTwist and Siebel have to be paused.
    """
    ledger = engine(with_ledger().ledger_url)
    try:
        found = restored.drop_checks(ledger, operator(), reason, dry_run=dry_run)
    except NotPausedError as error:
        raise TroubleError(str(error), "`membersync connections pause NAME --reason …`", NOTHING) from None
    except AskError as error:
        raise typer.BadParameter(f"--{error.field}: {error.reason}") from None
    if as_json:
        print_json(found)
    else:
        verb = "would be dropped" if dry_run else "dropped"
        typer.echo(f"{verb}: {found.read_backs} looks at CrowdTwist, {found.tellings} repetitions to Siebel")
    return DONE

"""`membersync webhook`: what it was told, what waits and what was given up; post a test to it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.cli.terminal import instant, operator
from producers.mail.mailer import SendingError
from producers.mail.webhook import post
from shared.ledger import mail
from shared.ledger.audit import Action, record
from shared.ledger.engine import engine, transaction
from shared.ledger.mail import ComposedMail, Kind, LeasedMail

TEST = "test webhook"
"""What the audit calls it."""


class Act(StrEnum):
    """What can be done about it."""

    TEST = "test"


def webhook(
    act: Annotated[Act | None, typer.Argument(metavar="test", help="Post a test now; nothing: show.")] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Show what the webhook took, what waits for it and what was given up; post a test to it."""
    of = with_ledger()
    ledger = engine(of.ledger_url)
    if act is None:
        with transaction(ledger) as tx:
            found = mail.posting(tx)
        if as_json:
            print_json(found)
        else:
            if of.webhook.url is None:
                typer.echo("there is no webhook: MEMBERSYNC_WEBHOOK__URL is not set here")
                if not (found.waiting or found.count or found.taken_at):
                    return DONE
            cause = f": {found.last_error}" if found.last_error else ""
            last = f", the last at {instant(found.taken_at)}" if found.taken_at else ""
            typer.echo(f"within a day {found.taken} were taken{last}")
            typer.echo(f"{found.waiting} wait, {found.count} were given up within a day{cause}")
        return DONE
    if of.webhook.url is None:
        raise TroubleError("MEMBERSYNC_WEBHOOK__URL is not set", "see .env.example")
    now = datetime.now(UTC)
    words = "This is a test of the webhook: nothing has happened."
    test = LeasedMail(0, now, 1, ComposedMail(Kind.UP, "membersync: a test of the webhook", words, ""))
    answer = "taken"
    try:
        post(test, of.webhook)
    except SendingError as error:
        answer = f"not taken: {error}"
    who = operator()
    with transaction(ledger) as tx:
        record(tx, Action(who.name, who.role, TEST, answer))
    if as_json:
        print_json({"ok": answer == "taken", "answer": answer})
    else:
        typer.echo(f"the webhook: {answer}")
    return DONE if answer == "taken" else NOTHING

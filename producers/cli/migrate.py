"""`membersync migrate`: the ledger's schema, anywhere.

Apart from `up` and `demo`, whose imports cost more than a migration: it runs before each start of an installation.
"""

import typer

from producers.cli.command import DONE, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.doctor.check import MAKE_UTF8
from shared.ledger import availability, checkup
from shared.ledger.checkup import UTF8, Server
from shared.ledger.checkup import migrate as bring_up_to_date
from shared.ledger.engine import engine, transaction
from shared.ledger.schema import Schema
from shared.ledger.schema import schema as read_schema


def migrate(*, as_json: AsJson = False) -> int:
    """Bring the ledger's schema up to date.

    Raises:
        TroubleError: it cannot be done.
    """
    of = with_ledger()
    url = of.require_direct_ledger()
    server, schema = _looked_at(url)
    if server.encoding != UTF8:
        what = f"the ledger's database is {server.encoding}, and must be {UTF8} to hold every name"
        raise TroubleError(what, MAKE_UTF8)
    if not schema.is_ours:
        raise TroubleError("the ledger was migrated by a newer version", "run that version here too")
    if server.read_only and schema.found != schema.wanted:
        raise TroubleError("the ledger's server is read-only", "name the one that takes writes")
    try:
        bring_up_to_date(url)
        if of.ledger_direct_url:  # the other one is PgBouncer
            with transaction(engine(url)) as tx:
                availability.keep_sessions(tx)
    except Exception as error:
        raise TroubleError(
            f"the ledger cannot be migrated ({type(error).__name__})",
            "its user must be allowed to create tables in its schema",
        ) from error
    found = _looked_at(url)[1].found
    if as_json:
        print_json({"schema": found})
    else:
        typer.echo(f"the ledger's schema is up to date: {found}")
    return DONE


def _looked_at(url: str) -> tuple[Server, Schema]:
    with transaction(engine(url)) as tx:
        return checkup.server(tx), read_schema(tx)

"""`membersync migrate`: the ledger's schema, anywhere; what is missing of it, and what migrating would do.

Apart from `up` and `demo`, whose imports cost more than a migration: it runs before each start of an installation.
"""

from typing import Annotated

import typer

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import with_ledger
from producers.doctor.check import MAKE_UTF8
from shared.ledger import availability, checkup, migration_plan
from shared.ledger.checkup import UTF8, Server
from shared.ledger.checkup import migrate as bring_up_to_date
from shared.ledger.engine import engine, transaction
from shared.ledger.migration_plan import Pending, Step
from shared.ledger.schema import Schema
from shared.ledger.schema import schema as read_schema

PENDING = NOTHING
"""How `--check` ends where migrations are missing."""


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; end with 1, and say what is missing, if it is not up to date."),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Change nothing; show what each missing migration does, and whom it blocks.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Bring the ledger's schema up to date, or look what is missing of it.

    Raises:
        TroubleError: it cannot be done.
    """
    of = with_ledger()
    url = of.require_direct_ledger()
    server, schema = _looked_at(url)
    if server.encoding != UTF8:
        what = f"the ledger's database is {server.encoding}, and must be {UTF8} to hold every name"
        raise TroubleError(what, MAKE_UTF8)
    if not schema.is_ours and schema.trouble is not None:
        raise TroubleError(f"the ledger was migrated by a newer version: {schema.trouble}", "run that version here too")
    missing = migration_plan.pending(schema.found) if schema.is_ours else []
    if plan:
        with transaction(engine(url)) as tx:
            missing = migration_plan.estimated(tx, missing)
    if check or plan:
        _show(schema, missing, as_json=as_json, with_steps=plan)
        return PENDING if check and missing else DONE
    if server.read_only and missing:
        raise TroubleError("the ledger's server is read-only", "name the one that takes writes")
    if schema.is_ours:
        _bring_up_to_date(url, is_pooled=bool(of.ledger_direct_url))
    _show(_looked_at(url)[1], [], as_json=as_json)
    return DONE


def _bring_up_to_date(url: str, *, is_pooled: bool) -> None:
    try:
        bring_up_to_date(url)
        if is_pooled:  # the other address is PgBouncer's
            with transaction(engine(url)) as tx:
                availability.keep_sessions(tx)
    except checkup.MigrationBlockedError as error:
        raise TroubleError(str(error), "`membersync doctor` names it; then type this again") from error
    except Exception as error:
        raise TroubleError(
            f"the ledger cannot be migrated ({type(error).__name__})",
            "its user must be allowed to create tables in its schema",
        ) from error


def _looked_at(url: str) -> tuple[Server, Schema]:
    with transaction(engine(url)) as tx:
        return checkup.server(tx), read_schema(tx)


def _show(schema: Schema, missing: list[Pending], *, as_json: bool, with_steps: bool = False) -> None:
    if as_json:
        print_json(
            {
                "schema": schema.found,
                "wanted": schema.wanted,
                "pending": [
                    {"revision": one.revision, "title": one.title, "serves_from": one.serves_from}
                    | ({"steps": one.steps} if with_steps else {})
                    for one in missing
                ],
            }
        )
        return
    if not schema.is_ours:
        typer.echo(f"the ledger's schema is {schema.found}, newer than this version's {schema.wanted}, and serves it")
    elif not missing:
        typer.echo(f"the ledger's schema is up to date: {schema.found}")
    else:
        typer.echo(f"the ledger's schema is {schema.found or 'not there'}, this version needs {schema.wanted}:")
    for one in missing:
        leaves = f"; code of before {one.serves_from} has to be gone first" if one.serves_from else ""
        typer.echo(f"  {one.revision}  {one.title}{leaves}")
        for step in one.steps if with_steps else ():
            typer.echo(f"        {_step(step)}")


def _step(step: Step) -> str:
    rows = "" if step.rows is None else f", up to {step.rows:,} rows"
    lock = f"{step.lock} on {step.table}; " if step.table else ""
    return f"{_shortened(step.statement)}\n            {lock}blocks {step.blocks}{rows}"


def _shortened(statement: str) -> str:
    return statement if len(statement) <= _SHOWN else f"{statement[: _SHOWN - 1]}…"


_SHOWN = 100

"""`membersync api`: the process that takes events over HTTP and answers operators."""

from typing import Annotated

import typer

from producers.cli.command import TroubleError
from producers.cli.command_settings import Port, port_setting, with_ledger
from producers.site import serve
from shared import hosts
from shared.hosts import AddressError


def api(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="To listen on.")] = None, port: Port = None
) -> None:
    """Serve the api until SIGTERM or Ctrl-C.

    Raises:
        TroubleError: it may not listen there, or has no ledger.
        PortError: its port cannot be listened on.
    """
    of = with_ledger()
    changes: dict[str, object] = {} if port is None else {"port": port}
    try:
        if host is not None:
            changes["host"] = hosts.canonical(host)
    except AddressError as error:
        raise TroubleError(f"--host {error}") from None
    try:
        serve(of.model_copy(update={"api": of.api.model_copy(update=changes)}), port_setting("API", port))
    except ValueError as error:
        raise TroubleError(str(error)) from error

"""`membersync openapi`, `record` and `replay`: what Siebel's side needs (`deploy/siebel/`)."""

import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console

from deploy.siebel.pseudonyms import Pseudonyms
from deploy.siebel.recorder import PATH, recorder
from deploy.siebel.recording import NotARecordingError, Recording, messages
from deploy.siebel.replay import Pace, replayed, sender
from producers.api.for_siebel import Form, for_siebel
from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json
from producers.cli.command_settings import configured
from producers.cli.over_http import api_client
from producers.cli.terminal import console, plain
from producers.site import create_app, served_as
from shared import hosts
from shared.addresses import page_url
from shared.hosts import AddressError, listening

_NO_LEDGER = "postgresql+psycopg://nobody@nowhere/none"
"""To describe itself the api needs the address of one, and asks it nothing."""
_Pseudonymise = Annotated[
    bool, typer.Option("--pseudonymise", help="Put other people in the place of those in the messages, for good.")
]


@dataclass(frozen=True, slots=True)
class _Listening:
    """Where `record` listens."""

    host: Annotated[str, typer.Option(metavar="ADDRESS", help="To listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="To listen on.")] = 8090


@dataclass(frozen=True, slots=True)
class _Load:
    """How `replay` sends."""

    speed: Annotated[float, typer.Option(metavar="N", min=0.001, help="So many times as fast as they came.")] = 1.0
    at_once: Annotated[int, typer.Option("--at-once", metavar="N", min=1, max=500, help="Messages under way.")] = 20
    pseudonymise: _Pseudonymise = False


def openapi(
    *,
    siebel: Annotated[
        Form | None,
        typer.Option("--siebel", metavar="event|message", help="As Siebel's REST outbound imports it, for one form."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Where Siebel reaches the api; MEMBERSYNC_API__PUBLIC_URL."),
    ] = None,
) -> int:
    """Print the OpenAPI document."""
    of = configured()
    try:
        at = of.api.url if url is None else page_url(url)
        document = create_app(of.model_copy(update={"ledger_url": _NO_LEDGER})).openapi()
    except AddressError as error:
        raise TroubleError(f"--url {error}") from None
    except ValueError as error:
        raise TroubleError(str(error)) from None
    print_json(for_siebel(document, siebel, at) if siebel else document)
    return DONE


def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write; must not be there yet.")],
    *,
    api_url: Annotated[
        str | None, typer.Option("--api", metavar="URL", help="Send on to this api; without it, nothing is taken in.")
    ] = None,
    at: _Listening,
    max_megabytes: Annotated[
        int, typer.Option("--max-megabytes", metavar="N", min=1, help="Of the file; what comes later is only sent on.")
    ] = 1024,
    pseudonymise: _Pseudonymise = False,
) -> int:
    """Listen where Siebel sends to, until Ctrl-C, and keep each message."""
    err = Console(stderr=True, highlight=False)
    pseudonyms = Pseudonyms() if pseudonymise else None
    try:
        recording = Recording(file, datetime.now(UTC), max_megabytes * 1024 * 1024, pseudonyms)
    except OSError as error:
        raise TroubleError(f"{file} cannot be written ({error.strerror})", "name a new file") from None
    client = None if api_url is None else api_client(api_url, None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises it again when it has stopped
    try:
        with listening("the recorder", at.host, at.port, "--port") as listeners:
            err.print(plain(f"recording {PATH} at {hosts.url(at.host, at.port)}; Ctrl-C ends it"), soft_wrap=True)
            uvicorn.Server(served_as(recorder(recording, client, configured()))).run(listeners)
    finally:
        recording.close()
        if client is not None:
            client.close()
    err.print(plain(f"{recording.written} messages are in {file}"), soft_wrap=True)
    if recording.unreadable or recording.over:
        lost = f"not in it: {recording.unreadable} that cannot be read, {recording.over} after it was full"
        err.print(plain(lost), soft_wrap=True)
    return DONE if recording.written else NOTHING


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="That `record` wrote.")],
    *,
    api_url: Annotated[str, typer.Option("--api", metavar="URL", help="The api that is sent to.")],
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", envvar="MEMBERSYNC_TOKEN", show_envvar=True, help="The api's token of a producer."
        ),
    ] = None,
    load: _Load,
    as_json: AsJson = False,
) -> int:
    """Send the messages of *file* in their order, and say what came of them."""
    try:
        with file.open("rb") as lines, api_client(api_url, token) as client:
            report = replayed(
                messages(iter(lines)),
                sender(client),
                Pace(load.speed, load.at_once),
                Pseudonyms() if load.pseudonymise else None,
            )
    except NotARecordingError as error:
        raise TroubleError(f"{file}: {error}") from None
    except OSError as error:
        raise TroubleError(f"{file} cannot be read ({error.strerror})") from None
    said = report.as_json()
    if as_json:
        print_json(said)
    else:
        out = console()
        for name, value in said.items():
            shown = ", ".join(f"{what} {count}" for what, count in value.items()) if isinstance(value, dict) else value
            out.print(plain(f"{name.replace('_', ' '):12} {shown if shown != '' else '-'}"), soft_wrap=True)
    return DONE if report.is_taken else NOTHING

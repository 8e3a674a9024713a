"""The api's composition root: `create_app`, and `serve` for `membersync api`."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from types import FrameType

import anyio
import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from producers.api import (
    approvals,
    cases,
    cause_notes,
    dead_letters,
    description,
    events,
    export,
    guards,
    incidents,
    maintenance,
    privacy,
    reads,
    reconciliations,
    repairs,
    watching,
)
from producers.console import app as console
from producers.http import request
from producers.http.auth import Authenticator
from producers.http.middleware import Envelope, Heads, Proxied
from producers.http.protocol import protocol_of
from producers.intake.together import Together
from producers.metrics import registry_of
from producers.operations.broker_look import BrokerLook
from shared import logs, spans
from shared.hosts import listening
from shared.ledger.engine import engine
from shared.liveness import this_process
from shared.settings import Settings
from shared.settings import settings as settings_of_this_process

log = logs.logger(__name__)

_INTAKE_THREADS = 10
"""Together with the two below no more than the ledger's pool has connections: nobody waits for one in vain."""
_READ_THREADS = 8
_PROBE_THREADS = 2
_STOP_WITHIN_S = 30
_ROUND_EVERY_S = 1.0
_LOOK_EVERY_S = 10.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the api.

    Raises:
        ValueError: the ledger is not set, or the api would be open to other machines without a token, or its
            prefix cannot be told from its own paths.
    """
    settings = settings or settings_of_this_process()
    ledger_url = settings.require_ledger()
    app = FastAPI(
        title="membersync",
        version="1",
        docs_url=None,  # the page would come from a foreign host
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
        servers=[{"url": settings.api.url}] if settings.api.public_url else None,
    )
    app.state.settings = settings
    app.state.authenticator = Authenticator(settings.api)
    app.state.metrics = registry_of(settings)
    app.state.intake_threads = anyio.CapacityLimiter(_INTAKE_THREADS)
    app.state.broker_look = BrokerLook(settings)
    app.state.together = Together(ledger_url, app.state.intake_threads)
    app.state.probe_threads = anyio.CapacityLimiter(_PROBE_THREADS)
    request.install_problems(app)
    app.add_middleware(Heads)
    app.add_middleware(Envelope)
    operating = dead_letters, cause_notes, guards, approvals, repairs, reconciliations, maintenance
    for part in (events, reads, export, privacy, cases, *operating, incidents, watching):
        app.routes.extend(part.router.routes)  # including a router would work each of them out anew
    description.install(app)
    console.install(app)
    app.add_middleware(Proxied, settings=settings.api)
    _check_prefix(app, settings.api.prefix)
    return app


def _check_prefix(app: FastAPI, prefix: str) -> None:
    """Let pass a prefix that no path of ours begins with: it could not be told whether a proxy has taken it off.

    Raises:
        ValueError: there is one.
    """
    first = prefix.split("/")[1] if prefix else None
    if first in {(route.path_format or "/").split("/")[1] for route in iter_route_contexts(app.routes)} | {"static"}:
        raise ValueError(
            f"MEMBERSYNC_API__PUBLIC_URL must not have a path that begins with /{first}, as a page of the api does; "
            "let the proxy have it under /membersync, say"
        )


def serve(settings: Settings, port_setting: str = "MEMBERSYNC_API__PORT") -> None:
    """Serve the api until SIGTERM or Ctrl-C; requests under way are finished first.

    Args:
        settings: Of this process.
        port_setting: What its port was named by.

    Raises:
        ValueError: as `create_app`.
        PortError: its port cannot be listened on.
    """
    app = create_app(settings)
    logs.configure("api", settings.log_level)
    this_process.begin("api", settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has stopped: let that find nothing to do, and the exit code be 0.
        signal.signal(number, lambda *_: None)
    with listening("the api", settings.api.host, settings.api.port, port_setting) as listeners:
        found = {"port": listeners[0].getsockname()[1]}
        app.state.settings = settings.model_copy(update={"api": settings.api.model_copy(update=found)})
        _Server(served_as(app)).run(listeners)


def served_as(app: FastAPI) -> uvicorn.Config:
    """Return how the server serves *app*."""
    return uvicorn.Config(
        app,
        port=0,  # unless it is handed its listeners
        access_log=False,  # ours has no query values in it
        log_config=None,
        server_header=False,
        proxy_headers=False,  # `Proxied` reads them: uvicorn would believe loopback and FORWARDED_ALLOW_IPS
        http=protocol_of(app.state.settings.api),
        ws="none",
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )


class _Server(uvicorn.Server):
    """Ends the live streams when it is told to stop, instead of waiting for those who look."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self.config.app.state.streams.stop()  # type: ignore[union-attr]  # our own app
        super().handle_exit(sig, frame)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _READ_THREADS
    settings: Settings = app.state.settings
    ledger = engine(settings.ledger_url)
    log.info("serving", host=settings.api.host, port=settings.api.port, tokens=len(settings.api.tokens))
    spans.start(settings, "api")
    rounds = [asyncio.create_task(_go_round()), asyncio.create_task(_look_whether_ready(app))]
    yield
    for one in rounds:
        one.cancel()
    spans.stop()
    ledger.dispose()


async def _go_round() -> None:
    while True:
        this_process.went_round()
        await asyncio.sleep(_ROUND_EVERY_S)


async def _look_whether_ready(app: FastAPI) -> None:
    """Look, apart from the main loop, what keeps the api from taking events, and show it to probes that read a file."""
    while this_process.has_begun:
        missing = await watching.missing_of(app)
        this_process.waits_for("; ".join(missing))
        await asyncio.sleep(_LOOK_EVERY_S if not missing else _ROUND_EVERY_S)

"""The api's composition root: `create_app`, and `serve` for `membersync api`."""

import contextlib
import signal
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import uvicorn
from fastapi import FastAPI

from producers.api import connections, events, probes, problems, reads, repairs
from producers.api.auth import Doorkeeper
from producers.api.envelope import Envelope
from producers.metrics import registry_of
from shared import logs
from shared.ledger import views
from shared.ledger.engine import engine
from shared.settings import Settings
from shared.settings import settings as settings_of_this_process

log = logs.logger(__name__)

_INTAKE_THREADS = 12
"""Together with `_READ_THREADS` no more than the ledger's pool has connections: nobody waits for one in vain."""
_READ_THREADS = 8
_STOP_WITHIN_S = 30

_DESCRIPTION = """Takes member changes from Siebel Loyalty, brings them to CrowdTwist, and tells Siebel what came of it.
Errors are `application/problem+json` with a stable `code`; every answer carries `X-Request-Id`."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the api.

    Raises:
        ValueError: the ledger is not set, or the api would be open to other machines without a token.
    """
    settings = settings or settings_of_this_process()
    settings.require_ledger()
    app = FastAPI(
        title="membersync",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,  # the page would come from a foreign host
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.doorkeeper = Doorkeeper(settings.api)
    app.state.metrics = registry_of(settings)
    app.state.intake_threads = anyio.CapacityLimiter(_INTAKE_THREADS)
    problems.install(app)
    app.add_middleware(Envelope)
    for router in (events.router, reads.router, repairs.router, connections.router, probes.router):
        app.include_router(router)
    return app


def serve(settings: Settings) -> None:
    """Serve the api until SIGTERM or Ctrl-C; requests under way are finished first.

    Raises:
        ValueError: as `create_app`.
    """
    app = create_app(settings)
    logs.configure("api", settings.log_level)
    config = uvicorn.Config(
        app,
        host=settings.api.host,
        port=settings.api.port,
        access_log=False,  # ours has no query values in it
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client's machine is
        ws="none",
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has stopped: let that find nothing to do, and the exit code be 0.
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run()


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _READ_THREADS
    ledger = engine(app.state.settings.ledger_url)
    missing = await anyio.to_thread.run_sync(views.missing, ledger)
    settings: Settings = app.state.settings
    log.info(
        "serving", host=settings.api.host, port=settings.api.port, tokens=len(settings.api.tokens), missing=missing
    )
    yield
    ledger.dispose()

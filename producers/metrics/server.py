"""The metrics of a process that is no api: served as the api serves its own, to whoever may reach the port.

HEAD is answered as GET is, and whoever sends half a head is cut off after the api's `HEAD_WITHIN_S`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio.to_thread
import uvicorn
from prometheus_client import exposition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.http.middleware import Heads
from producers.http.protocol import protocol_of
from producers.metrics.exposition import registry_of
from shared.addresses.hosts import listening
from shared.settings import Settings

_STOP_WITHIN_S = 2


@contextmanager
def metrics_served(settings: Settings) -> Iterator[None]:
    """Serve the metrics, in a thread of its own, for the length of the block.

    Raises:
        PortError: its port cannot be listened on.
    """
    of = settings.dispatcher
    config = uvicorn.Config(
        _app(settings),
        log_level="warning",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        http=protocol_of(settings.api),
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    server = uvicorn.Server(config)
    with listening("metrics", of.metrics_host, of.metrics_port, "MEMBERSYNC_DISPATCHER__METRICS_PORT") as listeners:
        thread = threading.Thread(target=server.run, args=(listeners,), name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(_STOP_WITHIN_S * 2)


def _app(settings: Settings) -> Heads:
    registry = registry_of(settings)

    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
        encoded = await anyio.to_thread.run_sync(encode, registry, abandon_on_cancel=True)
        return Response(encoded, headers={"Content-Type": media_type})

    return Heads(Starlette(routes=[Route(path, metrics, methods=["GET"]) for path in ("/", "/metrics")]))

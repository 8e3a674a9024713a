"""Of a RabbitMQ of several nodes Flower's page of the broker shows the queues while any of them is there."""

import asyncio
import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from deploy.flower import AnyRabbitMQ
from shared.hosts import Host

_NODES = ("127.77.0.1", "127.77.0.2")
"""Of this machine's own; nobody listens at the first."""
_MANAGEMENT_PORT = 15672


class _Management(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))  # type: ignore[attr-defined]
        said = json.dumps([{"name": "oic.live", "messages": 7}, {"name": "another"}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_next_node_is_asked_while_the_first_is_away() -> None:
    class Asking(AnyRabbitMQ):
        hosts = tuple(Host(name, "5672") for name in _NODES)

    with HTTPServer((_NODES[1], _MANAGEMENT_PORT), _Management) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            found = asyncio.run(Asking(f"amqp://ann:p%40%2Fss@{_NODES[0]}:5672/vh", "").queues(["oic.live"]))
        finally:
            server.shutdown()
            thread.join()
        ((path, login),) = server.asked  # type: ignore[attr-defined]
    assert found == [{"name": "oic.live", "messages": 7}]
    assert path == "/api/queues/vh"
    assert base64.b64decode(login.removeprefix("Basic ")) == b"ann:p@/ss"

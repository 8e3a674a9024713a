"""A tiny reverse proxy: has what it serves under a path, which it takes off or passes on, as nginx and Caddy can."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


class _Handler(BaseHTTPRequestHandler):
    upstream: str
    under: str
    strips: bool
    keeps_host: bool
    says: Mapping[str, str]

    def do_GET(self) -> None:  # named by http.server
        if not f"{self.path}/".startswith(f"{self.under}/"):
            self.send_error(404, "outside")
            return
        place = urlsplit(self.upstream)
        path = self.path.removeprefix(self.under) or "/" if self.strips else self.path
        length = int(self.headers.get("Content-Length") or 0)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=60)
        connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        ours = {name.lower() for name in self.says} | _OF_ONE_CONNECTION | {"host"}
        for name, value in self.headers.items():
            if name.lower() not in ours:
                connection.putheader(name, value)
        connection.putheader("Host", self.headers["Host"] if self.keeps_host else place.netloc)
        for name, value in self.says.items():
            connection.putheader(name, value)
        connection.endheaders(self.rfile.read(length))
        self._answer(connection)

    do_POST = do_HEAD = do_GET  # noqa: N815  # named by http.server

    def _answer(self, connection: HTTPConnection) -> None:
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        self.end_headers()
        try:
            while part := answer.read1(65_536):
                self.wfile.write(part)
        except OSError:
            pass  # whoever asked has gone
        finally:
            connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxied(  # noqa: PLR0913  # what one can set at a proxy
    upstream: str,
    port: int,
    *,
    under: str = "",
    strips: bool = False,
    keeps_host: bool = True,
    says: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serve *upstream* at *port* of this machine under a path, adding the headers that it *says*; gives the URL."""
    options = {"upstream": upstream, "under": under, "strips": strips, "keeps_host": keeps_host, "says": says or {}}
    with ThreadingHTTPServer(("127.0.0.1", port), type("One", (_Handler,), options)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{port}{under}"
        server.shutdown()

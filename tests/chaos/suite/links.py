"""Wires between the product and what it talks to, that can be slow, silent, cut, or show a stranger's certificate."""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import MappingProxyType

_PIECE_BYTES = 65_536
_TESTS = Path(__file__).parents[2]
OURS, STRANGER = _TESTS / "company_server.pem", _TESTS / "mailbox.pem"
AUTHORITY = _TESTS / "company_authority.pem"


class Link:
    """One wire: what connects to its *port* talks to *target*.

    Units: *delay_s* seconds that each piece of either direction takes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target: tuple[str, int], *, tls: bool) -> None:
        self.delay_s = 0.0
        self.port = 0
        self.held = 0
        """How many pieces wait for it to sound."""
        self._loop = loop
        self._target = target
        self._open: set[asyncio.WriteTransport] = set()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        self._at_work: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._sounds = asyncio.Event()
        self._sounds.set()

    async def listen(self, on: socket.socket | None = None) -> None:
        """Take connections *on* a socket, or on any free port of this machine."""
        if self._tls is not None:
            self._tls.load_cert_chain(OURS)
        on = on or socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._take, sock=on, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def be_silent(self, *, silent: bool) -> None:
        """Let nothing pass, and close nothing; or let it pass again."""
        self._loop.call_soon_threadsafe(self._sounds.clear if silent else self._sounds.set)

    def show(self, certificate: Path) -> None:
        """Show another certificate to whoever connects from now on."""
        if self._tls is not None:
            self._tls.load_cert_chain(certificate)
        self.cut()

    def cut(self) -> None:
        """Break every connection."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for transport in tuple(self._open):
            transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        ends = [writer]
        try:
            there, to_there = await asyncio.open_connection(*self._target)
            ends.append(to_there)
            self._open.update(end.transport for end in ends)
            ways = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, to_there), (there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # there is nobody, or it is over
        finally:
            for end in ends:
                end.transport.abort()
                self._open.discard(end.transport)
            self._at_work.discard(task)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(_PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                self.held += 1
                try:
                    await self._sounds.wait()
                finally:
                    self.held -= 1
                target.write(piece)
                await target.drain()

    async def close(self) -> None:
        """End it, and all that goes over it."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._at_work):
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)


@contextmanager
def links(
    targets: Mapping[str, tuple[str, int]],
    *,
    tls: frozenset[str] = frozenset(),
    listeners: Mapping[str, socket.socket] = MappingProxyType({}),
) -> Iterator[dict[str, Link]]:
    """Give a wire to each of *targets* while the block runs; those in *tls* are spoken to in TLS.

    Those in *listeners* take connections there, perhaps on another host.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="links", daemon=True)
    thread.start()
    wires = {name: Link(loop, target, tls=name in tls) for name, target in targets.items()}
    try:
        for name, wire in wires.items():
            asyncio.run_coroutine_threadsafe(wire.listen(listeners.get(name)), loop).result(10)
        yield wires
    finally:
        for wire in wires.values():
            asyncio.run_coroutine_threadsafe(wire.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

"""A tap between a process and PostgreSQL: what the process asks, counted on the wire, whatever it asks it with.

Each connection through it is passed on byte by byte and read on the way.  A *round trip* is what the server ends with
"ready for the next": a simple query, or all that a client sent before it asked for an answer (a pipeline is one).  A
*transaction* is what lies between two moments at which the server is in none.
"""

import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from urllib.parse import urlsplit, urlunsplit

_LENGTH = struct.Struct("!i")
_FRAME = ("begin", "commit", "rollback", "set local")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction, or what was asked outside of any: its statements in order."""

    statements: tuple[str, ...]
    round_trips: int
    commits: bool
    """Whether it was not rolled back; what was asked outside of any commits by itself."""

    @property
    def asks(self) -> tuple[str, ...]:
        """What it is about: its statements without their frame."""
        return tuple(sql for sql in self.statements if not sql.lower().startswith(_FRAME))


@dataclass
class Tap:
    """What went through since the last `clear`; *url* is what to connect to."""

    url: str
    _seen: list[Transaction] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def clear(self) -> None:
        with self._lock:
            self._seen.clear()

    def add(self, one: Transaction) -> None:
        with self._lock:
            self._seen.append(one)

    def transactions(self, *, but_of: tuple[str, ...] = ()) -> list[Transaction]:
        """Return what was seen, but for what is about nothing else than statements with one of these words."""
        with self._lock:
            seen = list(self._seen)
        return [one for one in seen if not all(any(word in sql for word in but_of) for sql in one.asks or ("",))]


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    """Pass connections on to the PostgreSQL of *url* while the block runs."""
    place = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as door:
        at = f"{place.username}:{place.password}@127.0.0.1:{door.getsockname()[1]}"
        tap = Tap(urlunsplit(place._replace(netloc=at, query="sslmode=disable&gssencmode=disable")))
        upstream = (str(place.hostname), int(place.port or 5432))
        Thread(target=_serve, args=(door, upstream, tap), daemon=True).start()
        yield tap
        door.shutdown(socket.SHUT_RDWR)


def _serve(door: socket.socket, upstream: tuple[str, int], tap: Tap) -> None:
    with suppress(OSError):  # the door is shut
        while True:
            client, _ = door.accept()
            server = socket.create_connection(upstream)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = _Reader(tap.add)
            Thread(target=_pass_on, args=(client, server, reader.asked), daemon=True).start()
            Thread(target=_pass_on, args=(server, client, reader.answered), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, read: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            read(data)
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


class _Reader:
    """Reads both directions of one connection: PostgreSQL's protocol 3, message formats of its manual, chapter 54."""

    def __init__(self, report: Callable[[Transaction], None]) -> None:
        self._report = report
        self._from_client, self._from_server = bytearray(), bytearray()
        self._is_greeted = False
        self._prepared: dict[bytes, str] = {}
        self._pending: deque[str] = deque()
        self._statements: list[str] = []
        self._round_trips = 0
        self._fails = False

    def asked(self, data: bytes) -> None:
        """Note what the client asks before the server sees it."""
        self._from_client += data
        if not self._is_greeted:  # the first message has no kind
            (length,) = _LENGTH.unpack_from(self._from_client)
            del self._from_client[:length]
            self._is_greeted = True
        for kind, body in _messages(self._from_client):
            match kind:
                case b"Q":
                    self._pending.append(_text(body.split(b"\0")[0]))
                case b"P":
                    name, sql, *_ = body.split(b"\0")
                    self._prepared[name] = _text(sql)
                case b"B":
                    _, name, *_ = body.split(b"\0", 2)
                    self._pending.append(self._prepared[name])

    def answered(self, data: bytes) -> None:
        """Note what was answered before the client sees it."""
        self._from_server += data
        for kind, body in _messages(self._from_server):
            self._fails |= kind == b"E" or (kind, body) == (b"C", b"ROLLBACK\0")
            if kind == b"Z":
                self._ready(in_transaction=body != b"I")

    def _ready(self, *, in_transaction: bool) -> None:
        self._round_trips += 1
        while self._pending:
            self._statements.append(self._pending.popleft())
        if in_transaction:
            return
        if self._statements:  # not the greeting
            self._report(Transaction(tuple(self._statements), self._round_trips, not self._fails))
        self._statements, self._round_trips, self._fails = [], 0, False


def _messages(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole messages off *buffer*: a kind of one byte, a length of four that counts itself, a body."""
    while len(buffer) >= 1 + _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer, 1)
        if len(buffer) < 1 + length:
            return
        kind, body = bytes(buffer[:1]), bytes(buffer[1 + _LENGTH.size : 1 + length])
        del buffer[: 1 + length]
        yield kind, body


def _text(sql: bytes) -> str:
    return " ".join(sql.decode().split())

"""HTTP by hand: a client that sends what it likes, when it likes."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@contextmanager
def connected(client: httpx.Client, timeout_s: float = 20) -> Iterator[socket.socket]:
    """Open a connection to the server that *client* calls."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=timeout_s) as one:
        yield one


def to_the_end(one: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: one.recv(65_536), b""))


def drip(one: socket.socket, part: bytes, *, for_s: float) -> None:
    """Send *part* again and again.

    Raises:
        OSError: the server has cut it off before *for_s* were over.
    """
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        one.sendall(part)
        time.sleep(0.01)


def statuses(said: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in _STATUS.findall(said)]


def head(method: str, path: str, *headers: str) -> bytes:
    """Return a head as a client writes it."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()

"""Ports of a container on this machine, as `ports:` of compose.yaml has them, without a rule of a firewall.

Each connection is made from inside the container's own network, so that nothing of this machine's network (a proxy, a
rule for what leaves it) has a part in it.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local.programs import LOOPBACK
from tests.chaos.suite.hosts import enter
from tests.image import ImageError

_PIECE = 65_536
_WITHIN_S = 30.0


@contextmanager
def published(port: int, inside: int, pid: Callable[[], int]) -> Iterator[None]:
    """Lead *port* of the loopback address to the port *inside* the network of the process *pid*.

    Raises:
        ImageError: somebody else has *port*.
    """
    try:
        listening = socket.create_server((LOOPBACK, port), backlog=64)
    except OSError as error:
        raise ImageError(f"port {port}: {error.strerror}; another one: *_PUBLISHED_PORT") from error
    with listening:
        accepting = threading.Thread(target=_accept, args=(listening, inside, pid), daemon=True)
        accepting.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listening: socket.socket, inside: int, pid: Callable[[], int]) -> None:
    with suppress(OSError):  # the end
        while True:
            caller, _ = listening.accept()
            threading.Thread(target=_lead, args=(caller, inside, pid), daemon=True).start()


def _lead(caller: socket.socket, inside: int, pid: Callable[[], int]) -> None:
    """Carry what both sides say, from a thread that is in the container's network and nowhere else."""
    with caller, suppress(OSError):
        enter(Path(f"/proc/{pid()}/ns/net"))
        with socket.create_connection((LOOPBACK, inside), timeout=_WITHIN_S) as service:
            service.settimeout(None)
            back = threading.Thread(target=_carry, args=(service, caller), daemon=True)
            back.start()
            _carry(caller, service)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

"""Listening on the port that was asked for, or on none: nobody looks for us at a port that they did not name."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from shared.addresses.reading import Host

_WAITING_MAX = 2048
"""Connections that the kernel keeps until we take them."""
_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""An address of a name, `::1` of localhost say, that this machine has not switched on."""


class PortError(Exception):
    """It cannot be listened on; the message says what would, where, why not, and which setting names the port."""


@contextmanager
def listening(what: str, host: str, port: int, setting: str) -> Iterator[list[socket.socket]]:
    """Listen on every address of *host* for the length of the block; port 0 is any free one, the same on all.

    Args:
        what: What is served there, for the message.
        host: Empty for every address.
        port: As *setting* has it.
        setting: The name of the port's setting or option, for the message.

    Raises:
        PortError: the port is taken or not for this user, or *host* is no address of this machine.
    """
    with ExitStack() as opened:
        try:
            listeners = _listeners(host, port, opened)
        except OSError as error:
            why = error.strerror
            if error.errno == errno.EADDRINUSE:
                why = f"port {port} is taken; stop what listens there, or name another"
            raise PortError(
                f"{what} cannot be served at http://{Host(host or '*', str(port))}: {why} ({setting})"
            ) from error
        yield listeners


def _listeners(host: str, port: int, opened: ExitStack) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, address in dict.fromkeys((one[0], one[4]) for one in found):
        try:
            listener = opened.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            missing = error
            continue
        listener.listen(_WAITING_MAX)
        port = listener.getsockname()[1]
        listeners.append(listener)
    if missing and not listeners:
        raise missing
    return listeners

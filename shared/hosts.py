"""Hosts, ports and the URLs they stand in: read, compared, written, reached and listened on.

A host is a name, IPv4, or IPv6 with or without brackets.  A URL of a server is taken apart with its password written as
it should be or just as it is; one that is as it is, `/ # ? % @ :` included, ends at the last `@`.
"""

import errno
import ipaddress
import re
import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import quote, unquote

ENCODED = "user and password percent-encoded (/ %2F, # %23, ? %3F, % %25, @ %40, : %3A, blank %20), IPv6 as [::1]"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
_CLEAN = re.compile(
    r"(?:(?P<user>[^/?#@:]*)(?::(?P<password>[^/?#@]*))?@)?(?P<rest>[^@#]*|[^/?#@]*(?:/[^?#@]*)?\?[^#]*)"
)
_RAW = re.compile(r"(?P<user>[^:]*)(?::(?P<password>.*))?@(?P<rest>[^@#]*)", re.DOTALL)
_REST = re.compile(r"(?P<hosts>[^/?]*)(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?")
_HOST = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:\s]*))(?::(?P<port>\d*))?", re.ASCII)
_ESCAPE = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
_PORTS = range(1, 65536)


class AddressError(ValueError):
    """An address cannot be used; the message says what can, and has nothing of the address in it."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host and its port; empty: not said."""

    name: str
    port: str

    def __str__(self) -> str:
        """Write it as it stands in a URL."""
        shown = quote(self.name, safe="")
        if is_v6(self.name):
            shown = "[" + self.name.replace("%", "%25") + "]"
        return f"{shown}:{self.port}" if self.port else shown


@dataclass(frozen=True, slots=True)
class Form:
    """What a URL may be: its *kind* in words, its schemes, the names in its query; *example* is told to who errs."""

    kind: str
    schemes: Collection[str]
    keys: Collection[str]
    example: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A URL, its pieces decoded but for *path* and *query*."""

    scheme: str
    user: str | None
    password: str | None
    hosts: tuple[Host, ...]
    path: str | None
    query: str


def taken_apart(address: str, form: Form) -> Parts:
    """Read *address* as it should be written if that is possible, else with its password as it is.

    Raises:
        AddressError: neither can be.
    """
    whole = _URL.fullmatch(address.strip())
    if whole is None or whole[1].lower() not in form.schemes:
        raise AddressError(f"must be {form.kind}, like {form.example}")
    for reading in (_CLEAN, _RAW):
        found = reading.fullmatch(whole[2])
        rest = found and _REST.fullmatch(found["rest"])
        if found is None or rest is None:
            continue
        pairs = [pair.partition("=") for pair in (rest["query"] or "").split("&") if pair]
        is_query = all(separator and name in form.keys for name, separator, _ in pairs)
        if is_query and all(map(_HOST.fullmatch, rest["hosts"].split(","))):
            who = [None if found[name] is None else decoded(found[name], form) for name in ("user", "password")]
            hosts = tuple(host_of(host, form) for host in rest["hosts"].split(","))
            return Parts(whole[1].lower(), who[0], who[1], hosts, rest["path"], rest["query"] or "")
    raise AddressError(f"cannot be read without doubt; write it like {form.example}")


def host_of(text: str, form: Form) -> Host:
    """Read one `host:port`; an IPv6 address stands in brackets.

    Raises:
        AddressError: it is none.
    """
    found = _HOST.fullmatch(text)
    name, port = (decoded(found["v6"] or found["name"] or "", form), found["port"] or "") if found else ("", "0")
    if found and found["v6"] and not is_v6(name):
        raise AddressError(f"has brackets around what is no IPv6 address; write it like {form.example}")
    check_port(port, form)
    return Host(name, port)


def check_port(port: str, form: Form) -> None:
    """Let pass a port, and none.

    Raises:
        AddressError: it is none.
    """
    if port and not (port.isdecimal() and int(port) in _PORTS):
        raise AddressError(f"must have ports from 1 to 65535, like {form.example}")


def is_v6(text: str) -> bool:
    """Return whether it is an IPv6 address, without brackets."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def decoded(raw: str, form: Form) -> str:
    """Decode *raw*, in which either every `%` begins an escape or none does.

    Raises:
        AddressError: some do and some do not, or they are no text.
    """
    escapes = len(_ESCAPE.findall(raw))
    if escapes and escapes != raw.count("%"):
        raise AddressError(f"has a % that begins an escape and one that does not; write it like {form.example}")
    try:
        text = unquote(raw, errors="strict") if escapes else raw
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise AddressError(f"has escapes that are no text; write it like {form.example}")
    return text


def credentials(user: str | None, password: str | None) -> str:
    """Write user and password as they stand in a URL."""
    if user is None and password is None:
        return ""
    return quote(user or "", safe="") + ("" if password is None else ":" + quote(password, safe="")) + "@"


_NAME = re.compile(
    r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.ASCII | re.IGNORECASE
)
_NUMBER = re.compile(r"[\d.]+|0x[\da-f]+", re.ASCII | re.IGNORECASE)

_NETWORKS = "like 127.0.0.1, ::1, 10.0.0.0/8"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def canonical(host: str) -> str:
    """Return *host* without the brackets of IPv6; nothing stays nothing, which is every address.

    Raises:
        AddressError: it is no host, or more than one.
    """
    host = host.strip()
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if is_v6(bare):
        return bare
    if host and not is_name(host):
        raise AddressError("must be a host alone, without scheme and port, like 127.0.0.1, ::1 or a name")
    return host


def url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches what listens on *host* and *port*; `::` alone is IPv6 only."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if is_unspecified(bare) or bare.lower() == "localhost":
        bare = "::1" if is_v6(bare) else "127.0.0.1"
    return f"http://{Host(bare, str(port))}"


def address(text: str) -> Address:
    """Read an address, with or without brackets; IPv4 written as IPv6 (`::ffff:127.0.0.1`) is IPv4.

    Raises:
        ValueError: it is none.
    """
    found = ipaddress.ip_address(text.strip("[]"))
    return getattr(found, "ipv4_mapped", None) or found


def networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks (`10.0.0.0/8`), separated by commas.

    Raises:
        AddressError: one of them is neither, or is everybody.
    """
    found = []
    try:
        for one in filter(None, map(str.strip, text.split(","))):
            host, slash, bits = one.partition("/")
            plain = address(host)
            is_mapped = bits.isdecimal() and plain.version != ipaddress.ip_address(host.strip("[]")).version
            prefix = int(bits) - (96 if is_mapped else 0) if slash else plain.max_prefixlen
            found.append(ipaddress.ip_network(f"{plain}/{prefix}"))
    except ValueError:
        raise AddressError(f"must be addresses or networks separated by commas, {_NETWORKS}") from None
    if any(one.prefixlen == 0 for one in found):
        raise AddressError(f"must not be everybody: whoever is named may say who a client is, {_NETWORKS}")
    return tuple(found)


def is_loopback(host: str) -> bool:
    """Return whether it is this machine's own address or name."""
    found, name = _address(host), host.lower()
    return found.is_loopback if found else name == "localhost" or name.endswith(".localhost")


def is_unspecified(host: str) -> bool:
    """Return whether it can only be listened on."""
    found = _address(host)
    return found.is_unspecified if found else not host


def is_name(host: str) -> bool:
    """Return whether it is a name or an address that stands in a URL as it is."""
    return is_v6(host) or bool(_NAME.fullmatch(host) and (not _NUMBER.fullmatch(host) or _address(host)))


def _address(host: str) -> Address | None:
    try:
        return address(host)
    except ValueError:
        return None


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

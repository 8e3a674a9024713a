"""A host as it is listened on, reached, compared and written: a name, IPv4, or IPv6 with or without brackets."""

import ipaddress
import re

from shared.addresses.reading import AddressError, Host, is_v6

_NAME = re.compile(
    r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.ASCII | re.IGNORECASE
)
_NUMBER = re.compile(r"[\d.]+|0x[\da-f]+", re.ASCII | re.IGNORECASE)
_REACHED = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared
"""Where this machine reaches what listens there; `::` alone is IPv6 only."""

_NETWORKS = "like 127.0.0.1, ::1, 10.0.0.0/8"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def canonical(host: str) -> str:
    """Give *host* without the brackets of IPv6; nothing stays nothing, which is every address.

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
    """Give the URL at which this machine reaches what listens on *host* and *port*."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return f"http://{Host(_REACHED.get(bare.lower(), bare), str(port))}"


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
    try:
        found = tuple(_network(one.strip()) for one in text.split(",") if one.strip())
    except ValueError:
        raise AddressError(f"must be addresses or networks separated by commas, {_NETWORKS}") from None
    if any(one.prefixlen == 0 for one in found):
        raise AddressError(f"must not be everybody: whoever is named may say who a client is, {_NETWORKS}")
    return found


def _network(text: str) -> Network:
    host, slash, bits = text.partition("/")
    found = address(host)
    mapped = 96 if bits.isdecimal() and found.version != ipaddress.ip_address(host.strip("[]")).version else 0
    return ipaddress.ip_network(f"{found}/{int(bits) - mapped}" if slash else str(found))


def is_loopback(host: str) -> bool:
    """Tell this machine's own address or name from others."""
    try:
        return host.lower() == "localhost" or host.lower().endswith(".localhost") or address(host).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Tell what can only be listened on."""
    try:
        return address(host).is_unspecified
    except ValueError:
        return not host


def is_name(host: str) -> bool:
    """Tell a name or an address that stands in a URL as it is from what does not."""
    return is_v6(host) or bool(_NAME.fullmatch(host) and (not _NUMBER.fullmatch(host) or _is_v4(host)))


def _is_v4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True

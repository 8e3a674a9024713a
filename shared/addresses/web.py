"""Web addresses: of an outside system, of a page of ours, and of the company's proxy on the way.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name the proxy; this machine is never behind it.
"""

import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from shared.addresses import hosts
from shared.addresses.hosts import ENCODED, AddressError, Form, Host, credentials, taken_apart

_LIKE = "like https://host:port/path"
_NOT_IN_AN_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f\\]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[\w.~-]+", re.ASCII)
_USUAL = {"http": 80, "https": 443}
_PROXY = Form(
    "a URL", ("http", "https", "socks4", "socks5", "socks5h"), (), f"http://USER:PASSWORD@HOST:PORT, {ENCODED}"
)
_BELOW = re.compile(r"/(v2/\w|siebel/v\d|ic/(api|ws)\b)", re.IGNORECASE)


def canonical(address: str) -> str:
    """Return *address* without a slash at its end.

    Raises:
        AddressError: it has no scheme or host, it has credentials, or something that no address has.
    """
    address = address.strip()
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressError(f"must be an address {_LIKE}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise AddressError(f"must begin with https:// or http:// and a host, {_LIKE}")
    if "@" in parts.netloc:
        raise AddressError("must have no user and password in it; there are settings for them")
    if port == 0 or parts.fragment or _NOT_IN_AN_ADDRESS.search(address):
        raise AddressError(f"must be an address {_LIKE}")
    return address.rstrip("/")


def base(address: str) -> str:
    """Return the address of a system, to which its paths are added.

    Raises:
        AddressError: as `canonical`; or it goes on into those paths, or has a query.
    """
    found = canonical(address)
    if "?" in found:
        raise AddressError("must have no query: it is what stands before /v2, /siebel or /ic")
    if _BELOW.search(urlsplit(found).path):
        raise AddressError("must end before /v2, /siebel or /ic: what follows is added to it")
    return found


def page(address: str) -> str:
    """Return the address at which people open pages of ours, as their browsers write it, without a slash at its end.

    Raises:
        AddressError: as `canonical`; or nobody could open it, or links cannot be added to it.
    """
    found = canonical(address)
    parts = urlsplit(found)
    host, path = (parts.hostname or ""), parts.path.rstrip("/")
    if "?" in found:
        raise AddressError(f"must have no query: links are added to it, {_LIKE}")
    if not hosts.is_name(host):
        raise AddressError("must have a host of ASCII letters, or an address; a name in another script as xn--…")
    if hosts.is_unspecified(host):
        raise AddressError("must be where people open it; nobody can open an address that is only listened on")
    if path and not all(map(_SEGMENT.fullmatch, path[1:].split("/"))):
        raise AddressError("must have a path of letters, digits, - . _ ~ and single slashes, like /membersync")
    port = "" if parts.port in {None, _USUAL[parts.scheme]} else str(parts.port)
    return f"{parts.scheme}://{Host(host, port)}{path}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.  Shape: *url* with its credentials; *place* without, for messages."""

    url: str = field(repr=False)
    place: str

    def __str__(self) -> str:
        """Name it, without its credentials."""
        return f"the proxy {self.place}"


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy through which *url* is reached; None: there is none on the way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    told = getproxies_environment()
    address = told.get(parts.scheme) or told.get("all")
    if not address or not host or hosts.is_loopback(host) or _is_excepted(host.lower(), told.get("no", "")):
        return None
    try:
        found = taken_apart(address if "://" in address else f"http://{address}", _PROXY)
    except AddressError:
        return Proxy("", f"of the environment, which cannot be read: it must be like {_PROXY.example}")
    where = found.hosts[0]
    return Proxy(f"{found.scheme}://{credentials(found.user, found.password)}{where}", f"{found.scheme}://{where}")


def trusted() -> ssl.SSLContext:
    """Trust the system's authorities; or those of SSL_CERT_FILE, in their place."""
    return ssl.create_default_context()


def _is_excepted(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY has *host*: by its name or its end, its address, a network (10.0.0.0/8), or `*`."""
    for one in map(str.strip, no_proxy.lower().split(",")):
        name = one.removeprefix("*").removeprefix(".")
        if one == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        with suppress(ValueError):
            if hosts.address(host) in ipaddress.ip_network(one.strip("[]"), strict=False):
                return True
    return False

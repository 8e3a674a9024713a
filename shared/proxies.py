"""The company's proxy, as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say; this machine is never behind it."""

import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from shared.addresses.hosts import address as read_address
from shared.addresses.hosts import is_loopback
from shared.addresses.reading import ENCODED, AddressError, Form, credentials, taken_apart

_SCHEMES = ("http", "https", "socks4", "socks5", "socks5h")
_FORM = Form("a URL", _SCHEMES, (), f"http://USER:PASSWORD@HOST:PORT, {ENCODED}")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.  Shape: *url* with its credentials; *place* without, for messages."""

    url: str = field(repr=False)
    place: str

    def __str__(self) -> str:
        """Name it, without its credentials."""
        return f"the proxy {self.place}"


def proxy_for(url: str) -> Proxy | None:
    """Give the proxy through which *url* is reached; None: there is none on the way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    told = getproxies_environment()
    address = told.get(parts.scheme) or told.get("all")
    if not address or not host or is_loopback(host) or _is_excepted(host, told.get("no", "")):
        return None
    return _read(address)


def trusted() -> ssl.SSLContext:
    """Trust the system's authorities; or those of SSL_CERT_FILE, in their place."""
    return ssl.create_default_context()


def _is_excepted(host: str, no_proxy: str) -> bool:
    """Say whether NO_PROXY excepts *host*: by its name or its end, its address, a network (10.0.0.0/8), or `*`."""
    return any(_is_meant(host.lower(), one.strip().lower()) for one in no_proxy.split(","))


def _is_meant(host: str, one: str) -> bool:
    name = one.removeprefix("*").removeprefix(".")
    if one == "*" or (name and (host == name or host.endswith(f".{name}"))):
        return True
    try:
        return read_address(host) in ipaddress.ip_network(one.strip("[]"), strict=False)
    except ValueError:
        return False


def _read(address: str) -> Proxy:
    try:
        parts = taken_apart(address if "://" in address else f"http://{address}", _FORM)
    except AddressError:
        return Proxy("", f"of the environment, which cannot be read: it must be like {_FORM.example}")
    place = f"{parts.scheme}://{parts.hosts[0]}"
    return Proxy(f"{parts.scheme}://{credentials(parts.user, parts.password)}{parts.hosts[0]}", place)

"""The address of an outside system, or of a page of ours."""

import re
from urllib.parse import urlsplit

from shared.addresses import hosts
from shared.addresses.reading import AddressError, Host

_LIKE = "like https://host:port/path"
_NOT_IN_AN_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f\\]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[\w.~-]+", re.ASCII)
_USUAL = {"http": 80, "https": 443}
_BELOW = re.compile(r"/(v2/\w|siebel/v\d|ic/(api|ws)\b)", re.IGNORECASE)


def canonical(address: str) -> str:
    """Give *address* without a slash at its end.

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
    """Give the address of a system, to which its paths are added.

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
    """Give the address at which people open pages of ours, as their browsers write it, without a slash at its end.

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

"""A URL of a server taken apart, with its password written as it should be or just as it is.

A password as it is, `/ # ? % @ :` included, ends at the last `@`.
"""

import ipaddress
import re
from collections.abc import Collection
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
        if found and rest and _may_be(rest, form):
            who = [None if found[name] is None else decoded(found[name], form) for name in ("user", "password")]
            hosts = tuple(host_of(host, form) for host in rest["hosts"].split(","))
            return Parts(whole[1].lower(), who[0], who[1], hosts, rest["path"], rest["query"] or "")
    raise AddressError(f"cannot be read without doubt; write it like {form.example}")


def _may_be(rest: re.Match[str], form: Form) -> bool:
    pairs = [pair.partition("=") for pair in (rest["query"] or "").split("&") if pair]
    is_query = all(separator and name in form.keys for name, separator, _ in pairs)
    return is_query and all(map(_HOST.fullmatch, rest["hosts"].split(",")))


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
    """Tell an IPv6 address, without brackets, from a name."""
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

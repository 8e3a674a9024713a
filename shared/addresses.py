"""Where the ledger and the outside systems are: one reading of each address, for whoever connects.

The ledger's has every form that libpq, SQLAlchemy or pg_auto_failover prints - URI and `key=value`, several hosts,
IPv6, unix sockets - and becomes libpq's arguments.

An outside system's, and that of a page of ours, is `http` or `https` without credentials.  HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY and NO_PROXY name the company's proxy on the way; this machine is never behind it.

What cannot be read without doubt is refused, with a form that can.  No parser's words are ever shown: they quote what
they could not read, which may be a password.
"""

import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, urlsplit
from urllib.request import getproxies_environment

from shared import hosts
from shared.hosts import (
    ENCODED,
    AddressError,
    Form,
    Host,
    check_port,
    credentials,
    decoded,
    host_of,
    taken_apart,
)

# Of libpq 18; no import of the driver, so that stages may read settings.
_KEYWORDS = frozenset({
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "oauth_client_id", "oauth_client_secret", "oauth_issuer",
    "oauth_scope", "options", "passfile", "password", "port", "replication", "require_auth", "requirepeer",
    "scram_client_key", "scram_server_key", "service", "ssl_max_protocol_version", "ssl_min_protocol_version",
    "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslkeylogfile", "sslmode",
    "sslnegotiation", "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
})  # fmt: skip
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?!')(?:[^\s\\]|\\.)*))(?:\s+|$)", re.DOTALL)
_JDBC = "ssl"
POOLED = "pgbouncer"
"""Of our own: `pgbouncer=true` says that PgBouncer, in transaction mode, stands before the server."""
_LEDGER = Form(
    "a postgresql+psycopg:// URL",
    ("postgresql", "postgres", "postgresql+psycopg"),
    _KEYWORDS | {_JDBC, POOLED},
    f"postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, {ENCODED}",
)
_CONNINFO = "or like host=HOST port=PORT dbname=DATABASE user=USER password='PASSWORD'"
_PORT = "5432"
_WORDS = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "primary"),
    "client_encoding": ("utf8", "utf-8", "auto"),
    POOLED: ("true", "false"),
}
_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_OURS = re.compile(r"synchronous_commit|transaction_read_only", re.IGNORECASE)


@lru_cache(maxsize=16)
def ledger_arguments(address: str) -> Mapping[str, str]:
    """Return what libpq calls the parts of *address*: `host`, `port`, `dbname`, `user`, `password` and so on.

    Beside them `POOLED`, of which libpq knows nothing.

    Raises:
        AddressError: it cannot be read, or a ledger cannot be kept with it.
    """
    found = _of_url(address) if "://" in address else _of_conninfo(address)
    for name, words in _WORDS.items():
        if name in found and found[name].lower() not in words:
            raise AddressError(f"{name} must be {' or '.join(words)}; the ledger is written to, in UTF-8")
    for name in _NUMBERS:
        if not found.get(name, "0").isdecimal():
            raise AddressError(f"{name} must be a whole number")
    if _OURS.search(found.get("options", "")):
        raise AddressError("options must leave synchronous_commit and read-only as they are: accepted is never lost")
    if is_pooled(found) and "options" in found:
        raise AddressError("options do not get through PgBouncer: `alter role … set …` on the server keeps them")
    if "sslrootcert" in found:
        found.setdefault("sslmode", "verify-full")  # libpq would take any certificate, of any host
    if "," in found.get("host", "") and found.setdefault("target_session_attrs", "read-write") == "any":
        # libpq would take the first that answers: after a failover that may be the one which cannot write.
        raise AddressError("target_session_attrs must be read-write or primary where there are several hosts")
    return found


def is_pooled(found: Mapping[str, str]) -> bool:
    """Return whether the ledger of these arguments is reached through PgBouncer."""
    return found.get(POOLED, "").lower() == "true"


def canonical_ledger(address: str) -> str:
    """Return *address* in the one form that every process reads the same.

    Raises:
        AddressError: as `ledger_arguments`.
    """
    found = dict(ledger_arguments(address))
    where = _where(found)
    for name in ("host", "port"):
        found.pop(name, None)
    who = credentials(found.pop("user", None), found.pop("password", None))
    database = quote(found.pop("dbname", ""), safe="")
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in found.items())
    return f"postgresql+psycopg://{who}{where}/{database}" + (f"?{query}" if query else "")


def ledger_place(address: str) -> str:
    """Return where *address* points, without user and password."""
    found = ledger_arguments(address)
    return f"postgresql://{_where(found)}/{found.get('dbname', '')}"


def _where(found: Mapping[str, str]) -> str:
    hosts = found.get("host", "").split(",")
    ports = found.get("port", "").split(",")
    return ",".join(str(Host(host, port)) for host, port in zip(hosts, _spread(ports, hosts), strict=True))


def _spread(ports: Sequence[str], hosts: Sequence[object]) -> Sequence[str]:
    """Return each host its port; one port is every host's.

    Raises:
        AddressError: their numbers differ.
    """
    if len(ports) == 1:
        return list(ports) * len(hosts)
    if len(ports) != len(hosts):
        raise AddressError(f"must name as many ports as hosts, like {_LEDGER.example}")
    return ports


def _of_url(address: str) -> dict[str, str]:
    parts = taken_apart(address, _LEDGER)
    hosts = [host for host in parts.hosts if host != Host("", "")]
    given: dict[str, str] = {}
    for name, _, raw in (pair.partition("=") for pair in parts.query.split("&") if pair):
        # SQLAlchemy writes a blank as `+`, libpq means a `+` by it.
        value = decoded(raw.replace("+", " ") if "+" in parts.scheme else raw, _LEDGER)
        if name == "host":  # several for SQLAlchemy: host=a:5432&host=b:5432, or host=a,b&port=5432,5433
            hosts += [_named(one) for one in value.split(",")]
        elif name == _JDBC:
            given["sslmode"] = "require" if value == "true" else value
        else:
            given[name] = value
    named = {"user": parts.user, "password": parts.password, "dbname": decoded(parts.path or "", _LEDGER)}
    ports = given.pop("port", "").split(",")
    return given | {name: value for name, value in named.items() if value} | _placed(hosts, ports)


def _named(one: str) -> Host:
    """Read a host out of a query or of `key=value`: a name, an address, a socket's folder; a port if there is one."""
    is_bare = one.startswith(("/", "@")) or (one.count(":") > 1 and "[" not in one)
    return Host(one, "") if is_bare else host_of(one, _LEDGER)


def _placed(hosts: Sequence[Host], ports: Sequence[str]) -> dict[str, str]:
    """Return `host` and `port` as libpq wants them, lists of one length; *ports* are for hosts that say none."""
    some = hosts or [Host("", "")]
    last = "" if len(some) == 1 else _PORT
    merged = [host.port or spare or last for host, spare in zip(some, _spread(ports, some), strict=True)]
    for port in merged:
        check_port(port, _LEDGER)
    found = {"host": ",".join(host.name for host in some), "port": ",".join(merged)}
    return {name: value for name, value in found.items() if value}


def _of_conninfo(address: str) -> dict[str, str]:
    pairs = _PAIR.findall(address)
    read = {name: re.sub(r"\\(.)", r"\1", quoted or plain, flags=re.DOTALL) for name, quoted, plain in pairs}
    if not read or _PAIR.sub("", address) or not read.keys() <= _KEYWORDS | {POOLED}:
        raise AddressError(f"must be {_LEDGER.kind}, like {_LEDGER.example}; {_CONNINFO}")
    hosts = [_named(host) for host in read.pop("host", "").split(",") if host]
    given = {name: value for name, value in read.items() if value}
    return given | _placed(hosts, given.pop("port", "").split(","))


_LIKE = "like https://host:port/path"
_NOT_IN_AN_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f\\]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[\w.~-]+", re.ASCII)
_USUAL = {"http": 80, "https": 443}
_PROXY = Form(
    "a URL", ("http", "https", "socks4", "socks5", "socks5h"), (), f"http://USER:PASSWORD@HOST:PORT, {ENCODED}"
)
_BELOW = re.compile(r"/(v2/\w|siebel/v\d|ic/(api|ws)\b)", re.IGNORECASE)


def canonical_url(address: str) -> str:
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


def base_url(address: str) -> str:
    """Return the address of a system, to which its paths are added.

    Raises:
        AddressError: as `canonical_url`; or it goes on into those paths, or has a query.
    """
    found = canonical_url(address)
    if "?" in found:
        raise AddressError("must have no query: it is what stands before /v2, /siebel or /ic")
    if _BELOW.search(urlsplit(found).path):
        raise AddressError("must end before /v2, /siebel or /ic: what follows is added to it")
    return found


def page_url(address: str) -> str:
    """Return the address at which people open pages of ours, as their browsers write it, without a slash at its end.

    Raises:
        AddressError: as `canonical_url`; or nobody could open it, or links cannot be added to it.
    """
    found = canonical_url(address)
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

"""Where the broker is: one reading of its address, for whoever connects.

| address | broker |
|---|---|
| `redis://USER:PASSWORD@HOST:6379/0` | one Redis or Valkey |
| `sentinel://USER:PASSWORD@HOST:26379,HOST:26379/0?master_name=NAME` | whichever is primary, by these Sentinels |
| `amqp://USER:PASSWORD@HOST:5672,HOST:5672/VHOST` | one RabbitMQ, or a cluster by some of its nodes |

`rediss`, `sentinels` and `amqps` are the same over TLS.  The certificate must be good for the host, by the system's
authorities or `SSL_CERT_FILE`; `ssl_ca_certs=/path.pem` in the query names another, `ssl_certfile` and `ssl_keyfile`
are our own, `ssl_cert_reqs=none` asks for no certificate.  User and password are those of the server; Sentinels that
want some of their own have them in `sentinel_username` and `sentinel_password`.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from shared.hosts import ENCODED, AddressError, Form, Host, Parts, credentials, decoded, taken_apart

_VERIFIED = {"required": True, "cert_required": True, "none": False, "cert_none": False}
_OF_TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OF_SENTINEL = ("master_name", "sentinel_username", "sentinel_password")
_FORM = Form(
    "a redis://, rediss://, sentinel://, sentinels://, amqp:// or amqps:// URL",
    ("redis", "rediss", "sentinel", "sentinels", "amqp", "amqps"),
    (*_OF_TLS, *_OF_SENTINEL),
    f"rediss://USER:PASSWORD@HOST:6379/0 or amqps://USER:PASSWORD@HOST:5671,HOST:5671/VHOST, {ENCODED}",
)
_SECURE = {"rediss", "sentinels", "amqps"}
_SENTINEL, _SENTINEL_PORT = "sentinel", "26379"
_MASTER_NAME = "mymaster"
"""As Sentinel's own example of a configuration calls it."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is.

    Shape: *urls* are for Celery and redis-py, one for each host, with the password in it and without a query; *tls* is
    kombu's `ssl`, None where there is no TLS; *place* has no credentials; *sentinel* are the options of kombu and
    redis-py for Sentinel, empty where there is none; *hosts* as they are named.
    """

    urls: tuple[str, ...] = field(repr=False)
    place: str
    tls: dict[str, Any] | None
    sentinel: Mapping[str, Any] = field(repr=False)
    hosts: tuple[Host, ...]

    @property
    def url(self) -> str:
        """All of it in one, as Celery takes it."""
        return ";".join(self.urls)


@lru_cache(maxsize=16)
def read_broker(address: str) -> Broker:
    """Read a broker's address.

    Raises:
        AddressError: it cannot be read, or is none of a broker.
    """
    parts = taken_apart(address, _FORM)
    kind = parts.scheme.removesuffix("s") if parts.scheme in _SECURE else parts.scheme
    if re.search(r";\w+://", address):
        raise AddressError(f"must name its hosts with commas, like {_FORM.example}")
    if kind == "redis" and len(parts.hosts) != 1:
        raise AddressError("must name one host; several that replicate are reached by sentinel://")
    if kind != "amqp" and not re.fullmatch(r"\d*", parts.path or "", re.ASCII):
        raise AddressError(f"must end with the number of a database, like {_FORM.example}")
    given = {name: decoded(value, _FORM) for name, value in _pairs(parts)}
    of_tls = {name: value for name, value in given.items() if name in _OF_TLS}
    if of_tls and parts.scheme not in _SECURE:
        raise AddressError(
            f"has parameters of TLS, so it must begin with rediss://, sentinels:// or amqps://, like {_FORM.example}"
        )
    if kind != _SENTINEL and len(of_tls) < len(given):
        raise AddressError("has parameters of Sentinel, so it must begin with sentinel:// or sentinels://")
    hosts = parts.hosts
    if kind == _SENTINEL:
        hosts = tuple(Host(one.name, one.port or _SENTINEL_PORT) for one in hosts)
    tls = _tls(kind, parts, of_tls) if parts.scheme in _SECURE else None
    database = "" if parts.path is None else f"/{parts.path}"
    scheme = kind if kind == _SENTINEL else parts.scheme  # what kombu calls it: there TLS is an option
    who = credentials(parts.user, parts.password)
    return Broker(
        urls=tuple(f"{scheme}://{who}{host}{database}" for host in hosts),
        place=f"{parts.scheme}://{','.join(map(str, hosts))}{database}",
        tls=tls,
        sentinel=_sentinel(given, tls) if kind == _SENTINEL else {},
        hosts=hosts,
    )


def canonical_broker(address: str) -> str:
    """Return *address* in the one form that every process reads the same.

    Raises:
        AddressError: as `read_broker`.
    """
    parts, found = taken_apart(address, _FORM), read_broker(address)
    scheme, _, where = found.place.partition("://")
    return f"{scheme}://{credentials(parts.user, parts.password)}{where}" + (f"?{parts.query}" if parts.query else "")


def is_amqp(url: str) -> bool:
    """Return whether it is RabbitMQ, and not Redis or Valkey."""
    return url.startswith("amqp")


def _pairs(parts: Parts) -> list[tuple[str, str]]:
    split = (pair.partition("=") for pair in parts.query.split("&") if pair)
    return [(name, value) for name, _, value in split]


def _tls(kind: str, parts: Parts, given: Mapping[str, str]) -> dict[str, Any]:
    files = dict(given)
    verified = _VERIFIED.get(files.pop("ssl_cert_reqs", "required").lower())
    if verified is None:
        raise AddressError("ssl_cert_reqs must be required or none")
    need = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    if kind != "amqp":
        return {"ssl_cert_reqs": need, "ssl_check_hostname": verified, **files}
    # Of several hosts each is checked by its own name: None, which `shared.broker` reads so.
    name = parts.hosts[0].name if len(parts.hosts) == 1 else None
    checked = {"server_hostname": name} if verified else {}
    return {"cert_reqs": need, **checked, **{key.removeprefix("ssl_"): value for key, value in files.items()}}


def _sentinel(given: Mapping[str, str], tls: Mapping[str, Any] | None) -> dict[str, Any]:
    own = {name.removeprefix("sentinel_"): value for name, value in given.items() if name in _OF_SENTINEL[1:]}
    secure = {} if tls is None else {"ssl": True, **tls}
    return {"master_name": given.get("master_name", _MASTER_NAME), "sentinel_kwargs": {**own, **secure}}

"""The broker's address, and how its TLS is checked.

With `rediss` and `amqps` the certificate must be good for the host, by the system's authorities or `SSL_CERT_FILE`;
`ssl_ca_certs=/path.pem` in the query names another, `ssl_certfile` and `ssl_keyfile` are our own,
`ssl_cert_reqs=none` asks for no certificate.
"""

import re
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from shared.addresses.reading import ENCODED, AddressError, Form, Parts, credentials, decoded, taken_apart

_VERIFIED = {"required": True, "cert_required": True, "none": False, "cert_none": False}
_FORM = Form(
    "a redis://, rediss://, amqp:// or amqps:// URL",
    ("redis", "rediss", "amqp", "amqps"),
    ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    f"rediss://USER:PASSWORD@HOST:6379/0 or amqps://USER:PASSWORD@HOST:5671/VHOST, {ENCODED}",
)
_SECURE = {"rediss", "amqps"}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is.

    Shape: *url* is for Celery and redis-py, with the password in it and without its query; *tls* is kombu's `ssl`,
    None where there is no TLS; *place* has no credentials.
    """

    url: str = field(repr=False)
    place: str
    tls: dict[str, Any] | None


@lru_cache(maxsize=16)
def broker(address: str) -> Broker:
    """Read a broker's address.

    Raises:
        AddressError: it cannot be read, or is none of a broker.
    """
    parts = taken_apart(address, _FORM)
    if len(parts.hosts) != 1 or re.search(r";\w+://", address):
        raise AddressError(f"must name one host, like {_FORM.example}")
    if parts.scheme.startswith("redis") and not re.fullmatch(r"\d*", parts.path or "", re.ASCII):
        raise AddressError(f"must end with the number of a database, like {_FORM.example}")
    if parts.query and parts.scheme not in _SECURE:
        raise AddressError(f"has parameters of TLS, so it must begin with rediss:// or amqps://, like {_FORM.example}")
    where = f"{parts.hosts[0]}" + ("" if parts.path is None else f"/{parts.path}")
    url = f"{parts.scheme}://{credentials(parts.user, parts.password)}{where}"
    return Broker(url, f"{parts.scheme}://{where}", _tls(parts) if parts.scheme in _SECURE else None)


def canonical(address: str) -> str:
    """Give *address* in the one form that every process reads the same.

    Raises:
        AddressError: as `broker`.
    """
    query = taken_apart(address, _FORM).query
    return broker(address).url + (f"?{query}" if query else "")


def is_amqp(url: str) -> bool:
    """Tell RabbitMQ from Redis and Valkey."""
    return url.startswith("amqp")


def _tls(parts: Parts) -> dict[str, Any]:
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    given = {name: decoded(value, _FORM) for name, _, value in pairs}
    verified = _VERIFIED.get(given.pop("ssl_cert_reqs", "required").lower())
    if verified is None:
        raise AddressError("ssl_cert_reqs must be required or none")
    need = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    if not is_amqp(parts.scheme):
        return {"ssl_cert_reqs": need, "ssl_check_hostname": verified, **given}
    name = {"server_hostname": parts.hosts[0].name} if verified else {}
    return {"cert_reqs": need, **name, **{key.removeprefix("ssl_"): value for key, value in given.items()}}

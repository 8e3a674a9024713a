"""Signed events: a name of `MEMBERSYNC_INTAKE__SIGNING_KEYS` proves beside its token that it wrote what it sends.

A token travels with each request and is whoever's that reads one; a signing key never travels.  The form is that of
Standard Webhooks (https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp` in s, and `webhook-signature`,
one or several of `v1,<base64>` with a blank between them, each the HMAC-SHA256 of `id.timestamp.body`.

What was recorded is refused once it is older than `MEMBERSYNC_INTAKE__SIGNED_WITHIN_S`; again within it, intake finds
that it has each event already.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from producers.http.request import ProblemError

_VERSION = "v1"
_ID_MAX = 256
_DIGITS_MAX = 12


def signature(key: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return what `webhook-signature` says of a *body*."""
    digest = hmac.digest(key.encode(), f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"{_VERSION},{b64encode(digest).decode()}"


def check(headers: Mapping[str, str], body: bytes, keys: Iterable[SecretStr], *, now_s: float, within_s: float) -> None:
    """Let pass a *body* that was signed with one of *keys*, at most *within_s* seconds before or after *now_s*.

    Raises:
        ProblemError: 401, it was not.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not 0 < len(message_id) <= _ID_MAX:
        raise _unsigned("webhook-id: is missing, or longer than 256 characters")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _DIGITS_MAX):
        raise _unsigned("webhook-timestamp: must be seconds since 1970")
    apart_s = abs(int(timestamp) - now_s)
    if apart_s > within_s:
        raise _unsigned(f"webhook-timestamp: is {apart_s:.0f} s from now; at most {within_s:g} s are allowed")
    given = [one.encode() for one in headers.get("webhook-signature", "").split()]
    right = [signature(one.get_secret_value(), message_id, timestamp, body).encode() for one in keys]
    # All with all, so that the time tells nothing.
    if not sum(hmac.compare_digest(one, other) for one in given for other in right):
        raise _unsigned("webhook-signature: is missing, or was made with another key, or of another body")


def _unsigned(detail: str) -> ProblemError:
    return ProblemError(401, "bad_signature", detail, {"WWW-Authenticate": 'Bearer realm="membersync"'})

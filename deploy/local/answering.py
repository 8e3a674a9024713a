"""Whether what was started here answers over HTTP, asked in the way that its users would ask."""

import ssl
from collections.abc import Callable, Mapping

import httpx

from shared.settings import Settings

_WITHIN_S = 5.0
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""All of it is plain HTTP; to read the certificates of the world at each look took half a core from what starts."""


def get(url: str, login: tuple[str, str] | None = None) -> httpx.Response:
    """Return the answer of *url*, which is on this machine.

    Raises:
        httpx.TransportError: there is none.
    """
    return httpx.get(url, auth=login, trust_env=False, verify=_TRUSTS_NOBODY, timeout=_WITHIN_S)


def simulators_answer(urls: Mapping[str, str]) -> bool:
    """Return whether each of these simulators, and their control, listens."""
    try:
        return all(get(f"{url}/_sandbox/state").status_code for url in urls.values())
    except httpx.TransportError:
        return False


def _flower_lets_us_in(of: Settings) -> bool:
    password = of.flower.password.get_secret_value() if of.flower.password else ""
    return get(f"{of.flower.own_url}/healthcheck", (of.flower.username, password)).is_success


IS_WELL: Mapping[str, Callable[[Settings], bool]] = {
    "api": lambda of: get(f"{of.api.own_url}/readyz").is_success,  # it reaches the ledger, which has our schema
    "flower": _flower_lets_us_in,
}
"""Whether a page, by its name, does its work.

Raises:
    httpx.TransportError: it does not answer.
"""

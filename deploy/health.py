"""Whether a process does its work, asked in the way that its users would ask.

``python -m deploy.health WHAT`` is the health check of a container: exit code 0 when its process does its work.  WHAT
is `api`, `flower` or `dispatcher`, which must answer over HTTP, or `worker`: the one of this machine must take commands
from the broker.
"""

import ssl
import sys
from collections.abc import Callable, Mapping
from socket import gethostname

import httpx

from shared import hosts
from shared.settings import Settings, settings

_WITHIN_S = 5.0
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""All of it is plain HTTP; to read the certificates of the world at each look took half a core from what starts."""


def main(arguments: list[str]) -> int:
    """Check what is named; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write(f"usage: python -m deploy.health {'|'.join(CHECKS)}\n")
        return 2
    try:
        return 0 if CHECKS[arguments[0]](settings()) else 1
    except (OSError, httpx.HTTPError) as error:
        sys.stderr.write(f"{arguments[0]}: {type(error).__name__}\n")
        return 1


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


def _worker_answers(of: Settings) -> bool:
    from shared.broker import ask_workers  # noqa: PLC0415 - Celery costs the other checks half a second

    return bool(ask_workers(of.require_broker(), "ping", within_s=_WITHIN_S, limit=1, pattern=f"*@{gethostname()}"))


CHECKS: Mapping[str, Callable[[Settings], bool]] = {
    "api": lambda of: get(f"{of.api.own_url}/readyz").is_success,  # it reaches the ledger, which has our schema
    "dispatcher": lambda of: (
        get(f"{hosts.url(of.dispatcher.metrics_host, of.dispatcher.metrics_port)}/metrics").is_success
    ),
    "worker": _worker_answers,
    "flower": _flower_lets_us_in,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

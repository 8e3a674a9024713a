"""``python -m deploy.health WHAT``: the health check of a container; exit code 0 when its process does its work.

WHAT is `api`, `flower` or `dispatcher`, which must answer over HTTP, or `worker`: the one of this machine must take
commands from the broker.
"""

import sys
from collections.abc import Callable, Mapping
from socket import gethostname

import httpx

from shared.addresses import hosts
from shared.settings import Settings, settings

_WITHIN_S = 5.0


def main(arguments: list[str]) -> int:
    """Check what is named; give the exit code."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write(f"usage: python -m deploy.health {'|'.join(CHECKS)}\n")
        return 2
    try:
        return 0 if CHECKS[arguments[0]](settings()) else 1
    except (OSError, httpx.HTTPError) as error:
        sys.stderr.write(f"{arguments[0]}: {type(error).__name__}\n")
        return 1


def _api(of: Settings) -> bool:
    return _get(of.api.own_url, "/readyz")


def _dispatcher(of: Settings) -> bool:
    return _get(hosts.url(of.dispatcher.metrics_host, of.dispatcher.metrics_port), "/metrics")


def _flower(of: Settings) -> bool:
    password = of.flower.password.get_secret_value() if of.flower.password else ""
    return _get(of.flower.own_url, "/healthcheck", (of.flower.username, password))


def _worker(of: Settings) -> bool:
    from shared.broker import ask_workers  # noqa: PLC0415 - Celery costs the other checks half a second

    return bool(ask_workers(of.require_broker(), "ping", within_s=_WITHIN_S, limit=1, pattern=f"*@{gethostname()}"))


def _get(url: str, path: str, auth: tuple[str, str] | None = None) -> bool:
    return httpx.get(f"{url}{path}", auth=auth, trust_env=False, timeout=_WITHIN_S).is_success


CHECKS: Mapping[str, Callable[[Settings], bool]] = {
    "api": _api,
    "dispatcher": _dispatcher,
    "worker": _worker,
    "flower": _flower,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Whether a process of the stack does its work, asked in the way that its users would ask."""

import ssl
from collections.abc import Collection, Mapping

import httpx

from shared.addresses import hosts
from shared.broker import ask_workers
from shared.settings import ApiSettings, FlowerSettings

_TIMEOUT_S = 2.0
_ANSWERS_WITHIN_S = 1.0
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""All of it is plain HTTP; to read the certificates of the world at each look took half a core from what starts."""


def ready_api(port: int, settings: ApiSettings) -> bool:
    """Say whether the api takes events: it reaches the ledger, and the ledger has our schema."""
    return _is_ok(f"{hosts.url(settings.host, port)}/readyz")


def ready_flower(port: int, settings: FlowerSettings) -> bool:
    """Say whether Flower lets us in."""
    password = settings.password.get_secret_value() if settings.password else ""
    return _is_ok(f"{hosts.url(settings.host, port)}/healthcheck", (settings.username, password))


def ready_sandbox(urls: Mapping[str, str]) -> bool:
    """Say whether the control and each of the simulators answer."""
    return all(_answers(f"{url}/_sandbox/state") for url in urls.values())


def workers_answer(broker_url: str, pids: Collection[int]) -> bool:
    """Say whether the workers with these process numbers take commands from the broker, and so tasks."""
    try:
        answered = _asked(broker_url, limit=len(pids))
        if not answered.issuperset(pids) and len(answered) >= len(pids):
            answered = _asked(broker_url, limit=None)  # others work here too, and were quicker
    except ConnectionError:
        return False
    return answered.issuperset(pids)


def _asked(broker_url: str, limit: int | None) -> set[int]:
    answers = ask_workers(broker_url, "stats", within_s=_ANSWERS_WITHIN_S, limit=limit)
    return {int(stats["pid"]) for stats in answers.values() if "pid" in stats}


def _is_ok(url: str, auth: tuple[str, str] | None = None) -> bool:
    try:
        return httpx.get(url, auth=auth, trust_env=False, verify=_TRUSTS_NOBODY, timeout=_TIMEOUT_S).is_success
    except httpx.TransportError:
        return False


def _answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False, verify=_TRUSTS_NOBODY, timeout=_TIMEOUT_S)
    except httpx.TransportError:
        return False
    return True

"""Whether the clocks agree: this machine's against the ledger's, the broker's, and those of the outside systems."""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import httpx

from producers.doctor import broker
from producers.doctor.broker import BrokerError
from producers.doctor.check import Finding, Subject, UnlookedError, fail, ok, warn
from shared.addresses.servers import is_amqp
from shared.addresses.web import proxy_for, trusted
from shared.ledger import checkup
from shared.pipeline import Stage

WARN_S, FAIL_S = 2.0, 30.0
_WITHIN_S = 4.0
_HALF_A_SECOND = 0.5
_HERE = "this machine's clock against theirs"


def of_ledger(subject: Subject) -> list[Finding]:
    """Compare with the ledger's clock."""
    with subject.reading() as tx:
        checkup.server(tx)  # the next one measures the way, not the connecting

        def theirs() -> float:
            return checkup.server(tx).now.timestamp()

        ahead_s = _ahead_s(theirs)
    return [judge("clock of the ledger", ahead_s)]


def of_broker(subject: Subject) -> list[Finding]:
    """Compare with the broker's clock; RabbitMQ does not tell its own."""
    url = subject.broker_url
    if is_amqp(url):
        return []
    try:
        with broker.open_redis(url) as client:
            client.ping()

            def theirs() -> float:
                seconds, microseconds = client.time()
                return float(seconds) + microseconds / 1_000_000

            ahead_s = _ahead_s(theirs)
    except BrokerError as error:
        raise UnlookedError(f"the broker does not serve ({error})", "first what is said of the broker") from error
    return [judge("clock of the broker", ahead_s)]


def of_date(stage: Stage, subject: Subject) -> list[Finding]:
    """Compare with the `Date` of an outside system's answer, where it has one; what keeps it away is not said here."""
    url = subject.of.connection(stage).base_url
    if url is None or subject.offline or (stage is Stage.OIC and subject.of.oic.mode == "builtin"):
        return []
    try:
        return [judge(f"clock of {stage}", _ahead_s(lambda: date_of(url)))]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError, ImportError):
        return []


def judge(check: str, ahead_s: float) -> Finding:
    """Judge by how far that clock is ahead of ours.  Pure.  Units: seconds, negative when it is behind."""
    found = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
    if abs(ahead_s) <= WARN_S:
        return ok(check, _HERE, f"agrees within {WARN_S:g} s")
    why = "ages, leases and the order of a member's events compare instants of several machines"
    remedy = "`timedatectl status` on both machines; let chrony or ntpd keep them"
    return (fail if abs(ahead_s) > FAIL_S else warn)(check, _HERE, found, why, remedy)


def _ahead_s(theirs: Callable[[], float]) -> float:
    """Return how far a clock is ahead of ours, by ours in the middle of asking for it.  Units: epoch seconds."""
    asked = time()
    answered = theirs()
    return answered - (asked + time()) / 2


def date_of(url: str) -> float:
    """Return the instant of an answer's `Date`, which is cut to whole seconds; no credentials are sent.

    Raises:
        ValueError: it has none.
    """
    proxy = proxy_for(url)
    way: dict[str, Any] = {"proxy": proxy.url if proxy else None, "trust_env": False, "verify": trusted()}
    answer = httpx.head(url, timeout=_WITHIN_S, **way)
    said = parsedate_to_datetime(answer.headers.get("date", ""))
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() + _HALF_A_SECOND

"""A mailer and what it writes about."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from producers.mail.mailer import Mailer
from shared.ledger import connections
from shared.ledger.engine import transaction
from shared.lifecycle.breaker import Seen
from shared.pipeline import Stage
from shared.settings import CrowdTwistSettings, DispatcherSettings, MailSettings, Settings
from tests.mailbox import HOST, SETTINGS, Mailbox
from tests.rig import Pipeline
from tests.road import Road

FAILED = "CrowdTwist: could not serve us (HTTP 503), says ann.lee@example.org"


def mailer(road: Road, mailbox: Mailbox, **changes: Any) -> Mailer:  # noqa: ANN401  # settings as they are written
    """Return a mailer of this ledger and mail server."""
    of = MailSettings.model_validate(mailbox.settings | changes)
    url = road.ledger.url.render_as_string(hide_password=False)
    return Mailer(Settings(ledger_url=url, mail=of, dispatcher=DispatcherSettings(tick_s=0.01)))


def deliver(one: Mailer) -> int:
    """Let a mailer write what is new and send what is due; say how many were taken."""
    one.write()
    sent = 0
    while one.send_one():
        sent += 1
    return sent


def goes_down(road: Road, stage: Stage = Stage.CROWDTWIST) -> None:
    rules = replace(CrowdTwistSettings().breaker_rules, failures=1, members=1)
    with transaction(road.ledger) as tx:
        connections.observe(tx, stage, Seen(is_up=False, failed={1: "M-1"}, error=FAILED), rules)


def comes_back(road: Road, stage: Stage = Stage.CROWDTWIST) -> None:
    with transaction(road.ledger) as tx:
        connections.observe(tx, stage, Seen(is_up=True, failed={}), CrowdTwistSettings().breaker_rules)


def digest_is_due(road: Road) -> None:
    road.sql("update bookmark set upto = upto - interval '16 minutes' where name = 'digest'")


def bookmark(road: Road) -> datetime:
    (upto,) = road.sql("select upto from bookmark where name = 'digest'")
    assert isinstance(upto, datetime)
    return upto


def everything_is_due(road: Road) -> None:
    road.sql("update mail set due_at = now() where sent_at is null")


def unsent(road: Road) -> list[Any]:
    return road.sql("select tries, last_error from mail where sent_at is null order by id")


def mailing(pipeline: Pipeline, port: int) -> None:
    of = SETTINGS | {"host": HOST, "port": str(port), "timeout_s": "60"}
    pipeline.settings |= {f"MEMBERSYNC_MAIL__{name.upper()}": value for name, value in of.items()}

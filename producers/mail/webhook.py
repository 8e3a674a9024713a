"""The webhook: what mail tells operators is posted to a program of theirs, signed; it names nobody, as mail does not.

The form is that of Standard Webhooks (https://www.standardwebhooks.com), as of what Siebel's side signs: POST of
`{"type", "timestamp", "data": {"id", "subject", "text"}}` with `webhook-id`, `webhook-timestamp` in s, and
`webhook-signature`, `v1,<base64>` of the HMAC-SHA256 of `id.timestamp.body`.  The id is the same however often it is
posted, so that a repetition is recognised.

One that is not taken is posted again after up to 5 s, 10 s, 20 s … 10 min, or when the answer says, and is given up
after `MEMBERSYNC_WEBHOOK__MAX_TRIES`; `membersync doctor` tells of that.

It goes nowhere but to the address of the settings: a redirection is an error, and of an answer only the status is read.
"""

import secrets
import threading
from datetime import UTC, datetime

import httpx
import orjson

from producers.http.signatures import signature
from producers.mail.mailer import SendingError, Trouble, tried, wait_s
from shared.ledger import mail
from shared.ledger.engine import engine, outlasting, transaction
from shared.ledger.mail import Channel, LeasedMail
from shared.logs import logger
from shared.settings import Settings
from shared.webhook_settings import WebhookSettings

log = logger(__name__)

_LATER_MAX_S = 3600.0
_LEASE_BESIDE_S = 60.0
"""A lease outlives the posting by so much."""
_MARK_WITHIN_S = 10.0
_JITTER = secrets.SystemRandom()


class LaterError(SendingError):
    """It was not taken, and it was said when to try again.  Units: *after_s* seconds, an hour at most."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message, after_s)
        self.after_s = after_s

    def __str__(self) -> str:
        """Return what was answered."""
        return str(self.args[0])


def request_of(leased: LeasedMail, settings: WebhookSettings, *, now: datetime) -> httpx.Request:
    """Return what is posted, signed at *now*.  Pure."""
    key = settings.signing_key.get_secret_value() if settings.signing_key else ""
    message_id = f"membersync.{leased.mail_id}.{leased.written_at.timestamp() * 1000:.0f}"
    data = {"id": message_id, "subject": leased.composed.subject, "text": leased.composed.plain}
    said = {"type": f"membersync.{leased.composed.kind}", "timestamp": leased.written_at, "data": data}
    body, timestamp = orjson.dumps(said, option=orjson.OPT_UTC_Z), f"{now.timestamp():.0f}"
    headers = {
        "content-type": "application/json",
        "user-agent": "membersync",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(key, message_id, timestamp, body),
    }
    return httpx.Request("POST", settings.url or "", content=body, headers=headers)


def post(leased: LeasedMail, settings: WebhookSettings) -> None:
    """Post it.

    Raises:
        SendingError: it was not taken; the message has nothing of the address.
        LaterError: and it was said when to try again.
    """
    request = request_of(leased, settings, now=datetime.now(UTC))
    try:
        with httpx.Client(follow_redirects=False, timeout=settings.timeout_s) as client:
            answer = client.send(request, stream=True)
            answer.close()
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise SendingError(type(error).__name__) from error
    if answer.is_success:
        return
    where = " (redirections are not followed)" if answer.is_redirect else ""
    said = f"HTTP {answer.status_code}{where}"
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdecimal():
        raise LaterError(said, min(float(after[:9]), _LATER_MAX_S))
    raise SendingError(said)


class Poster:
    """One of those who post what waits for the webhook; the settings name one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger())
        self._posting = Trouble("the webhook takes nothing")
        self._keeping = Trouble("the webhook's outbox cannot be kept")

    def run(self, stop: threading.Event) -> None:
        """Post until *stop*; a ledger or a webhook that is away is waited for."""

        def post_all() -> None:
            while not stop.is_set() and self.post_one():
                pass

        while not stop.is_set():
            tried(post_all, self._keeping)
            stop.wait(self._settings.dispatcher.tick_s)

    def post_one(self) -> bool:
        """Post what has been due for longest; return whether there was something, and it was taken."""
        of = self._settings.webhook
        with transaction(self._ledger) as tx:
            leased = mail.lease(tx, lease_s=of.timeout_s + _LEASE_BESIDE_S, channel=Channel.WEBHOOK)
        if leased is None:
            return False
        try:
            post(leased, of)
        except SendingError as error:
            self._posting.met(str(error))
            self._put_off(leased, error)
            return False
        self._posting.over()
        outlasting(lambda: self._mark(leased), _MARK_WITHIN_S)
        log.info("webhook told", mail_id=leased.mail_id, kind=leased.composed.kind, tries=leased.tries)
        return True

    def _put_off(self, leased: LeasedMail, error: SendingError) -> None:
        with transaction(self._ledger) as tx:
            if leased.tries >= self._settings.webhook.max_tries:
                mail.give_up(tx, leased, error=str(error))
                log.error("given up: the webhook does not take it", mail_id=leased.mail_id, cause=str(error))
                return
            again_in_s = wait_s(leased.tries, _JITTER.random())
            if isinstance(error, LaterError):
                again_in_s = max(again_in_s, error.after_s)
            mail.put_off(tx, leased, error=str(error), again_in_s=again_in_s)

    def _mark(self, leased: LeasedMail) -> None:
        with transaction(self._ledger) as tx:
            mail.sent(tx, leased.mail_id)

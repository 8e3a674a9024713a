"""The mailer: takes what is new, writes mails, and brings them to the server.  A thread beside the dispatcher's turns.

1. What is new is taken from the ledger, and the mails about it put into the outbox, by one transaction.
2. A mail is leased, sent while no transaction is open, and marked.  Whoever dies in between leaves it to be sent again
   when the lease ends, under the same Message-ID.
3. A mail that was not taken is due again after up to 5 s, 10 s, 20 s … 10 min, for as long as it takes.  One that was
   taken for some recipients is due again for those who are to get it later (4xx), and for nobody else.

SMTP is one mail, one connection; everything that can go wrong with it becomes one error.

Any number may run.  A mail server that is down delays mail and nothing else; a webhook is told the same by a thread of
its own (`webhook`).
"""

import secrets
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

from producers.mail import composing
from producers.operations.reconcile import runs
from shared.errors import LedgerConflictError, LedgerError
from shared.ledger import guards, incident_reads, mail, reconciliations, silence, snapshots
from shared.ledger.engine import Transaction, engine, outlasting, transaction
from shared.ledger.mail import Channel, ComposedMail, LeasedMail
from shared.logs import logger
from shared.masking import mask_text
from shared.reconciling import RunState
from shared.settings import MailSettings, Settings

_Refusals = Mapping[str, tuple[int, bytes]]
_FOR_NOW = range(400, 500)


class SendingError(Exception):
    """The mail server did not take a mail; the message says why, without an address or secret."""


def message_of(mail: LeasedMail, settings: MailSettings) -> EmailMessage:
    """Return a mail as it goes out.  Pure: sent again it is the same, so that a repetition is recognised."""
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.sender
    message["To"] = settings.recipients
    message["Subject"] = mail.composed.subject
    message["Date"] = mail.written_at
    domain = message["From"].addresses[0].domain
    message["Message-ID"] = f"<membersync.{mail.mail_id}.{mail.written_at.timestamp() * 1000:.0f}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable goes through every server, whatever it says of 8-bit bodies.
    message.set_content(mail.composed.plain, cte="quoted-printable")
    message.add_alternative(mail.composed.html, subtype="html", cte="quoted-printable")
    return message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the mail server took.

    Shape: *taken* and *refused* (5xx, for good) how many recipients; *later* whom it will take it for later (4xx);
    *complaint* what it said to these, without an address.
    """

    taken: int
    later: tuple[str, ...] = ()
    refused: int = 0
    complaint: str | None = None


def send(message: EmailMessage, settings: MailSettings, recipients: Sequence[str] | None = None) -> Outcome:
    """Hand *message* to the mail server for *recipients*, None: for all whom the settings name.

    Raises:
        SendingError: it took it for nobody, and nobody else has it.
    """
    to = list(recipients) if recipients else [address.addr_spec for address in message["To"].addresses]
    try:
        session = _session(settings)
        try:
            refused = session.send_message(message, to_addrs=to)
            with suppress(smtplib.SMTPException, OSError):  # it is sent, whatever they say to our good-bye
                session.quit()
        finally:
            session.close()
    except smtplib.SMTPRecipientsRefused as error:
        if not recipients:
            raise SendingError(_refusal(error.recipients)) from error
        refused = error.recipients  # the others have it
    except smtplib.SMTPResponseException as error:
        raise SendingError(_answer(error.smtp_code, error.smtp_error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise SendingError(mask_text(f"{type(error).__name__}: {error}")) from error
    later = {address: said for address, said in refused.items() if said[0] in _FOR_NOW}
    for_good = {address: said for address, said in refused.items() if address not in later}
    complaints = [_refusal(for_good)] if for_good else []
    complaints += [_refusal(later, "put off")] if later else []
    return Outcome(len(to) - len(refused), tuple(later), len(for_good), "; ".join(complaints) or None)


def _session(settings: MailSettings) -> smtplib.SMTP:
    host, timeout_s = settings.host or "", settings.timeout_s
    if settings.security == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL(
            host, settings.port, timeout=timeout_s, context=ssl.create_default_context()
        )
    else:
        session = smtplib.SMTP(host, settings.port, timeout=timeout_s)
    try:
        if settings.security == "starttls":
            session.starttls(context=ssl.create_default_context())
        if settings.username and settings.password:
            session.login(settings.username, settings.password.get_secret_value())
    except BaseException:
        session.close()
        raise
    return session


def _refusal(refused: _Refusals, what: str = "refused") -> str:
    code, answer = next(iter(refused.values()))
    return f"{len(refused)} recipients {what}, the first with {_answer(code, answer)}"


def _answer(code: int, answer: bytes | str) -> str:
    words = answer if isinstance(answer, str) else answer.decode("utf-8", "replace")
    return mask_text(f"{code} {' '.join(words.split())}".replace("\0", ""))


log = logger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 600.0
_LARGEST_EXPONENT = 30
_LEASE_TIMEOUTS = 10
"""A mail is leased for as many time-outs as an SMTP conversation has answers to wait for, about."""
_MARK_WITHIN_S = 10.0
_PRUNE_EVERY_S = 3600.0
_JITTER = secrets.SystemRandom()


class Mailer:
    """One of those who write what is told, for each channel that the settings name, and send mail."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger())
        composing.templates()
        self._writing = Trouble("no mail is written")
        self._sending = Trouble("mail waits to be sent")
        self._keeping = Trouble("the outbox cannot be kept")
        self._pruning = Trouble("sent mail is not pruned")
        self._prune_at = 0.0
        ways = ((Channel.MAIL, settings.mail.host), (Channel.WEBHOOK, settings.webhook.url))
        self._channels = [channel for channel, is_set in ways if is_set] or [Channel.MAIL]

    def run(self, stop: threading.Event) -> None:
        """Write and send until *stop*; a ledger or a mail server that is away is waited for."""

        def send_all() -> None:
            while not stop.is_set() and self.send_one():
                pass

        while not stop.is_set():
            tried(self.write, self._writing)
            if self._settings.mail.host:
                tried(send_all, self._keeping)
            tried(self._prune, self._pruning)
            stop.wait(self._settings.dispatcher.tick_s)

    def _put(self, tx: Transaction, composed: ComposedMail) -> None:
        mail.put(tx, composed, self._channels)

    def write(self) -> None:
        """Take what is new, and put the mails about it into the outbox."""
        now = datetime.now(UTC)
        with transaction(self._ledger) as tx:
            for change in mail.take_changes(tx, flap_s=self._settings.incidents.flap_s):
                self._put(tx, composing.of_change(change, self._settings, now=now))
        with transaction(self._ledger) as tx:
            for news, incident in incident_reads.take_news(tx, still_open_s=self._settings.mail.still_open_s):
                self._put(tx, composing.of_incident(news, incident, self._settings, now=now))
        with transaction(self._ledger) as tx:
            holders = snapshots.take_new(tx, over_s=self._settings.snapshot_max_s)
            if holders:
                self._put(tx, composing.of_snapshots(holders, self._settings, now=now))
        self._write_of_guards(now)
        with transaction(self._ledger) as tx:
            for run in reconciliations.take_news(tx):
                if run.found or run.state == RunState.FAILED:
                    self._put(tx, composing.of_run(run, self._settings, now=now))
        if runs.why_not_scheduled(self._settings) is None:
            with transaction(self._ledger) as tx:
                overdue = reconciliations.take_overdue(tx, every_h=self._settings.reconcile.every_h)
                if overdue is not None:
                    self._put(tx, composing.of_overdue(overdue, self._settings, now=now))
        with transaction(self._ledger) as tx:
            digest = mail.take_digest(tx, every_s=self._settings.mail.digest_every_s)
            if digest is not None and digest.failures:
                self._put(tx, composing.of_digest(digest, self._settings, now=now))

    def _write_of_guards(self, now: datetime) -> None:
        with transaction(self._ledger) as tx:
            for hold in guards.take_new(tx):
                self._put(tx, composing.of_hold(hold, self._settings, now=now))
            quiet = silence.take_new(tx, self._settings.guard.silence_rules)
            if quiet is not None:
                self._put(tx, composing.of_silence(quiet, self._settings, now=now))

    def send_one(self) -> bool:
        """Send the mail that has been due for longest; return whether there was one, and it was taken."""
        of = self._settings.mail
        with transaction(self._ledger) as tx:
            leased = mail.lease(tx, lease_s=_LEASE_TIMEOUTS * of.timeout_s)
        if leased is None:
            return False
        try:
            came = send(message_of(leased, of), of, leased.recipients)
        except SendingError as error:
            self._sending.met(str(error))
            with transaction(self._ledger) as tx:
                mail.put_off(tx, leased, error=str(error), again_in_s=wait_s(leased.tries, _JITTER.random()))
            return False
        if came.taken or not came.later:
            self._sending.over()
        outlasting(lambda: self._mark(leased, came), _MARK_WITHIN_S)
        log.info(
            "mail sent in part" if came.later else "mail sent",
            mail_id=leased.mail_id,
            kind=leased.composed.kind,
            tries=leased.tries,
            taken=came.taken,
            later=len(came.later),
            refused=came.refused,
            complaint=came.complaint,
        )
        return True

    def _mark(self, leased: LeasedMail, came: Outcome) -> None:
        with transaction(self._ledger) as tx:
            if not came.later:
                mail.sent(tx, leased.mail_id, complaint=came.complaint)
                return
            again_in_s = wait_s(leased.tries, _JITTER.random())
            error = came.complaint or ""
            mail.put_off(tx, leased, recipients=came.later, error=error, again_in_s=again_in_s)

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_EVERY_S
        with transaction(self._ledger) as tx:
            mail.prune(tx, days=self._settings.dispatcher.retention_days)


def tried(step: Callable[[], None], trouble: "Trouble") -> None:
    """Take a step; whatever becomes of it, the next one is taken."""
    try:
        step()
    except LedgerConflictError as error:
        log.info("met another transaction, and looks again", cause=str(error))
    except LedgerError as error:
        trouble.met(str(error))
    except Exception as error:  # noqa: BLE001  # a bug in one mail must not end all mail for good
        trouble.met(f"a bug: {type(error).__name__}")
    else:
        trouble.over()


class Trouble:
    """Logs a trouble when it begins and when it is over, not each time it is met."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_on = False

    def met(self, cause: str) -> None:
        """Say that there is trouble."""
        if not self._is_on:
            log.error(self._what, cause=cause)
        self._is_on = True

    def over(self) -> None:
        """Say that there is none."""
        if self._is_on:
            log.info("over", trouble=self._what)
        self._is_on = False


def wait_s(tries: int, jitter: float) -> float:
    """Return the seconds until a mail is tried again, after *tries*; *jitter* in [0, 1).  Pure."""
    return jitter * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(tries - 1, _LARGEST_EXPONENT))

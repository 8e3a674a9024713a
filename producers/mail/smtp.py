"""SMTP out: one mail, one connection; everything that can go wrong with it becomes one error."""

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

from shared.ledger.mail import LeasedMail
from shared.masking import mask_text
from shared.settings import MailSettings

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

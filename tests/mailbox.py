"""A real mail server on a free port of this machine, and what it was given."""

import email
import email.policy
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from deploy.local.programs import free_port

HOST = "127.0.0.1"
CERTIFICATE = Path(__file__).with_suffix(".pem")
USER, PASSWORD = "membersync", "s3cret word"
SETTINGS = {"from": "membersync <membersync@example.org>", "recipients": "ann@example.org,bob@example.org"}


@dataclass
class Mailbox:
    """What a mail server took.

    *answer* is what it says to each mail; *refused* whom it takes nothing for, *later* whom it takes nothing for yet.
    """

    port: int
    host: str = HOST
    answer: str = "250 taken"
    refused: str = ""
    later: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    logged_in: list[object] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of mail to this server."""
        return SETTINGS | {"host": self.host, "port": self.port, "timeout_s": 5}

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]).strip() for mail in self.mails]

    async def handle_RCPT(  # noqa: N802  # named by aiosmtpd
        self, _server: object, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address == self.refused:
            return "550 nobody of that name"
        if address == self.later:
            return "451 greylisted, come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: object, session: Session, envelope: Envelope) -> str:  # noqa: N802  # same
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            self.envelopes.append(envelope)
            self.logged_in.append(session.auth_data)
        return self.answer


@contextmanager
def mail_server(mailbox: Mailbox | None = None, *, security: str = "none") -> Iterator[Mailbox]:
    """Run a mail server that fills *mailbox*; with a *security* it is spoken to encrypted, and one can log in."""
    mailbox = mailbox or Mailbox(free_port())
    options: dict[str, Any] = {}
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
        options = {"authenticator": _authenticated}
        # It does not know that a connection that was encrypted from the beginning is encrypted.
        options |= (
            {"ssl_context": context, "auth_require_tls": False}
            if security == "tls"
            else {"tls_context": context, "require_starttls": True, "auth_required": True}
        )
    controller = Controller(mailbox, mailbox.host.strip("[]"), mailbox.port, server_hostname=HOST, **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@contextmanager
def silent_server() -> Iterator[int]:
    """Take connections on the port that this gives, and never say a word."""
    with socket.create_server((HOST, 0)) as listening:
        yield listening.getsockname()[1]


def _authenticated(_server: object, _session: Session, _envelope: Envelope, mechanism: str, said: object) -> AuthResult:
    assert isinstance(said, LoginPassword), mechanism
    is_known = (said.login, said.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_known, auth_data=USER, handled=False)

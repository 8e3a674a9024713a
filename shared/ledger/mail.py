"""Statements of the outbox: mails that were written, sent until the mail server takes them.

A mail is put in by the transaction that found its cause, and leased for the time of sending by moving `due_at`, so that
no transaction is open while SMTP is spoken.  A sender that dies meanwhile leaves a mail that is due again later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, text


class Kind(StrEnum):
    """What a mail is about."""

    DOWN = "down"
    UP = "up"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as it was composed.  Shape: *subject* one line; *plain* and *html* say the same."""

    kind: Kind
    subject: str
    plain: str
    html: str


@dataclass(frozen=True, slots=True)
class Leased:
    """A mail that may be sent now, by us alone until the lease ends.

    *tries* counts this one.  *recipients*: those whom it has not reached yet, None: it has reached nobody.
    """

    mail_id: int
    written_at: datetime
    tries: int
    letter: Letter
    recipients: tuple[str, ...] | None = None


def put(tx: Connection, letter: Letter) -> None:
    """Put a mail into the outbox."""
    parameters = {"kind": letter.kind, "subject": letter.subject, "plain": letter.plain, "html": letter.html}
    tx.execute(_PUT, parameters)


def lease(tx: Connection, *, lease_s: float) -> Leased | None:
    """Lease the mail that has been due for longest, None: nothing is.  Commit before sending.

    What is told of connections is told in order, so that the last mail is how it stands; one that the mail server
    refuses for good (5xx), or has taken for some recipients, holds up no other.
    """
    row = tx.execute(_LEASE, {"lease_s": lease_s}).one_or_none()
    if row is None:
        return None
    return Leased(
        row.id,
        row.created_at,
        row.tries,
        Letter(Kind(row.kind), row.subject, row.plain, row.html),
        _tuple(row.recipients),
    )


def sent(tx: Connection, mail_id: int, *, complaint: str | None = None) -> None:
    """Mark a mail as taken by the mail server.  *complaint*: what it did not like nevertheless."""
    tx.execute(_SENT, {"id": mail_id, "complaint": complaint})


def sent_in_part(tx: Connection, leased: Leased, *, recipients: Sequence[str], error: str, again_in_s: float) -> None:
    """Make a mail due again for *recipients*, who are to get it later; the others have it or never will."""
    parameters = {"id": leased.mail_id, "tries": leased.tries, "error": error, "again_in_s": again_in_s}
    tx.execute(_SENT_IN_PART, parameters | {"recipients": list(recipients)})


def failed(tx: Connection, leased: Leased, *, error: str, again_in_s: float) -> None:
    """Make a mail that could not be sent due again, unless its lease ended and another has tried meanwhile."""
    parameters = {"id": leased.mail_id, "tries": leased.tries, "error": error, "again_in_s": again_in_s}
    tx.execute(_FAILED, parameters)


def prune(tx: Connection, *, days: int) -> int:
    """Delete mails that were sent more than *days* ago."""
    return tx.execute(_PRUNE, {"days": days}).rowcount


def unsent(tx: Connection) -> tuple[int, float]:
    """Count the mails that wait to be sent, and give the age of the oldest in seconds; 0 if there is none."""
    row = tx.execute(_UNSENT).one()
    return int(row.total), float(row.age_s)


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


_PUT = text("insert into mail (kind, subject, plain, html) values (:kind, :subject, :plain, :html)")
_LEASE = text("""
    update mail
    set due_at = now() + make_interval(secs => :lease_s), tries = least(tries + 1, 32767)
    where id = (select id from mail l where sent_at is null and due_at <= now()
                  and (kind = 'digest' or not exists (
                      select from mail o where o.sent_at is null and o.kind <> 'digest' and o.id < l.id
                                           and o.recipients is null and coalesce(o.last_error, '') !~ '^5'))
                order by due_at, id limit 1 for update skip locked)
    returning id, created_at, tries, kind, subject, plain, html, recipients
""")
_SENT = text("update mail set sent_at = now(), last_error = :complaint where id = :id and sent_at is null")
_FAILED = text("""
    update mail set due_at = now() + make_interval(secs => :again_in_s), last_error = :error
    where id = :id and tries = :tries and sent_at is null
""")
_SENT_IN_PART = text("""
    update mail set due_at = now() + make_interval(secs => :again_in_s), last_error = :error,
                    recipients = cast(:recipients as text[])
    where id = :id and tries = :tries and sent_at is null
""")
_PRUNE = text("delete from mail where sent_at < now() - make_interval(days => :days)")
_UNSENT = text("""
    select count(*) as total, coalesce(extract(epoch from now() - min(created_at)), 0) as age_s
    from mail where sent_at is null
""")

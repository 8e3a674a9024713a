"""Mail to operators: what there is to tell, and the outbox that keeps it until the mail server or webhook takes it.

There is to tell: connections that went down or came back, and who failed since the last digest (and, of `snapshots`,
who holds an old one).  Each change is taken once, by whoever has its row locked, however many ask: in the transaction
that takes it the mail about it has to be put into the outbox.  What is older than an hour is not told: mail may have
been off till now.

A mail is leased for the time of sending by moving `due_at`, so that no transaction is open while SMTP is spoken.  A
sender that dies meanwhile leaves a mail that is due again later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import cause_notes
from shared.ledger.causes import by_message
from shared.pipeline import Stage, State

_NEWS = timedelta(hours=1)
_OPEN_MAX = timedelta(minutes=1)
_ERRORS_MAX = 20_000
HELD_MAX = 100_000
"""Nobody counts further."""


@dataclass(frozen=True, slots=True)
class Change:
    """A connection that went down, or came back.

    Shape: *down_at* when it went down, None if that is not known; *held* how many instances are held there now, at most
    `HELD_MAX`; *incident* that it is a part of, with its *fingerprint*, "" for none.
    """

    stage: Stage
    is_up: bool
    at: datetime
    down_at: datetime | None
    error: str
    held: int
    incident: str = ""
    fingerprint: str = ""
    known: str = ""
    """What people noted on the cause, on one line."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Instances that failed for the same cause; *message* is normalised and names nobody."""

    state: State
    stage: Stage
    code: str
    message: str
    count: int
    first_at: datetime
    last_at: datetime
    known: str = ""
    """What people noted on the cause, on one line."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Who became a dead letter or was told a Data Error in [*since*, *until*).

    Shape: *failures* the commonest first; *dead* and *rejected* count all, also where causes are too many to name.
    """

    since: datetime
    until: datetime
    dead: int
    rejected: int
    failures: tuple[Failure, ...]


class Kind(StrEnum):
    """What a mail is about."""

    DOWN = "down"
    UP = "up"
    DIGEST = "digest"
    SNAPSHOT = "snapshot"
    GUARD = "guard"
    RECONCILED = "reconciled"
    INCIDENT = "incident"
    SILENCE = "silence"


class Channel(StrEnum):
    """By which way something is told."""

    MAIL = "mail"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class ComposedMail:
    """A mail as it was composed.  Shape: *subject* one line; *plain* and *html* say the same."""

    kind: Kind
    subject: str
    plain: str
    html: str


@dataclass(frozen=True, slots=True)
class LeasedMail:
    """A mail that may be sent now, by us alone until the lease ends.

    *tries* counts this one.  *recipients*: those whom it has not reached yet, None: it has reached nobody.
    """

    mail_id: int
    written_at: datetime
    tries: int
    composed: ComposedMail
    recipients: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Unsent:
    """Mail that no server has taken yet.  Units: *oldest_s* seconds since the oldest was written, 0: there is none.

    Shape: *since* when the oldest was written; *last_error* of the oldest that was tried; *complaint* is what the mail
    server did not like of the newest that it took, a recipient for instance.
    """

    count: int
    since: datetime | None
    oldest_s: float
    last_error: str | None
    complaint: str | None


@dataclass(frozen=True, slots=True)
class Posting:
    """How the webhook fares.  Units: *oldest_s* seconds since the oldest that waits was written; 0: none does.

    Shape: *count* given up within a day, the newest at *newest_at*; *last_error* of the newest that was tried and not
    taken; *waiting* how many are tried again; *taken* within a day, the newest at *taken_at*, None: none that is kept.
    """

    count: int
    newest_at: datetime | None
    waiting: int
    oldest_s: float
    last_error: str | None
    taken: int
    taken_at: datetime | None


def take_changes(tx: Connection, *, flap_s: float) -> list[Change]:
    """Take the changes that no mail tells of yet, oldest first.

    A connection that is down again within *flap_s* seconds of its return is in the same outage still: that is news only
    once it has lasted as long, and so is its return.  Of those older than an hour only one that is still down is news.
    One that went down in a planned window, or just before, is none unless it is down still a minute after that.
    """
    parameters = {"news": _NEWS, "held_max": HELD_MAX, "flap": timedelta(seconds=flap_s)}
    rows = tx.execute(_TAKE_CHANGES, parameters).all()
    known = cause_notes.notes(tx) if rows else []
    return [
        Change(
            Stage(row.name),
            row.what == "up",
            row.at,
            row.down_at,
            row.why or "",
            row.held,
            *_incident_of(row),
            cause_notes.said(cause_notes.on_cause(known, row.name, None, row.why or "")),
        )
        for row in sorted(rows, key=lambda row: row.id)
        if row.is_news
    ]


def _incident_of(row: Row[Any]) -> tuple[str, str]:
    return (str(row.incident["id"]), row.incident["fingerprint"]) if row.incident else ("", "")


def take_digest(tx: Connection, *, every_s: float) -> Digest | None:
    """Take who failed since the last digest; None: it is not *every_s* old, or another is taking it."""
    parameters = {"every": timedelta(seconds=every_s), "news": _NEWS, "open_max": _OPEN_MAX}
    span = tx.execute(_LOCK_DIGEST, parameters).one_or_none()
    if span is None or span.until <= span.since:
        return None
    # A statement of its own: it must see whatever had committed when the end of the span was found.
    period = {"since": span.since, "until": span.until}
    rows = tx.execute(_FAILURES, period | {"limit": _ERRORS_MAX}).all()
    tx.execute(_MOVE_DIGEST, {"until": span.until})
    known = cause_notes.notes(tx) if rows else []
    failures = [
        Failure(
            State(alike[0].state),
            Stage(alike[0].failed_stage),
            alike[0].code,
            message,
            sum(row.times for row in alike),
            min(row.first_at for row in alike),
            max(row.last_at for row in alike),
            cause_notes.said(cause_notes.on_cause(known, alike[0].failed_stage, alike[0].code, message)),
        )
        for message, alike in by_message(rows, "state", "failed_stage", "code")
    ]
    failures.sort(key=lambda one: (-one.count, one.stage, one.code, one.message))
    totals = {row.state: int(row.total) for row in rows}
    return Digest(span.since, span.until, totals.get(State.DEAD, 0), totals.get(State.REJECTED, 0), tuple(failures))


def put(tx: Connection, composed: ComposedMail, channels: Iterable[Channel] = (Channel.MAIL,)) -> None:
    """Put a mail into the outbox, once for each channel."""
    for channel in channels:
        tx.execute(_PUT, asdict(composed) | {"channel": channel})


def lease(tx: Connection, *, lease_s: float, channel: Channel = Channel.MAIL) -> LeasedMail | None:
    """Lease the mail of a channel that has been due for longest, None: nothing is.  Commit before sending.

    What is told of connections is told in order, so that the last mail is how it stands; one that the mail server
    refuses for good (5xx), or has taken for some recipients, holds up no other.
    """
    row = tx.execute(_LEASE, {"lease_s": lease_s, "channel": channel}).one_or_none()
    if row is None:
        return None
    composed = ComposedMail(Kind(row.kind), row.subject, row.plain, row.html)
    recipients = None if row.recipients is None else tuple(row.recipients)
    return LeasedMail(row.id, row.created_at, row.tries, composed, recipients)


def sent(tx: Connection, mail_id: int, *, complaint: str | None = None) -> None:
    """Mark a mail as taken by the mail server.  *complaint*: what it did not like nevertheless."""
    tx.execute(_SENT, {"id": mail_id, "complaint": complaint})


def put_off(
    tx: Connection, leased: LeasedMail, *, error: str, again_in_s: float, recipients: Sequence[str] | None = None
) -> None:
    """Make a mail that was not sent due again, unless its lease ended and another has tried meanwhile.

    *recipients* are to get it later, where the others have it or never will; None: nobody got it this time.
    """
    parameters = {"id": leased.mail_id, "tries": leased.tries, "error": error, "again_in_s": again_in_s}
    tx.execute(_PUT_OFF, parameters | {"recipients": None if recipients is None else list(recipients)})


def give_up(tx: Connection, leased: LeasedMail, *, error: str) -> None:
    """Try it no more, unless its lease ended and another has tried meanwhile."""
    tx.execute(_GIVE_UP, {"id": leased.mail_id, "tries": leased.tries, "error": error})


def posting(tx: Connection) -> Posting:
    """Count what waits for the webhook, and what it took, or was given up, within a day."""
    return Posting(*tx.execute(_POSTING).one())


def prune(tx: Connection, *, days: int) -> int:
    """Delete mails that were sent, or given up, more than *days* ago."""
    return tx.execute(_PRUNE, {"days": days}).rowcount


def unsent(tx: Connection) -> Unsent:
    """Count the mail that no server has taken yet."""
    return Unsent(*tx.execute(_UNSENT).one())


# Of each change: when it went down for it, whether it had been back for less than a flap then, how long it was down.
_LOOK = """
    select d.at as down_at, u.at > d.at - cast(:flap as interval) as is_flap, n.at as up_at,
           coalesce(n.at, now()) - d.at < cast(:flap as interval) as is_short
    from (select max(id) as id from connection_change
          where name = c.name and what = 'down' and id <= c.id) as l
    left join connection_change d on d.id = l.id
    left join lateral (select at from connection_change where name = c.name and what = 'up' and id < l.id
                       order by id desc limit 1) as u on true
    left join lateral (select at from connection_change where name = c.name and what = 'up' and id > l.id
                       order by id limit 1) as n on true
"""
_TAKE_CHANGES = text(f"""
    with taken as (
        select c.id, k.down_at,
               coalesce(k.is_flap and k.is_short, false) or coalesce(k.up_at < w.quiet_until, false) as is_damped
        from connection_change c, lateral ({_LOOK}) as k
        left join lateral (
            select max(coalesce(m.ended_at, m.until_at)) + interval '1 minute' as quiet_until from maintenance m
            where m.name = c.name and m.began_at <= k.down_at + interval '1 minute'
              and k.down_at < coalesce(m.ended_at, m.until_at)
        ) as w on true
        where c.what in ('down', 'up') and not c.mailed and (c.what = 'up' or coalesce(w.quiet_until < now(), true))
          and (c.what = 'up' or not coalesce(k.is_flap and k.is_short and k.up_at is null, false))
        order by c.id limit 100 for update of c skip locked
    )
    update connection_change c set mailed = true
    from taken t where c.id = t.id
    returning c.id, c.name, c.what, c.at, c.why, t.down_at,
              not t.is_damped and (c.at >= now() - cast(:news as interval) or c.what = 'down' and not exists (
                  select from connection_change l where l.name = c.name and l.what in ('down', 'up') and l.id > c.id
              )) as is_news,
              (select count(*) from (select from instance i
                                     where i.state = 'held' and i.hold_id is null and i.due_stage = c.name
                                     limit :held_max) as h) as held,
              (select json_build_object('id', n.id, 'fingerprint', n.fingerprint)
               from incident_span s join incident n on n.id = s.incident_id
               where s.stage = c.name and s.code is null and s.from_at <= c.at order by s.id desc limit 1) as incident
""")
# `finished_at` is when the transaction that wrote it began, so nobody can finish any more before the oldest that is
# still open began.  One that was forgotten does not hold the digest up for more than a minute.
_LOCK_DIGEST = text("""
    select greatest(b.upto, now() - cast(:every as interval) - cast(:news as interval)) as since,
           (select greatest(now() - cast(:open_max as interval), least(now(), min(a.xact_start)))
            from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid()) as until
    from bookmark b
    where b.name = 'digest' and b.upto <= now() - cast(:every as interval)
    for update of b skip locked
""")
_MOVE_DIGEST = text("update bookmark set upto = :until where name = 'digest'")
_FAILURES = text("""
    select state, failed_stage, code, error, count(*) as times, min(finished_at) as first_at,
           max(finished_at) as last_at, sum(count(*)) over (partition by state) as total
    from (
        select state, coalesce(failed_stage, stage) as failed_stage, coalesce(code, 'data_error') as code, error,
               finished_at
        from instance
        where state in ('dead', 'rejected') and finished_at >= :since and finished_at < :until
    ) as failed
    group by state, failed_stage, code, error
    order by times desc, error
    limit :limit
""")
_PUT = text("""
    insert into mail (kind, subject, plain, html, channel) values (:kind, :subject, :plain, :html, :channel)
""")
_LEASE = text("""
    update mail
    set due_at = now() + make_interval(secs => :lease_s), tries = least(tries + 1, 32767)
    where id = (select id from mail l where sent_at is null and due_at <= now() and channel = :channel
                  and dead_at is null
                  and (kind not in ('down', 'up') or not exists (
                      select from mail o where o.sent_at is null and o.kind in ('down', 'up') and o.id < l.id
                                           and o.channel = l.channel and o.dead_at is null
                                           and o.recipients is null and coalesce(o.last_error, '') !~ '^5'))
                order by due_at, id limit 1 for update skip locked)
    returning id, created_at, tries, kind, subject, plain, html, recipients
""")
_SENT = text("update mail set sent_at = now(), last_error = :complaint where id = :id and sent_at is null")
_PUT_OFF = text("""
    update mail set due_at = now() + make_interval(secs => :again_in_s), last_error = :error,
                    recipients = coalesce(cast(:recipients as text[]), recipients)
    where id = :id and tries = :tries and sent_at is null
""")
_GIVE_UP = text("""
    update mail set dead_at = now(), last_error = :error where id = :id and tries = :tries and sent_at is null
""")
_POSTING = text("""
    select count(*) filter (where dead_at > now() - interval '1 day'), max(dead_at),
           count(*) filter (where sent_at is null and dead_at is null),
           coalesce(extract(epoch from now() - min(created_at) filter (where sent_at is null and dead_at is null)),
                    0)::float8,
           (array_agg(last_error order by id desc) filter (where sent_at is null and last_error is not null))[1],
           count(*) filter (where sent_at > now() - interval '1 day'), max(sent_at)
    from mail where channel = 'webhook'
""")
_PRUNE = text("delete from mail where coalesce(sent_at, dead_at) < now() - make_interval(days => :days)")
_UNSENT = text("""
    select count(*), min(created_at), coalesce(extract(epoch from now() - min(created_at)), 0)::float8,
           (array_agg(last_error order by id) filter (where last_error is not null))[1],
           (select s.last_error from mail s
            where s.sent_at is not null and s.channel = 'mail' order by s.id desc limit 1)
    from mail where sent_at is null and channel = 'mail'
""")

"""Logins of the console that were ended before their time, so that they are over in every api process at once.

A login is a signed cookie, which nobody has to remember; only its end is kept, by a digest that opens nothing, and no
longer than the login would have lasted.
"""

from sqlalchemy import Connection, text


def end(tx: Connection, digest: bytes, *, lasts_s: float) -> None:
    """Note that the login whose cookie has this *digest* is over; forget those that were *lasts_s* seconds ago."""
    tx.execute(_FORGET, {"lasts_s": lasts_s})
    tx.execute(_END, {"digest": digest})


def is_ended(tx: Connection, digest: bytes) -> bool:
    """Return whether the login whose cookie has this *digest* was ended."""
    return bool(tx.execute(_IS_ENDED, {"digest": digest}).scalar_one())


_FORGET = text("delete from ended_login where ended_at < clock_timestamp() - make_interval(secs => :lasts_s)")
_END = text("insert into ended_login (digest) values (:digest) on conflict do nothing")
_IS_ENDED = text("select exists (select from ended_login where digest = :digest)")

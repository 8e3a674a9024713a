"""The ledger's clock, watched for steps.

Whatever is due, leased or spent is so by this clock.  It can be set while we work: by NTP, by a server with another
clock that takes over, by a machine that stood still or was restored.  Set forward, it would end the leases of workers
that are in the middle of a call, and the minute of a budget that has just been spent; set back, it would hold all that
is due for as long.  So who acts on an instant that is over looks whether the clock was set since he last looked
(`shared.lifecycle.clock_steps`), by the one clock that nobody can set, that of leases.

- A dispatcher looks each tick, between reading which leases are over and giving them back.  Where there is a step, it
  moves with the clock whatever lies ahead (`shared.ledger.transitions.clock_moves`).
- One that starts compares with what the last of them has noted.  Where that was on another machine, or before this one
  was started, the wall clocks of both are all there is to compare: what they say is a doubt, and none of it is moved
  further than is safe if the ledger's clock is right after all.
- Who pays for calls looks as he pays, and makes none of them before a step forward is known to all: they would be paid
  for in a minute in which the calls before it seem never to have been made.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Executable, Row, text

from shared.lease_clock import lease_clock, start_of_machine
from shared.lifecycle.clock_steps import Ahead, Look, better, doubted_s, step_s
from shared.settings import settings

_WEIGHS_S = 61.0
"""After so long nothing of what was spent before a step weighs any more."""
FRESH_S = 120
"""No transaction of ours lasts for so long.  Units: seconds."""
MARK = """extract(epoch from clock_timestamp())::float8 as now_s,
    (select moved_s from ledger_clock), (select extract(epoch from looked_at)::float8 from ledger_clock)"""
"""What a statement selects, or returns, for `marked`."""


def counted_sql(line: str) -> str:
    """Return the condition that a *line* of activity was counted before the clock was set back over it."""
    return f"""
        coalesce({line}.id <= (select counted_id from ledger_clock)
                 and {line}.at >= (select counted_from from ledger_clock)
                 and {line}.at < (select counted_until from ledger_clock), false)
    """


class Step(NamedTuple):
    """The newest step of the clock.

    Units: *by_s* seconds, below 0 when it was set back.  Shape: *is_doubted* it may as well have been the clock of the
    machine from which that was seen.  *is_settling* what lies ahead may still be moved.
    """

    at: datetime
    by_s: float
    is_doubted: bool = False
    is_settling: bool = False


class Looked(NamedTuple):
    """What a look found.

    Units: *step_s* seconds by which the clock was set, and nothing is moved yet; 0: it was not.
    Shape: *has_late* what is pending from before a step back may still be due ahead; *is_fresh* a transaction that
    began before the newest step may still write by the clock of then.  *doubted_s* by how much it may have been set
    forward while none of us ran, 0: nothing says so.
    """

    step_s: float
    has_late: bool
    is_fresh: bool
    doubted_s: float = 0.0


@dataclass(slots=True)
class _Watch:
    """What this process knows of a ledger's clock."""

    known: Ahead | None = None
    unexplained_since_s: float | None = None

    def step_s(self, now: Look) -> float:
        most_s = settings().ledger_clock_step_s
        found_s = step_s(self.known, now, most_s)
        if not found_s:
            self.known, self.unexplained_since_s = better(self.known, now, most_s), None
        return found_s


_watches: "WeakKeyDictionary[Engine, _Watch]" = WeakKeyDictionary()


def marked(tx: Connection, statement: Executable, values: dict[str, object] | None = None) -> Look:
    """Execute *statement*, which gives one row of `MARK`, and return how the ledger's clock stands to ours."""
    before_s = lease_clock()
    row = tx.execute(statement, values or {}).one()
    return Look(row[0], before_s, lease_clock(), row[1], row[2])


def look(tx: Connection, *, lock: bool = False) -> Looked:
    """Look whether the clock was set; with *lock* nobody else can move anything before the transaction ends.

    A look that finds nothing is noted for others, unless there was nothing to compare it with.
    """
    if lock:
        tx.execute(_LOCK)
    watch = _watch(tx)
    noted = tx.execute(_NOTED).one() if watch.known is None else None
    if noted is not None:
        watch.known = _known(noted)
    is_first = watch.known is None
    now = marked(tx, _LOOK)
    of_wall_s = _ahead_of_wall_s(now)
    found_s = watch.step_s(now)
    statement, values, doubt_s = _AFTER, {}, 0.0
    if not found_s and watch.known is not None and not is_first:
        statement, values = _NOTE, {"start": start_of_machine(), "of_wall_s": of_wall_s, **watch.known._asdict()}
    elif not found_s and noted is not None and noted.ahead_of_wall_s is not None:
        doubt_s = doubted_s(noted.ahead_of_wall_s, of_wall_s, noted.ago_s, settings().ledger_clock_step_s)
    has_late, is_fresh = tx.execute(statement, values).one()
    return Looked(found_s, has_late, is_fresh, doubt_s)


def is_spendable(tx: Connection, paid: Look) -> bool:
    """Return whether what was just *paid* for may be used: not if the clock seems to have been set forward.

    If nobody moves what was spent, this holds for as long as that would have weighed.
    """
    watch = _watch(tx)
    if watch.known is None:
        watch.known = _known(tx.execute(_NOTED).one())
    if watch.step_s(paid) <= 0:
        return True
    watch.unexplained_since_s = watch.unexplained_since_s or paid.before_s
    if paid.before_s - watch.unexplained_since_s < _WEIGHS_S:
        return False
    watch.known, watch.unexplained_since_s = paid.ahead, None
    return True


def moved(tx: Connection, by_s: float) -> None:
    """Note a step that all was moved with, after which no doubt is the newest; the caller has locked the clock."""
    tx.execute(_MOVED, {"by_s": by_s})


def counted(tx: Connection, by_s: float) -> None:
    """Note which lines of activity were counted already, before the bookmark goes back by *by_s*, which is below 0."""
    tx.execute(_COUNTED, {"by_s": by_s})


def doubted(tx: Connection, by_s: float) -> None:
    """Note that it may have been set forward while none of us ran."""
    tx.execute(_DOUBTED, {"by_s": by_s})


def newest_step(tx: Connection) -> Step | None:
    """Return the newest step of the last day, or doubt of one."""
    row = tx.execute(_NEWEST).one_or_none()
    return None if row is None else Step(*row)


def _ahead_of_wall_s(now: Look) -> float:
    """Return how far the ledger's clock was ahead of this machine's wall clock as that was looked at."""
    ago_s = lease_clock() - (now.before_s + now.after_s) / 2
    return now.ledger_s - now.moved_s - (time.time() - ago_s)


def _known(noted: Row[tuple[object, ...]]) -> Ahead | None:
    """Return what was noted on this machine since its start; None: nothing, or what was last noted was elsewhere."""
    is_ours = bool(start_of_machine()) and noted.looked_from == start_of_machine()
    return Ahead(noted.ahead_least_s, noted.ahead_most_s) if is_ours else None


def _watch(tx: Connection) -> _Watch:
    return _watches.setdefault(tx.engine, _Watch())


_LOOK = text(f"select {MARK}")
_LOCK = text("select from ledger_clock for update")
_AFTER_IT = f"""coalesce(pending_until > clock_timestamp(), false),
    coalesce(stepped_at > clock_timestamp() - make_interval(secs => {FRESH_S}), false)"""
_AFTER = text(f"select {_AFTER_IT} from ledger_clock")
_NOTE = text(f"""
    update ledger_clock
    set looked_at = clock_timestamp(), looked_from = :start,
        ahead_least_s = :least_s, ahead_most_s = :most_s, ahead_of_wall_s = :of_wall_s
    returning {_AFTER_IT}
""")
_NOTED = text("""
    select looked_from, ahead_least_s, ahead_most_s, ahead_of_wall_s,
           extract(epoch from clock_timestamp() - looked_at)::float8 as ago_s
    from ledger_clock
""")
_MOVED = text("""
    update ledger_clock
    set moved_s = moved_s + step.by_s, step_s = step.by_s, stepped_at = clock_timestamp(),
        looked_at = clock_timestamp(), doubted_at = null, doubted_s = null,
        pending_until = case when step.by_s < 0
                             then greatest(pending_until, clock_timestamp() - make_interval(secs => step.by_s))
                             else pending_until end
    from (select cast(:by_s as float8) as by_s) as step
""")
# The instants of two steps back may overlap: of the lines right before this one some are from before the other.
_COUNTED = text("""
    update ledger_clock c
    set counted_from = b.upto + make_interval(secs => :by_s), counted_until = greatest(c.counted_until, b.upto),
        counted_id = (select max(id) from (
            select id from activity where at > clock_timestamp() and at < b.upto order by at desc limit 1000) as newest)
    from bookmark b where b.name = 'tally' and b.upto > clock_timestamp()
""")
_DOUBTED = text("update ledger_clock set doubted_at = clock_timestamp(), doubted_s = :by_s")
_NEWEST = text(f"""
    select at, by_s, is_doubted,
           at > clock_timestamp() - make_interval(secs => {FRESH_S}) or coalesce(until > clock_timestamp(), false)
    from (
        select stepped_at, step_s, false, pending_until from ledger_clock
        union all select doubted_at, doubted_s, true, null from ledger_clock
    ) as steps (at, by_s, is_doubted, until)
    where abs(extract(epoch from clock_timestamp() - at)) < 86400 order by is_doubted desc limit 1
""")

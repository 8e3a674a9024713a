"""A mass change is held: who is deactivated or blanked, where too many are at once, until it is released or discarded.

Intake asks when it has written what it accepted, in the same transaction, and only where some of it clears anything of
a member (`guard`): the way of all others costs nothing.  What is counted are the instances themselves, by an index of
those that clear something.  When a hold opens, what is queued of the same change since the window began is held too,
whoever accepted it; what is out by then is out.

Once it is released the count begins anew, and while a release runs nothing of its kind is held: somebody has said that
it is right.  Discarded it does not, so that the same job, run again, is held at once.  What becomes of a hold is in
`holds`; who ends one locks its row, and here it is read for key share.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, text

from shared.ledger.guards import HoldState
from shared.lifecycle.mass_changes import Change, ChangeRules, is_mass, words

WHY = "too many members change like this at once"
_SIZE_KEPT_S = 60.0
"""How long the size of the programme counts before it is counted again; to open a hold it is counted anew."""


def guard(tx: Connection, clearing: Mapping[int, int], rules: ChangeRules) -> dict[int, int]:
    """Hold what is part of a mass change; return which of *clearing* are held, with their holds.

    Shape: *clearing* instances that this transaction has written, with the bits that each clears.
    """
    held: dict[int, int] = {}
    for change in rules.guarded:
        ids = [one for one, cleared in clearing.items() if cleared & change.mask and one not in held]
        if not ids:
            continue
        row = tx.execute(STANDS, {"kind": change, "window_s": rules.window_s}).one()
        if row.is_releasing:
            continue
        if row.holding_id is not None:
            held |= dict.fromkeys(_hold(tx, row.holding_id, ids), row.holding_id)
        elif (opened := _opened(tx, change, row.since, rules)) is not None:
            held |= {one: opened for one in _sweep(tx, opened, change, row.since) if one in clearing}
    return held


def _opened(tx: Connection, change: Change, since: datetime, rules: ChangeRules) -> int | None:
    """Open a hold if so many members are changed since then that it is a mass change; return it."""
    rows = tx.execute(CHANGED, {"mask": change.mask, "since": since}).all()
    members, gone = sum(row.members for row in rows), sum(row.gone for row in rows)
    before = 0
    if change is Change.DEACTIVATION:  # who is deactivated counts as active no more, unless that was discarded
        before = members - sum(row.discarded for row in rows)
    if not is_mass(change, members, 0, rules):
        return None
    if not is_mass(change, members, _size(tx, _SIZE_KEPT_S) + before, rules):
        return None
    programme = _size(tx, 0) + before
    if not is_mass(change, members, programme, rules):
        return None
    parameters = {
        "kind": change,
        "message": words(change, {row.cleared: row.members for row in rows}),
        "alike": members,
        "went_out": programme,
        "told": gone,
    }
    opened: int | None = tx.execute(OPEN, parameters).scalar()
    if opened is None:  # another intake has opened it just now
        opened = tx.execute(STANDS, {"kind": change, "window_s": rules.window_s}).one().holding_id
    return opened


def _size(tx: Connection, kept_s: float) -> int:
    """Return how many members are known as active, no longer ago than *kept_s*."""
    size: int | None = tx.execute(SIZE, {"kept_s": kept_s}).scalar()
    return size if size is not None else int(tx.execute(COUNT_SIZE).scalar_one())


def _hold(tx: Connection, hold_id: int, ids: Collection[int]) -> list[int]:
    what = f"held by guard {hold_id}: {WHY}"
    return list(tx.execute(HOLD, {"hold": hold_id, "ids": list(ids), "what": what}).scalars())


def _sweep(tx: Connection, hold_id: int, change: Change, since: datetime) -> list[int]:
    queued = tx.execute(QUEUED_SINCE, {"mask": change.mask, "since": since}).scalars()
    return _hold(tx, hold_id, list(queued))


_CLEARS = "cleared is not null and cleared & :mask <> 0 and accepted_at >= :since"
_NOT_YET_OUT = "state in ('pending', 'waiting', 'held') and hold_id is null and stage in ('oic', 'crowdtwist')"
STANDS = text(f"""
    with holding as (
        select id from guard_hold where kind = :kind and state = '{HoldState.HOLDING}' for key share
    ), released as (
        select state, ended_at from guard_hold
        where kind = :kind and decided_by is not null
          and (state = '{HoldState.RELEASING}'
               or state = '{HoldState.RELEASED}' and ended_at > now() - make_interval(secs => :window_s))
    )
    select (select max(id) from holding) as holding_id,
           exists (select from released where state = '{HoldState.RELEASING}') as is_releasing,
           greatest(now() - make_interval(secs => :window_s), (select max(ended_at) from released)) as since
""")
"""Find how a change is held, and since when it counts; what holds it does so until the end of the transaction.

One that is being discarded is not locked: whoever does that locks members, which an intake has locked by now.
"""
CHANGED = text(f"""
    select cleared, count(*) as members, count(*) filter (where not is_queued and not is_discarded) as gone,
           count(*) filter (where is_discarded) as discarded
    from (select distinct on (member_number) cleared, {_NOT_YET_OUT} as is_queued, state = 'discarded' as is_discarded
          from instance
          where {_CLEARS} and state <> 'superseded' and (state <> 'discarded' or hold_id is not null)
          order by member_number, id desc) as newest
    group by cleared
""")
"""Count members by what was cleared of them, and those of them for whom it is too late."""
SIZE = text("""
    select members from programme_size where counted_at > clock_timestamp() - make_interval(secs => :kept_s)
""")
COUNT_SIZE = text("""
    insert into programme_size (id, members, counted_at)
    select 1, count(*), clock_timestamp() from member where newest_id is not null and coalesce(shown & 1, 1) = 1
    on conflict (id) do update set members = excluded.members, counted_at = excluded.counted_at
    returning members
""")
"""Count the members that are known as active; of one whose events came before that was noted it is believed."""
OPEN = text("""
    insert into guard_hold (kind, state, fingerprint, stage, message, alike, went_out, told, try_at)
    values (:kind, 'holding', :kind, 'oic', :message, :alike, :went_out, :told, now())
    on conflict (fingerprint) where state in ('holding', 'releasing') do nothing
    returning id
""")
"""Open a hold, unless there is one."""
QUEUED_SINCE = text(f"""
    select id from instance where {_CLEARS} and {_NOT_YET_OUT} order by id for no key update skip locked
""")
"""Find what is queued of a change; who is locked is being sent, or overtaken by an event that is guarded itself."""
HOLD = text(f"""
    with held as (
        update instance set state = 'held', hold_id = :hold
        where id = any(cast(:ids as bigint[])) and {_NOT_YET_OUT}
        returning id, stage
    )
    insert into activity (instance_id, stage, state, what) select id, stage, 'held', :what from held
    returning instance_id
""")
"""Hold queued instances, so that nothing but a decision moves them on."""

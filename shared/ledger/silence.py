"""How long Siebel has been silent, and what each hour of the week is used to (`shared.lifecycle.silence`)."""

from sqlalchemy import Connection, text

from shared.lifecycle.silence import Silence, SilenceRules, silence

_WEEKS = 12
"""So many weeks before are looked at."""


def read(tx: Connection, rules: SilenceRules) -> Silence:
    """Return how long it has been silent, and how long that may be."""
    row = tx.execute(_NEWEST).one()
    if row.since is None:
        return Silence()
    weeks = {one.week: one.longest_s for one in tx.execute(_USED_TO, {"weeks": _WEEKS})}
    return silence(row.since, row.now, weeks, rules, excused=row.excused)


def note(tx: Connection, rules: SilenceRules) -> None:
    """Keep the longest silence of this hour; of one that is excused nothing is learned.  Do it every few seconds."""
    now = read(tx, rules)
    if now.since is not None and not now.excused:
        tx.execute(_NOTE, {"longest_s": now.to_learn_s})


def take_new(tx: Connection, rules: SilenceRules) -> Silence | None:
    """Return the silence that is too long and that no mail tells of yet; None: there is none."""
    found = read(tx, rules)
    if not found.is_too_long or tx.execute(_TAKE, {"since": found.since}).scalar() is None:
        return None
    return found


def prune(tx: Connection) -> None:
    """Forget hours that are not looked at any more."""
    tx.execute(_PRUNE, {"weeks": _WEEKS + 1})


# What repairs make is no word of Siebel's.  The walk stops at the first that a producer sent.
_NEWEST = text("""
    select (select accepted_at from instance where origin is null order by id desc limit 1) as since,
           clock_timestamp() as now,
           exists (select from connection where name = 'siebel' and window_id is not null) as excused
""")
_USED_TO = text("""
    select w.week, max(s.longest_s) as longest_s
    from generate_series(1, :weeks) as w (week), generate_series(-1, 1) as h (hour)
    join lateral (
        select longest_s from silence
        where at = date_trunc('hour', now(), 'UTC') - w.week * interval '168 h' + h.hour * interval '1 h'
    ) as s on true
    group by w.week
""")
_NOTE = text("""
    insert into silence (at, longest_s) values (date_trunc('hour', now(), 'UTC'), :longest_s)
    on conflict (at) do update set longest_s = excluded.longest_s where silence.longest_s < excluded.longest_s
""")
_TAKE = text("""
    insert into bookmark (name, upto) values ('silence', :since)
    on conflict (name) do update set upto = excluded.upto where bookmark.upto < excluded.upto
    returning name
""")
_PRUNE = text("delete from silence where at < now() - :weeks * interval '168 h'")

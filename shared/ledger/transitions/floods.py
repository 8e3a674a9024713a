"""A flood of one Data Error: who meets it is held instead of told, until it is released or condemned.

A worker asks before it writes what came of a batch (`guard`): that counts, opens the hold, and says who is held, in the
transaction that writes it; so it is one count for all workers, and it survives each of them.  It holds the hold's row
for key share: whoever ends a hold locks that row, and then finds every member that was held under it.

What becomes of a hold then is in `holds`.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, text

from shared.ledger import tallies
from shared.lifecycle.floods import CONDEMNED_S, FloodRules, Met, decided, held_back, is_flood, met
from shared.lifecycle.verdicts import Ending
from shared.pipeline import Stage


def guard(tx: Connection, stage: Stage, endings: Sequence[Ending], rules: FloodRules) -> Sequence[Ending]:
    """Return *endings*, those that are part of a flood held instead of told.  Ask before they are written."""
    alike = met(endings) if rules.is_on else []
    if not alike:
        return endings
    holding, condemned = _known(tx, alike)
    fresh = [one for one in alike if one.fresh and one.fingerprint not in holding | condemned.keys()]
    if fresh:
        holding |= _opened(tx, stage, fresh, decided(endings), rules)
    holds = {
        instance_id: holding[one.fingerprint] for one in alike if one.fingerprint in holding for instance_id in one.ids
    }
    return held_back(endings, holds) if holds else endings


def _known(tx: Connection, alike: Collection[Met]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the holds that hold by their causes, and those whose cause was condemned of late."""
    rows = tx.execute(KNOWN, {"causes": [one.fingerprint for one in alike], "condemned_s": CONDEMNED_S}).all()
    return {row.fingerprint: row.id for row in rows if row.holds}, {
        row.fingerprint: row.id for row in rows if not row.holds
    }


def _opened(tx: Connection, stage: Stage, fresh: Sequence[Met], decided_now: int, rules: FloodRules) -> dict[str, int]:
    """Count those that would be told anew; return the holds of the causes that are a flood by that."""
    causes = {one.fingerprint: one for one in fresh}
    tx.execute(COUNT, {"causes": list(causes), "counts": [one.fresh for one in fresh]})
    rows = tx.execute(ALIKE, {"causes": list(causes), "window_s": rules.window_s}).all()
    opened: dict[str, int] = {}
    for row in rows:
        if not is_flood(row.alike, 0, rules):
            continue
        went_out = tallies.decided(tx, stage, since=row.since, at_least=row.alike / rules.share) + decided_now
        if not is_flood(row.alike, went_out, rules):
            continue
        cause = causes[row.fingerprint]
        parameters = {
            "fingerprint": cause.fingerprint,
            "stage": cause.stage,
            "message": cause.message,
            "alike": row.alike,
            "went_out": went_out,
            "told": row.alike - cause.fresh,
            "try_s": rules.next_try_s(0),
        }
        opened_id = tx.execute(OPEN, parameters).scalar()
        if opened_id is None:  # another worker has opened it just now
            opened_id = _known(tx, [cause])[0].get(cause.fingerprint)
        if opened_id is not None:
            opened[cause.fingerprint] = opened_id
    return opened


KNOWN = text("""
    select fingerprint, id, state in ('holding', 'releasing') as holds from guard_hold
    where fingerprint = any(cast(:causes as text[]))
      and (state in ('holding', 'releasing')
           or state in ('discarding', 'discarded') and decided_at > now() - make_interval(secs => :condemned_s))
    order by id for key share
""")
"""Find what holds a cause, or was condemned of it; until the end of the transaction it stays so."""
COUNT = text("""
    insert into flood_count (fingerprint, at, count)
    select f, date_trunc('minute', now()), n
    from unnest(cast(:causes as text[]), cast(:counts as int[])) as c (f, n) order by f
    on conflict (fingerprint, at) do update set count = flood_count.count + excluded.count
""")
"""Count members that would be told of a cause anew."""
ALIKE = text("""
    select f.fingerprint, f.alike, w.since
    from (select date_trunc('minute', now() - make_interval(secs => :window_s)) as since) as w, lateral (
        select fingerprint, sum(count)::int as alike from flood_count
        where fingerprint = any(cast(:causes as text[])) and at >= w.since group by fingerprint) as f
    order by f.fingerprint
""")
"""Sum up the window, which begins with a whole minute."""
OPEN = text("""
    insert into guard_hold (kind, state, fingerprint, stage, message, alike, went_out, told, try_at)
    values ('flood', 'holding', :fingerprint, :stage, :message, :alike, :went_out, :told,
            now() + make_interval(secs => :try_s))
    on conflict (fingerprint) where state in ('holding', 'releasing') do nothing
    returning id
""")
"""Open a hold, unless there is one."""

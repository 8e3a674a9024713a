"""Where to begin looking for what is due, or out: before it there is nothing, however much of it has died there.

What is due is found by an index in the order of `due_at` and `id`, and so is what is out.  Both are taken in that
order, so the dead entries lie before the living, and as long as somebody holds an old snapshot none of them can be
cleared away: looking from the beginning would walk past all that has gone through since (measured: 150 ms a look after
60,000 instances).  So whoever looks again and again keeps a `Front`:

- It is the first instance that was there at its last look, and no later than the beginning of the oldest transaction
  that was open before: whatever became visible since was written by one of those, or by a later one, and nobody makes
  an instance due before the beginning of his transaction, nor changes when it was due as he takes it.
- It is looked for from the very beginning now and then, as often as that costs no more than a hundredth of the time:
  so whoever writes an instance by hand need not know of all this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy import Row

from shared.ledger.transitions.member_queue import words
from shared.pipeline import Lane, Stage

_WHOLE_EVERY_S = 1.0
_PART = 100


class Mark(NamedTuple):
    """A place in the order of what is due."""

    due_at: datetime
    id: int


BEGINNING = Mark(datetime.min.replace(tzinfo=UTC), 0)


@dataclass(slots=True)
class Front:
    """The front of one process, which moves on when that `advance`s it."""

    due: dict[tuple[Lane, Stage], Mark] = field(default_factory=dict)
    """By lane and stage, of what waits to be claimed."""
    out: dict[Lane, Mark] = field(default_factory=dict)
    """By lane, of what is running."""
    _horizon: datetime = BEGINNING.due_at
    _whole_at: float = 0.0
    _began: float = 0.0

    def asked(self) -> dict[str, object]:
        """Return what a statement with `FIRST` in it is given; `advance` takes what it found."""
        self._began = monotonic()
        known = self if self._began < self._whole_at else None
        places = [(lane, stage) for lane in Lane for stage in Stage]
        return {
            "lanes": [lane for lane, _ in places],
            "stages": [stage for _, stage in places],
            **due_from(known, places),
            **out_from(known, "first"),
        }

    def advance(self, found: Sequence[Row[Any]]) -> None:
        """Move to the first that were *found*; the statement saw what had committed when the one before began."""
        horizon = Mark(self._horizon, 0)
        first = {
            (Lane(row.lane), row.stage): horizon if row.id is None else min(Mark(row.due_at, row.id), horizon)
            for row in found
        }
        self.due = {(lane, Stage(stage)): mark for (lane, stage), mark in first.items() if stage}
        # What is claimed next, by whomever, is among what is due now.
        self.out = {lane: min(mark for (of, _), mark in first.items() if of is lane) for lane in Lane}
        self._horizon = found[0].horizon
        if self._began >= self._whole_at:
            now = monotonic()
            self._whole_at = now + max(_WHOLE_EVERY_S, _PART * (now - self._began))


def due_from(front: Front | None, places: Iterable[tuple[Lane, Stage]]) -> dict[str, list[object]]:
    """Return where to begin at each of *places*, as `:from_at` and `:from_id`; without a front at the beginning."""
    return _arrays("from", [BEGINNING if front is None else front.due.get(place, BEGINNING) for place in places])


def out_from(front: Front | None, name: str = "out") -> dict[str, list[object]]:
    """Return what a statement with `OUT` in it is given."""
    marks = [BEGINNING if front is None else front.out.get(lane, BEGINNING) for lane in Lane]
    return {f"{name}_lanes": list(Lane), **_arrays(name, marks)}


def _arrays(name: str, marks: Iterable[Mark]) -> dict[str, list[object]]:
    found = list(marks)
    return {f"{name}_at": [one.due_at for one in found], f"{name}_id": [one.id for one in found]}


OUT = """
    unnest(cast(:out_lanes as text[]), cast(:out_at as timestamptz[]), cast(:out_id as bigint[])) as o (lane, at, id)
    join lateral (select * from instance
                  where token > 0 and lane = o.lane and (due_at, id) >= (o.at, o.id) offset 0) as i on true
"""
"""The instances `i` that are out.

`offset 0` keeps the planner from reading the whole index once, for lanes that it takes for many.  Nothing else says
`token > 0`, and nothing else can be answered by that index.
"""
# The horizon is for the next look: it must have been taken before the snapshot of that.  A transaction that we are not
# shown, of another role, may be as old as our statements get.
FIRST = f"""
    select l.lane, l.stage, d.due_at, d.id,
           (select least(now(), min(coalesce(xact_start, now() - interval '60 seconds')))
            from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid() and state is distinct from 'idle'
              and coalesce(application_name, 'membersync') like 'membersync%') as horizon
    from (
        select lane, stage, at, id
        from unnest(cast(:lanes as text[]), cast(:stages as text[]), cast(:from_at as timestamptz[]),
                    cast(:from_id as bigint[])) as l (lane, stage, at, id)
        union all
        select lane, null, at, id
        from unnest(cast(:first_lanes as text[]), cast(:first_at as timestamptz[]), cast(:first_id as bigint[]))
             as o (lane, at, id)
    ) as l
    left join lateral (
        (select due_at, id from instance
         where l.stage is not null and state in ({words(("pending", "waiting"))})
           and lane = l.lane and due_stage = l.stage and (due_at, id) >= (l.at, l.id)
         order by due_at, id limit 1)
        union all
        (select due_at, id from instance
         where l.stage is null and token > 0 and lane = l.lane and (due_at, id) >= (l.at, l.id)
         order by due_at, id limit 1)
    ) as d on true
"""
"""The first of each lane and stage that waits (`stage`), and of each lane that is out (null), from the front on."""

"""What a dispatcher's turn finds to do, in one look: most turns find little, and what is not there costs them nothing.

Each question is answered by one probe of an index, however much waits.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.ledger.front import FIRST, OUT, Front, out_from
from shared.ledger.transitions.member_queue import words
from shared.pipeline import Lane, Stage


@dataclass(frozen=True, slots=True)
class Agenda:
    """What there is to do.

    Shape: *unbegun* counts the instances and errands that wait in the broker for a worker; *due* and *held* say where
    any instance is; *errands* and *jobs* whether any may be due.
    """

    unbegun: dict[Lane, int]
    due: frozenset[tuple[Lane, Stage]]
    held: frozenset[tuple[Lane, Stage]]
    errands: bool
    jobs: bool


def look(tx: Connection, front: Front) -> Agenda:
    """Look what there is to do, from *front* on, and move that on: one way there and back for both."""
    rows = tx.execute(_LOOK, out_from(front) | front.asked()).all()
    front.advance(rows)
    return Agenda(
        unbegun={Lane(row.lane): row.unbegun for row in rows},
        due=frozenset((Lane(row.lane), Stage(row.stage)) for row in rows if row.is_due),
        held=frozenset((Lane(row.lane), Stage(stage)) for row in rows for stage in row.held),
        errands=rows[0].errands,
        jobs=rows[0].jobs,
    )


_LOOK = text(f"""
    with waiting as materialized (
        select i.lane, count(*) as unbegun from {OUT} where not i.begun group by i.lane
        union all
        select lane, count(*) as unbegun from errand where token <> 0 and not begun group by lane
    ), found as materialized (
        select l.lane, (select coalesce(sum(unbegun), 0)::int from waiting w where w.lane = l.lane) as unbegun,
               array(select s.stage from unnest(array[{words(Stage)}]) as s (stage)
                     where exists (select from instance i
                                   where i.state = 'held' and i.hold_id is null and i.due_stage = s.stage
                                         and i.lane = l.lane)) as held,
               exists (select from errand where token = 0 and lane = any(array[{words(Lane)}]) and due_at <= now())
               or exists (select from member where read_back_at <= now())
               or exists (select from member where tell_again_at <= now()) as errands,
               exists (select from job where ended_at is null and next_at <= now()
                                       and state <> 'awaiting_approval') as jobs
        from unnest(array[{words(Lane)}]) as l (lane)
    ), first as materialized ({FIRST})
    select found.*, first.stage, first.due_at, first.id, first.horizon,
           first.stage is not null and first.due_at <= now() as is_due
    from first join found using (lane)
""")

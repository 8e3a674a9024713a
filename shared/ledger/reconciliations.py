"""The runs of reconciliation as people and programs read them, and the differences that they found.

What a run has not looked at it does not call equal: the zeros of a class stand only in one that is done, and of one
that failed the differences found so far stay.  The values of a difference name people: `producers.operations.reads`
masks them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.reconciling import DriftClass, RunState

CONFIDENCE = 0.95
_UNKNOWN = {"estimate": None, "low": None, "high": None}


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as JSON shows it (spec section 8).

    Shape: *members* and *calls* by system; *differences* members by class; *drift* and each of *classes* the part of
    all members that differs, with the bounds of its interval, null: not known; *compared* members that CrowdTwist was
    looked at for, *covered* the part of all that they are; *unread* members that could not be looked at; *repaired*
    differences that a repair took up.  *waiting* what or whom it waits for, null: it goes on; *why* why it failed or
    was stopped; *progress* how far its *phase* is; *meaning* the figures in one sentence; *findings* what many
    differences have in common.
    """

    id: str
    state: str
    mode: str
    started_at: datetime | None
    ended_at: datetime | None
    members: Mapping[str, int]
    compared: int
    moving: int
    differences: Mapping[str, int]
    drift: Mapping[str, Any]
    classes: Mapping[str, Mapping[str, Any]]
    calls: Mapping[str, int]
    covered: float
    repaired: int
    unread: int
    scheduled: bool
    requested_by: str
    asked: Mapping[str, Any]
    created_at: datetime
    phase: str
    progress: Mapping[str, int]
    waiting: str | None
    why: str | None
    meaning: str
    strata: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, Any]]

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.ended_at is not None

    @property
    def found(self) -> int:
        """How many differences it found, of all classes."""
        return sum(self.differences.values())


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first; *next* is the cursor of the page after this one, None at the end."""

    items: list[Run]
    next: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One class of one member, with the three values of the field that tells it.

    Shape: *field* None: it is about the member as a whole, and the values say what each side has of it, in words of
    `shared.reconciling.Presence`; values null where a side has none, or was not asked; *evidence* one sentence that
    names nobody; *repairs* how often a repair took it up, the last at *repaired_at*.
    """

    id: str
    member_number: str
    drift_class: str
    field: str | None
    siebel: Any
    crowdtwist: Any
    ledger: Any
    first_seen_at: datetime
    seen_at: datetime
    evidence: str
    repairs: int
    repaired_at: datetime | None

    def shown(self) -> dict[str, Any]:
        """Return it as JSON shows it (spec section 8)."""
        names = ("member_number", "field", "siebel", "crowdtwist", "ledger", "first_seen_at", "seen_at", "evidence")
        return {name: getattr(self, name) for name in names[:1]} | {
            "class": self.drift_class,
            **{name: getattr(self, name) for name in names[1:]},
            "repairs": self.repairs,
            "repaired_at": self.repaired_at,
        }


@dataclass(frozen=True, slots=True)
class DifferencePage:
    """Differences in the order in which they were found; *next* is the cursor of the page after this one."""

    items: list[Difference]
    next: str | None


def read_run(tx: Connection, run_id: int) -> Run | None:
    """Read one run; None: there is none."""
    found = _runs(tx, tx.execute(_RUN, {"id": run_id}).all())
    return found[0] if found else None


def list_runs(tx: Connection, *, limit: int, before: int | None = None) -> RunPage:
    """List runs, newest first; *before* is the cursor of the page before."""
    rows = tx.execute(_RUNS, {"limit": limit + 1, "before": before}).all()
    items = _runs(tx, rows[:limit])
    return RunPage(items, items[-1].id if len(rows) > limit else None)


def last_done(tx: Connection) -> Run | None:
    """Read the newest run over all members that came to its end; None: there was none."""
    found = _runs(tx, tx.execute(_LAST_DONE).all())
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched of reconciliations.

    Shape: *done* the newest run over all members that came to its end, *last* the newest that ended in any way, *open*
    one that has not; None: there is none.  Units: *age_s* seconds since *done* ended; without one, since the first
    instance was accepted, None: nothing ever was.
    """

    done: Run | None
    last: Run | None
    open: Run | None
    age_s: float | None

    def is_overdue(self, every_h: float) -> bool:
        """Return whether no run has come to its end for twice as long as they are made in; 0: they are not."""
        return bool(every_h) and self.age_s is not None and self.age_s > 2 * 3600 * every_h


def watched(tx: Connection) -> Watched:
    """Look how reconciliations stand."""
    row = tx.execute(_WATCHED).one()
    found = {run.id: run for run in _runs(tx, tx.execute(_SOME, {"ids": [row.done, row.last, row.open]}).all())}
    done, last, open_ = (found.get(str(one)) for one in (row.done, row.last, row.open))
    return Watched(done, last, open_, None if row.age_s is None else float(row.age_s))


def take_news(tx: Connection) -> list[Run]:
    """Take the runs over all members that ended and that no mail tells of yet; of each once, whoever asks."""
    return _runs(tx, tx.execute(_TAKE_NEWS).all())


def take_overdue(tx: Connection, *, every_h: float) -> Watched | None:
    """Take it that no run has come to its end for too long, once in that time; None: one has, or it was taken."""
    found = watched(tx)
    if not found.is_overdue(every_h):
        return None
    return found if tx.execute(_TAKE_OVERDUE, {"hours": every_h}).rowcount else None


def differences(  # noqa: PLR0913  # the ways to choose among them
    tx: Connection,
    run_id: int,
    *,
    classes: Sequence[str] = (),
    members: Sequence[str] = (),
    limit: int,
    after: int | None = None,
) -> DifferencePage:
    """List the differences of a run, of some *classes* and *members* where given; *after* is a page's cursor."""
    conditions = ["run_id = :run_id", "id > :after"]
    parameters: dict[str, Any] = {"run_id": run_id, "after": after or 0}
    for column, words in (("class", classes), ("member_number", members)):
        if words:
            conditions.append(f"{column} = any(cast(:{column} as text[]))")
            parameters |= {column: list(words)}
    rows = tx.execute(text(_DIFFERENCES.format(" and ".join(conditions))), parameters | {"limit": limit + 1}).all()
    items = [Difference(*row) for row in rows[:limit]]
    return DifferencePage(items, items[-1].id if len(rows) > limit else None)


def repairs_of(tx: Connection, members: Sequence[str]) -> dict[tuple[str, str], int]:
    """Count how often each class of these members was repaired so far, in whatever run; absent: never."""
    rows = tx.execute(_REPAIRS_OF, {"members": list(members)})
    return {(row.member_number, row.drift_class): row.repairs for row in rows}


def repaired_since(tx: Connection, since: datetime) -> int:
    """Count the differences that a repair has taken up since *since*."""
    return int(tx.execute(_REPAIRED_SINCE, {"since": since}).scalar_one())


def note_repaired(tx: Connection, ids: Sequence[int]) -> None:
    """Note that a repair has taken these differences up."""
    tx.execute(_NOTE_REPAIRED, {"ids": list(ids)})


def _runs(tx: Connection, rows: Sequence[Row[Any]]) -> list[Run]:
    counts: dict[int, dict[str, int]] = {
        row.id: {one.value: 0 for one in DriftClass} if row.state == RunState.DONE else {} for row in rows
    }
    repaired = dict.fromkeys(counts, 0)
    for row in tx.execute(_COUNTS, {"ids": list(counts)}):
        counts[row.run_id][row.drift_class] = row.total
        repaired[row.run_id] += row.repaired
    return [_run(row, counts[row.id], repaired[row.id]) for row in rows]


def _run(row: Row[Any], counts: Mapping[str, int], repaired: int) -> Run:
    drift = row.drift or {}
    same = (
        "state", "mode", "started_at", "ended_at", "compared", "moving", "classes", "covered", "unread", "scheduled",
        "requested_by", "asked", "created_at", "phase", "why", "strata", "findings",
    )  # fmt: skip
    return Run(
        waiting=row.waits_for,
        id=str(row.id),
        members={"siebel": row.in_siebel, "ledger": row.in_ledger, "crowdtwist": row.in_crowdtwist},
        differences=counts,
        drift={**_UNKNOWN, **{name: drift[name] for name in _UNKNOWN if name in drift}, "confidence": CONFIDENCE},
        calls={"siebel": row.calls_siebel, "crowdtwist": row.calls_crowdtwist},
        repaired=repaired,
        progress={"looked_at": row.compared + row.unread, "to_look_at": row.to_look_at},
        meaning=str(drift.get("meaning") or ""),
        **{name: getattr(row, name) for name in same},
    )


# One run is carried on at a time, the oldest first, as `run_turns.take` chooses; a dispatcher looks twice a second.
_SHOWN = """
    select r.*,
           case when r.ended_at is not null then null
                when r.state = 'loading' then 'the rows of its file'
                when r.lease_until > clock_timestamp() then r.waiting
                when b.id is not null then format('reconciliation %s of %s to end', b.id, b.requested_by)
                when r.lease_until is null and r.created_at > clock_timestamp() - interval '5 s' then null
                when r.lease_until is null then 'a dispatcher that takes it'
                else format('a dispatcher that carries it on; the one that did was last heard of before %s',
                            to_char(r.lease_until at time zone 'UTC', 'HH24:MI:SS "UTC"')) end as waits_for
    from reconciliation r left join lateral (
        select o.id, o.requested_by from reconciliation o
        where r.ended_at is null and o.ended_at is null and o.id <> r.id
          and (o.id < r.id and o.state <> 'loading' or o.lease_until > clock_timestamp())
        order by o.lease_until > clock_timestamp() desc nulls last, o.id limit 1
    ) as b on true
"""
_RUN = text(f"{_SHOWN} where r.id = :id")
_RUNS = text(f"""
    {_SHOWN} where r.id < coalesce(cast(:before as bigint), 9223372036854775807) order by r.id desc limit :limit
""")
# Of one that somebody asked for a few members, or what changed since, the figures say nothing of all.
_LAST_DONE = text(f"""
    {_SHOWN} where r.state = 'done' and not r.asked ?| array['members', 'since', 'partial'] order by r.id desc limit 1
""")
_SOME = text(f"{_SHOWN} where r.id = any(cast(:ids as bigint[]))")
_OF_ALL = "not asked ?| array['members', 'since', 'partial']"
_WATCHED = text(f"""
    select d.id as done, l.id as last, o.id as open,
           extract(epoch from clock_timestamp() - coalesce(
               d.ended_at, (select accepted_at from instance order by id limit 1))) as age_s
    from (select 1) as one
    left join lateral (select id, ended_at from reconciliation where state = 'done' and {_OF_ALL}
                       order by id desc limit 1) as d on true
    left join lateral (select id from reconciliation where ended_at is not null and {_OF_ALL}
                       order by id desc limit 1) as l on true
    left join lateral (select id from reconciliation where ended_at is null order by id limit 1) as o on true
""")
# What ended longer ago is not told: mail may have been off till now.
_TAKE_NEWS = text(f"""
    update reconciliation set mailed = true
    where ended_at is not null and not mailed and ended_at > now() - interval '1 hour' and {_OF_ALL}
    returning *, null as waits_for
""")
_TAKE_OVERDUE = text("""
    insert into bookmark (name, upto) values ('overdue reconciliation', now())
    on conflict (name) do update set upto = now() where bookmark.upto < now() - make_interval(secs => 3600 * :hours)
""")
_COUNTS = text("""
    select run_id, class as drift_class, count(*) as total, count(*) filter (where repairs > 0) as repaired
    from difference where run_id = any(cast(:ids as bigint[])) group by 1, 2 order by 1, 2
""")
_DIFFERENCES = """
    select id::text, member_number, class, field, siebel, crowdtwist, ledger, first_seen_at, seen_at, evidence,
           repairs, repaired_at
    from difference where {} order by id limit :limit
"""
_REPAIRS_OF = text("""
    select member_number, class as drift_class, sum(repairs)::int as repairs from difference
    where member_number = any(cast(:members as text[])) and repairs > 0 group by 1, 2
""")
_REPAIRED_SINCE = text("select count(*) from difference where repaired_at >= :since")
_NOTE_REPAIRED = text("""
    update difference set repairs = repairs + 1, repaired_at = now() where id = any(cast(:ids as bigint[]))
""")

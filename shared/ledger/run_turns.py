"""Statements that move a reconciliation on: asked for, handed its files, taken, advanced, ended, stopped, scheduled.

A run belongs to nobody: whichever dispatcher takes its lease carries it on from its cursor.  One is carried on at a
time, the oldest first.  Every write of whoever carries it on names the token, so who lost the lease writes nothing.

One whose files are still being handed over, Siebel's before CrowdTwist's, is carried on as far as its rows are there,
after all others: who hands them over may be slow, or gone.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, text

from shared.errors import LedgerError
from shared.ledger.transitions.member_queue import words
from shared.pipeline import STAGES
from shared.reconciling import Phase, RunMode, RunState, Side

_LOCK_SPACE = 7_265
_TOKEN_BITS = 62
LOADING_MAX_H = 1
"""Hours for which a file is handed over at most."""


class RunLostError(LedgerError):
    """The run was stopped, or somebody else carries it on: nothing of the transaction may stand."""

    code = "run_lost"


@dataclass(frozen=True, slots=True)
class Request:
    """A run as somebody asks for it.

    Shape: *asked* what it is limited to, to be kept and shown: `members`, `since`, `files`; *sample* None: everybody.
    """

    mode: RunMode
    requested_by: str
    asked: Mapping[str, Any]
    sample: int | None
    share: float
    settle_s: float
    seed: int
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A run as whoever carries it on has it.  *now* the ledger's clock."""

    id: int
    token: int
    state: RunState
    mode: RunMode
    asked: Mapping[str, Any]
    sample: int | None
    share: float
    settle_s: float
    seed: int
    phase: Phase
    cursor: str
    in_siebel: int
    now: datetime

    @property
    def members(self) -> Sequence[str]:
        """The only members that it is about; none: all."""
        return list(self.asked.get("members", ()))

    @property
    def since(self) -> datetime | None:
        """Only what changed in Siebel since then; None: all."""
        said = self.asked.get("since")
        return None if said is None else datetime.fromisoformat(said)

    @property
    def files(self) -> Mapping[str, str]:
        """The names of the files that it was handed, by side."""
        return dict(self.asked.get("files", {}))

    @property
    def is_whole(self) -> bool:
        """Whether whoever Siebel does not show is not there."""
        return not self.members and self.since is None and not self.asked.get("partial")


def create(tx: Connection, request: Request) -> int:
    """Make a run and return its id; one with files is loading until `loaded`."""
    values = {name: getattr(request, name) for name in Request.__dataclass_fields__}
    state = RunState.LOADING if request.asked.get("files") else RunState.PLANNED
    values |= {"asked": orjson.dumps(request.asked).decode(), "state": state}
    return int(tx.execute(_CREATE, values).scalar_one())


def hand_over(  # noqa: PLR0913  # what is handed over, and where it belongs
    tx: Connection, run_id: int, side: Side, place: int, rows: bytes, *, digest: Sequence[bytes | None] | None = None
) -> None:
    """Keep some rows of a file for a run, and their *digest* (`shared.ledger.agreeing`)."""
    given = None if digest is None else list(digest)
    tx.execute(_HAND_OVER, {"run_id": run_id, "side": side, "place": place, "rows": rows, "digest": given})


def loaded(tx: Connection, run_id: int) -> bool:
    """Take it that all was handed over; False: the run was given up meanwhile."""
    return tx.execute(_LOADED, {"id": run_id}).rowcount == 1


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a run goes on now, as far as its rows are concerned, and whether it is still handed some."""

    goes_on: bool
    loading: bool


def standing(tx: Connection, turn: Turn) -> Standing:
    """Look whether the next rows are there, or there are no more of that file."""
    return Standing(*tx.execute(_STANDING, {"id": turn.id}).one())


def handed_over(tx: Connection, run_id: int, side: Side, place: int) -> bytes | None:
    """Return some rows of a file, None: there are no more."""
    return tx.execute(_HANDED_OVER, {"run_id": run_id, "side": side, "place": place}).scalar_one_or_none()


def now(tx: Connection) -> datetime:
    """Return the time by the ledger's clock."""
    at: datetime = tx.execute(_NOW).scalar_one()
    return at


def live_is_late_s(tx: Connection) -> float:
    """Return for how long the live event waits that waits longest for its turn, 0: none does."""
    return float(tx.execute(_LIVE_IS_LATE).scalar_one())


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Whether a run may be taken, whether ended ones have left something to be cleared away, whether one is loading."""

    takeable: bool
    forgettable: bool
    loading: bool


def left_over(tx: Connection) -> LeftOver:
    """Look what there is to do beside what is being done."""
    return LeftOver(*tx.execute(_LEFT_OVER).one())


def new_token() -> int:
    """Return a token for whoever is to carry runs on."""
    return secrets.randbits(_TOKEN_BITS) + 1


def take(tx: Connection, token: int, *, lease_s: float) -> Turn | None:
    """Take the lease of the oldest open run that goes on, unless one is carried on; None: there is none to be had."""
    tx.execute(_LOCK, {"space": _LOCK_SPACE})
    row = tx.execute(_TAKE, {"token": token, "lease_s": lease_s}).one_or_none()
    return None if row is None else _turn(row)


def under_way(tx: Connection) -> int | None:
    """Return the id of an open run, None: there is none; and let nobody begin one before the transaction ends."""
    tx.execute(_LOCK, {"space": _LOCK_SPACE})
    found: int | None = tx.execute(_UNDER_WAY).scalar()
    return found


def renew(tx: Connection, turn: Turn, *, lease_s: float, waiting: str | None = None) -> None:
    """Keep the lease, and say what the run waits for.

    Raises:
        RunLostError: it is lost.
    """
    _moved(tx.execute(_RENEW, {"id": turn.id, "token": turn.token, "lease_s": lease_s, "waiting": waiting}).rowcount)


def beat(tx: Connection, token: int, *, lease_s: float) -> None:
    """Keep the lease of whoever has *token*, and change nothing else."""
    tx.execute(_BEAT, {"token": token, "lease_s": lease_s})


def let_go(tx: Connection, token: int) -> None:
    """End the lease of whoever had *token*: the next may take the run at once."""
    tx.execute(_BEAT, {"token": token, "lease_s": 0})


def advance(  # noqa: PLR0913  # where it goes on, and what is added
    tx: Connection, turn: Turn, *, lease_s: float, phase: Phase, cursor: str, more: Mapping[str, int]
) -> None:
    """Move a run on to *cursor* of *phase*; *more* is added to its counts.

    Raises:
        RunLostError: the lease is lost.
    """
    added = {name: more.get(name, 0) for name in _COUNTS}
    values = {"id": turn.id, "token": turn.token, "lease_s": lease_s, "phase": phase, "cursor": cursor, **added}
    _moved(tx.execute(_ADVANCE, values).rowcount)


def finish(tx: Connection, turn: Turn, state: RunState, why: str | None, figures: Mapping[str, Any]) -> None:
    """End a run with its figures.

    Raises:
        RunLostError: the lease is lost.
    """
    values = _figures(figures) | {"id": turn.id, "token": turn.token, "state": state, "why": why}
    _moved(tx.execute(_FINISH, values).rowcount)


def _figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: orjson.dumps(figures[name]).decode() for name in ("classes", "strata", "findings")}
    drift = None if figures["drift"] is None else orjson.dumps(figures["drift"]).decode()
    return {**figures, **texts, "drift": drift}


def stop(tx: Connection, run_id: int, why: str, figures: Mapping[str, Any]) -> bool:
    """End a run where it is, with the figures so far; False: there is none, or it is over."""
    return tx.execute(_STOP, _figures(figures) | {"id": run_id, "why": why}).rowcount == 1


def give_up_loading(tx: Connection) -> None:
    """End the runs whose files were never handed over whole."""
    tx.execute(_GIVE_UP_LOADING, {"hours": LOADING_MAX_H})


def schedule(tx: Connection, request: Request, *, every_h: float) -> int | None:
    """Make a run if the last one over all members was made *every_h* hours ago and none is open; None: it is not time.

    The first is made when the ledger is as old.  However many ask at once, one is made.
    """
    tx.execute(_LOCK, {"space": _LOCK_SPACE})
    return create(tx, request) if tx.execute(_IS_TIME, {"hours": every_h}).scalar_one() else None


def _moved(rows: int) -> None:
    if rows != 1:
        raise RunLostError("the run was stopped, or another carries it on")


def _turn(row: Row[Any]) -> Turn:
    values: dict[str, Any] = {name: getattr(row, name) for name in Turn.__dataclass_fields__}
    return Turn(**values | {"state": RunState(row.state), "mode": RunMode(row.mode), "phase": Phase(row.phase)})


_COUNTS = (
    *("in_siebel", "in_ledger", "in_crowdtwist", "to_look_at", "compared", "moving", "unread"),
    *("calls_siebel", "calls_crowdtwist"),
)
_CREATE = text("""
    insert into reconciliation (state, mode, scheduled, requested_by, asked, sample, share, settle_s, seed)
    values (:state, :mode, :scheduled, :requested_by, cast(:asked as jsonb), :sample, :share, :settle_s, :seed)
    returning id
""")
_HAND_OVER = text("""
    insert into reconciliation_file (run_id, side, place, rows, digest)
    values (:run_id, :side, :place, :rows, cast(:digest as bytea[]))
""")
_HANDED_OVER = text("""
    select rows from reconciliation_file where run_id = :run_id and side = :side and place = :place
""")
_LOADED = text("""
    update reconciliation set state = case when lease_until > clock_timestamp() then 'running' else 'planned' end
    where id = :id and state = 'loading'
""")
# The first rows of CrowdTwist's file say that there are no more of Siebel's.
_GOES_ON = """
    case when r.state <> 'loading' then true
         when not (r.asked -> 'files') ? 'siebel' then false
         when r.phase = 'ledger' then true
         when r.phase in ('siebel', 'file') then exists (
             select from reconciliation_file f
             where f.run_id = r.id
               and (f.side = case r.phase when 'siebel' then 'siebel' else 'crowdtwist' end
                    and f.place = cast(coalesce(nullif(r.cursor, ''), '0') as int)
                    or r.phase = 'siebel' and f.side = 'crowdtwist' and f.place = 0))
         else false end
"""
_STANDING = text(f"select {_GOES_ON}, r.state = 'loading' from reconciliation r where r.id = :id")
_LEFT_OVER = text(f"""
    select exists (select from reconciliation r where r.ended_at is null and {_GOES_ON})
               and not exists (select from reconciliation where ended_at is null and lease_until > clock_timestamp()),
           exists (select from reconciliation r where r.ended_at is not null
                   and (exists (select from sighting s where s.run_id = r.id)
                        or exists (select from reconciliation_file f where f.run_id = r.id))),
           exists (select from reconciliation where state = 'loading')
""")
_NOW = text("select clock_timestamp()")
_LIVE_IS_LATE = text(f"""
    select coalesce(greatest(extract(epoch from clock_timestamp() - min(first.due_at)), 0), 0)
    from unnest(array[{words(STAGES)}]) as s (stage) cross join lateral (
        select i.due_at from instance i
        where i.lane = 'live' and i.due_stage = s.stage and i.state in ('pending', 'waiting')
        order by i.due_at limit 1
    ) as first
""")
_LOCK = text("select pg_advisory_xact_lock(:space, 0)")
_LEASE = "lease_until = clock_timestamp() + make_interval(secs => :lease_s)"
_UNDER_WAY = text("select min(id) from reconciliation where ended_at is null")
_TAKE = text(f"""
    update reconciliation
    set state = case state when 'loading' then state else 'running' end, token = :token, {_LEASE},
        started_at = coalesce(started_at, now())
    where id = (select r.id from reconciliation r where r.ended_at is null and {_GOES_ON}
                order by r.state = 'loading', r.id limit 1)
      and not exists (select from reconciliation where ended_at is null and lease_until > clock_timestamp())
    returning *, now() as now
""")
_IS_OURS = "id = :id and token = :token and state in ('loading', 'running')"
_RENEW = text(f"update reconciliation set {_LEASE}, waiting = :waiting where {_IS_OURS}")
_BEAT = text(f"update reconciliation set {_LEASE} where token = :token and state in ('loading', 'running')")
_ADVANCE = text(f"""
    update reconciliation
    set {_LEASE}, waiting = null, phase = :phase, cursor = :cursor,
        {", ".join(f"{name} = {name} + :{name}" for name in _COUNTS)}
    where {_IS_OURS}
""")
_ENDS = """
    ended_at = now(), why = :why, lease_until = null, token = 0, waiting = null, drift = cast(:drift as jsonb),
    classes = cast(:classes as jsonb), strata = cast(:strata as jsonb), findings = cast(:findings as jsonb),
    compared = :compared, moving = :moving, unread = :unread, covered = :covered
"""
_FINISH = text(f"update reconciliation set state = :state, {_ENDS} where {_IS_OURS}")
_STOP = text(f"update reconciliation set state = 'stopped', {_ENDS} where id = :id and ended_at is null")
_GIVE_UP_LOADING = text("""
    update reconciliation set state = 'failed', why = 'its file was not handed over whole', ended_at = now()
    where state = 'loading' and created_at < now() - make_interval(hours => :hours)
""")
_IS_TIME = text("""
    select not exists (
        select from reconciliation
        where ended_at is null
           or created_at > now() - make_interval(secs => 3600 * :hours)
              and not asked ?| array['members', 'since', 'partial']
    ) and exists (
        select from (select accepted_at from instance order by id limit 1) as first
        where first.accepted_at <= now() - make_interval(secs => 3600 * :hours)
    )
""")

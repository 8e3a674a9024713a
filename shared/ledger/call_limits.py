"""The limits of calls in flight, shared by all worker processes: what their calls showed, and each one's share.

Each process writes, once a second, what its calls showed in that second, into one of its `SLOTS` rows in turn; nothing
is deleted or counted up, and a call itself asks nobody.  Once a second a dispatcher, whichever locks the row first,
puts all of it together, has the limit decided (`shared.lifecycle.concurrency`) and divided, and each process reads its
share with its next writing.  Who has not written for `ALIVE_S` has died, and has no share.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from math import inf, isinf
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, text

from shared.ledger.records import CallsState
from shared.lifecycle.concurrency import Limit, Rules, after, first, tells
from shared.lifecycle.shares import shares
from shared.lifecycle.windows import Answers, Window
from shared.pipeline import Stage

EVERY_S = 1.0
"""Seconds from one writing, and one look, to the next."""
SLOTS = 16
ALIVE_S = 5.0
_LONG_AGO_S = SLOTS * EVERY_S - 2
_SHORTEST_S = 0.1


class Shown(NamedTuple):
    """What the calls of one process to one system showed.

    Shape: *wanted* calls that were, or wanted to be, in flight; *of* the limit for all whose share it obeyed.
    """

    window: Window
    wanted: int
    of: int


class Share(NamedTuple):
    """How many calls one process may have in flight, of how many that all may."""

    limit: int
    of: int


@dataclass(frozen=True, slots=True)
class Looked:
    """The limit of a connection before and after a look."""

    stage: Stage
    was: Limit
    now: Limit


def tell(tx: Connection, process: str, turn: int, shown: Mapping[Stage, Shown]) -> dict[Stage, Share]:
    """Write what a process's calls showed, in its *turn*-th second; return its shares, as far as it has any yet."""
    calls = {stage.value: _dumped(one) for stage, one in shown.items()}
    values = {"process": process, "slot": turn % SLOTS, "calls": _json(calls)}
    return {Stage(name): Share(share, of) for name, share, of in tx.execute(_TELL, values) if share is not None}


def leave(tx: Connection, process: str) -> None:
    """Give back the shares of a process that ends."""
    tx.execute(_LEAVE, {"process": process})


def look(tx: Connection, rules: Mapping[Stage, Rules]) -> list[Looked]:
    """Decide and divide the limits of the connections in *rules*, unless another dispatcher just did.

    What is known of others, whose limit is fixed, is forgotten.
    """
    tx.execute(_FORGET_OTHERS, {"names": list(map(str, rules))})
    rows = tx.execute(_LOCK, {"names": list(map(str, rules)), "every_s": 0.9 * EVERY_S}).all()
    if not rows:
        return []
    told = tx.execute(_TOLD, {"long_ago_s": _LONG_AGO_S}).all()
    looked = []
    for row in rows:
        stage = Stage(row.name)
        is_new = row.known is None
        known = first(rules[stage]) if is_new else _known(row.known, rules[stage])
        of_each = _by_process((one.process, one.at, _shown(one.calls.get(stage))) for one in told)
        newest = {process: of_one[-1] for process, of_one in of_each.items() if _is_alive(of_one[-1], row.now)}
        window = _together(of_each, known.limit, row.upto, row.now)
        says_nothing = not any(answers.count + answers.lost for answers in window.operations.values())
        is_told = not says_nothing and tells(window, known.limit)
        now = after(known, window, rules[stage]) if is_told else known
        wanted = {process: last.shown.wanted for process, last in newest.items()}
        found = {
            "shares": shares(now.limit, wanted, turn=int(row.now.timestamp() / ALIVE_S)),
            "in_flight": sum(last.shown.window.in_flight for last in newest.values()),
            "wanted": sum(wanted.values()),
        }
        was = {name: getattr(row, name) for name in found}
        if is_new or now != known or found != was:
            values = {"name": stage, "changed": is_new or now.limit != known.limit, **found}
            values |= {"known": kept(now), "shares": _json(found["shares"])}
            tx.execute(_SAVE, values | {"upto": row.now if is_told or says_nothing else row.upto})
        looked.append(Looked(stage, known, now))
    return looked


class Crowd(NamedTuple):
    """The calls that are wanted at once, and those that a connection lets through in some time; infinity: not known."""

    wanted: int
    carried: float


def crowds(tx: Connection, ahead_s: float) -> dict[Stage, Crowd]:
    """Return what each connection is wanted for, and lets through in *ahead_s*."""
    return {Stage(row.name): Crowd(row.wanted, _known(row.known).carries(ahead_s)) for row in tx.execute(_STATES)}


def forget(tx: Connection) -> None:
    """Drop what processes wrote that are long gone."""
    tx.execute(_FORGET)


def states(tx: Connection) -> dict[Stage, CallsState]:
    """Return the limits as people read them; a connection that has none yet is missing."""
    return {
        Stage(row.name): CallsState(
            limit=row.known["limit"],
            in_flight=row.in_flight,
            wanted=row.wanted,
            reason=row.known["reason"],
            backoffs=row.known["backoffs"],
            changed_at=row.changed_at,
            unloaded_ms={
                name: round(1000 * (unloaded_s or 0.0), 1) for name, unloaded_s in _unloaded(_known(row.known)).items()
            },
        )
        for row in tx.execute(_STATES)
    }


class _Told(NamedTuple):
    at: datetime
    shown: Shown


def _by_process(told: Iterable[tuple[str, datetime, Shown | None]]) -> dict[str, list[_Told]]:
    found: dict[str, list[_Told]] = {}
    for process, at, shown in told:
        if shown is not None:
            found.setdefault(process, []).append(_Told(at, shown))
    return found


def _is_alive(last: _Told, now: datetime) -> bool:
    return (now - last.at).total_seconds() <= ALIVE_S


def _together(of_each: Mapping[str, list[_Told]], limit: int, upto: datetime, now: datetime) -> Window:
    """Return what all processes showed since *upto*, from when the first of them had something in flight.

    A process hears of a new *limit* up to `EVERY_S` after it is decided, and tells as long after what it showed.
    """
    new = [[one for one in told if one.at > upto and one.shown.wanted] for told in of_each.values()]
    windows = (reduce(Window.then, (_under(limit, one.shown) for one in told)) for told in new if told)
    together = reduce(Window.beside, windows, Window(0.0, {}, 0, reached=False))
    began = min((told[0].at for told in new if told), default=now) - timedelta(seconds=EVERY_S)
    return replace(together, lasted_s=max(_SHORTEST_S, (now - max(upto, began)).total_seconds()))


def _under(limit: int, shown: Shown) -> Window:
    return replace(shown.window, is_current=shown.of == limit)


def _dumped(shown: Shown) -> dict[str, Any]:
    window = shown.window
    of = {
        name: {key: value for key, value in asdict(seen).items() if value} for name, seen in window.operations.items()
    }
    for answers in of.values():
        if "good" in answers:
            answers["good"] = {str(place): int(count) for place, count in answers["good"].items()}
    told = {"in_flight": window.in_flight, "reached": window.reached, "wanted": shown.wanted, "limit": shown.of}
    return {"of": of, "busy_s": None if isinf(window.busy_s) else window.busy_s, **told}


def _shown(calls: Mapping[str, Any] | None) -> Shown | None:
    if calls is None:
        return None
    operations = {
        name: Answers(**seen | {"good": {int(place): float(count) for place, count in seen.get("good", {}).items()}})
        for name, seen in calls["of"].items()
    }
    busy_s = calls.get("busy_s")
    window = Window(EVERY_S, operations, calls["in_flight"], calls["reached"], busy_s=inf if busy_s is None else busy_s)
    return Shown(window, calls["wanted"], calls.get("limit", 0))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


_MAY_BE_INFINITE = ("doubles_to", "queued_s")


def kept(limit: Limit) -> str:
    """Return *limit* as it is kept, in JSON."""
    values = asdict(limit)
    values["unloaded"] = {name: {str(place): n for place, n in one.items()} for name, one in limit.unloaded.items()}
    return _json({name: None if isinstance(value, float) and isinf(value) else value for name, value in values.items()})


def _known(values: Mapping[str, Any], rules: Rules | None = None) -> Limit:
    """Return what is known, as far as this version knows the fields, within *rules*, which may have changed since."""
    ours = {name: values[name] for name in Limit.__dataclass_fields__ if name in values}
    infinite = {name: inf for name in _MAY_BE_INFINITE if ours.get(name) is None}
    unloaded = {name: {int(place): n for place, n in one.items()} for name, one in values["unloaded"].items()}
    found = Limit(**{**ours, **infinite, "unloaded": unloaded})
    return found if rules is None else replace(found, limit=max(rules.least, min(rules.most, found.limit)))


def _unloaded(limit: Limit) -> dict[str, float | None]:
    return {name: limit.unloaded_s(name) for name in sorted(limit.unloaded)}


_TELL = text("""
    with told as (
        insert into call_window (process, slot, at, calls)
        values (:process, :slot, clock_timestamp(), cast(:calls as jsonb))
        on conflict (process, slot) do update set at = excluded.at, calls = excluded.calls
    )
    select name, cast(shares ->> :process as integer), cast(known ->> 'limit' as integer) from call_limit
""")
_LEAVE = text("delete from call_window where process = :process")
_LOCK = text("""
    select *, clock_timestamp() as now from call_limit
    where name = any(:names)
      and (known is null or looked_at <= clock_timestamp() - make_interval(secs => :every_s))
    for update skip locked
""")
_TOLD = text("""
    select process, at, calls from call_window
    where at > clock_timestamp() - make_interval(secs => :long_ago_s) order by at
""")
_SAVE = text("""
    update call_limit
    set known = cast(:known as jsonb), shares = cast(:shares as jsonb), in_flight = :in_flight, wanted = :wanted,
        upto = :upto, looked_at = clock_timestamp(),
        changed_at = case when :changed then clock_timestamp() else changed_at end
    where name = :name
""")
_FORGET_OTHERS = text("update call_limit set known = null where name <> all(:names) and known is not null")
_FORGET = text("delete from call_window where at < now() - interval '1 minute'")
_STATES = text("select * from call_limit where known is not null")

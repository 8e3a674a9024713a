"""What processes leave in the ledger beside their work: heartbeats, and messages that no task could take.

Worker processes and dispatchers beat every few seconds, each out of its own main loop.  Celery's control commands and
the sessions of PostgreSQL show who is there; a process that was stopped, or hangs, is there too.  A heartbeat shows
that it goes round.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, text

from shared.ledger.records import Process
from shared.pipeline import Lane
from shared.process_table import has_ended, process_table

EVERY_S = 2.0
"""Seconds from one beat to the next."""
_STRAY_MAX = 4_000
"""Characters that are kept of each part of a stray message."""


class Kind(StrEnum):
    """What a process does."""

    WORKER = "worker"
    DISPATCHER = "dispatcher"


@dataclass(frozen=True, slots=True)
class Who:
    """A process, by a name that the one started in its place takes over where it can; *lanes* that a worker serves."""

    kind: Kind
    name: str
    lanes: tuple[Lane, ...] = ()


def dispatcher() -> Who:
    """Return this process as a dispatcher."""
    return Who(Kind.DISPATCHER, f"{socket.gethostname()}/{os.getpid()}")


def beat(tx: Connection, who: Who, *, aged_s: float = 0.0) -> None:
    """Note that *who* went round, *aged_s* seconds ago; and which silent workers beside it have ended.

    From elsewhere nobody can tell one that was killed from one that is stopped and may go on.
    """
    values = {"kind": who.kind, "name": who.name, "lanes": list(map(str, who.lanes)), "pid": os.getpid()}
    beside = tx.execute(_BEAT, values | {"aged_s": aged_s, "table": process_table(), "silent_s": SILENT_S})
    if ended := [name for name, pid in beside if has_ended(pid)]:
        tx.execute(_ENDED, {"names": ended})


def leave(tx: Connection, who: Who) -> None:
    """Note that *who* ends as it should: nobody waits to hear of it."""
    tx.execute(_LEAVE, {"kind": who.kind, "name": who.name, "pid": os.getpid()})


def processes(tx: Connection) -> list[Process]:
    """Return who was heard of within a day, workers first."""
    return [
        Process(kind, name, [lane for lane in Lane if lane in lanes], started_at, heard_at, round(silent_s, 1))
        for kind, name, lanes, started_at, heard_at, silent_s in tx.execute(_PROCESSES)
    ]


def prune(tx: Connection) -> int:
    """Forget who was not heard of for a day."""
    return tx.execute(_PRUNE).rowcount


def file_stray(tx: Connection, *, queue: str, reason: str, headers: str, body: str) -> None:
    """Keep a stray message, cut to a readable length."""
    said = {"queue": queue, "reason": reason, "headers": headers, "body": body}
    tx.execute(_FILE_STRAY, {name: _readable(value) for name, value in said.items()})


def _readable(said: str) -> str:
    """Return what PostgreSQL can keep of it."""
    return said[:_STRAY_MAX].replace("\x00", "").encode(errors="replace").decode()


# Another pid under the same name is another process: one that was started in its place.
_BEAT = text("""
    with beaten as (
        insert into heartbeat (kind, name, lanes, pid, process_table, started_at, beat_at)
        values (:kind, :name, cast(:lanes as text[]), :pid, nullif(:table, ''), now(),
                now() - make_interval(secs => :aged_s))
        on conflict (kind, name) do update set
            started_at = case when heartbeat.pid = excluded.pid then heartbeat.started_at else excluded.started_at end,
            lanes = excluded.lanes, pid = excluded.pid, process_table = excluded.process_table,
            beat_at = excluded.beat_at, ended_at = null
    )
    select name, pid from heartbeat
    where kind = 'worker' and process_table = :table and name <> :name and ended_at is null
      and beat_at < now() - make_interval(secs => :silent_s)
""")
_ENDED = text("""
    update heartbeat set ended_at = now()
    where kind = 'worker' and name = any(cast(:names as text[])) and ended_at is null
""")
_LEAVE = text("delete from heartbeat where kind = :kind and name = :name and pid = :pid")
_PROCESSES = text("""
    select kind, name, lanes, started_at, beat_at, greatest(0, extract(epoch from now() - beat_at))::float8
    from heartbeat where beat_at > now() - interval '1 day' order by kind desc, name
""")
_PRUNE = text("delete from heartbeat where beat_at < now() - interval '1 day'")
_FILE_STRAY = text(
    "insert into stray_message (queue, reason, headers, body) values (:queue, :reason, :headers, :body)",
)


SILENT_S = 4 * EVERY_S
"""Whoever has not been heard of for so long is stopped, hangs, or is cut off from what it needs.  Units: seconds."""


def is_at_work(one: Process) -> bool:
    """Return whether it went round its main loop of late."""
    return one.silent_s <= SILENT_S


def dispatchers(processes: Sequence[Process]) -> list[Process]:
    """Return the dispatchers among *processes*."""
    return [one for one in processes if one.kind == Kind.DISPATCHER]


def workers(processes: Sequence[Process], lane: Lane | None = None) -> list[Process]:
    """Return the worker processes among *processes*, of *lane* or of any."""
    return [one for one in processes if one.kind == Kind.WORKER and (lane is None or lane in one.lanes)]


def silent(processes: Sequence[Process]) -> list[Process]:
    """Return those that have fallen silent and that nothing was started in place of."""
    return [one for one in processes if not is_at_work(one) and not any(_replaces(other, one) for other in processes)]


def _replaces(other: Process, one: Process) -> bool:
    """Return whether *other* was started for *one*; among children of one worker that one would have its very name."""
    if one.kind == Kind.WORKER and other.name.rpartition("/")[0] == one.name.rpartition("/")[0]:
        return False
    return is_at_work(other) and (other.kind, other.lanes) == (one.kind, one.lanes) and other.started_at > one.heard_at

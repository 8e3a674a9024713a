"""Who is at work and who has fallen silent, by their heartbeats.  Pure."""

from collections.abc import Sequence

from shared.ledger.heartbeats import EVERY_S, Kind
from shared.ledger.records import Process
from shared.pipeline import Lane

SILENT_S = 4 * EVERY_S
"""Whoever has not been heard of for so long is stopped, hangs, or is cut off from what it needs.  Units: seconds."""


def is_at_work(one: Process) -> bool:
    """Say whether it went round its main loop of late."""
    return one.silent_s <= SILENT_S


def dispatchers(processes: Sequence[Process]) -> list[Process]:
    """Give the dispatchers among *processes*."""
    return [one for one in processes if one.kind == Kind.DISPATCHER]


def workers(processes: Sequence[Process], lane: Lane | None = None) -> list[Process]:
    """Give the worker processes among *processes*, of *lane* or of any."""
    return [one for one in processes if one.kind == Kind.WORKER and (lane is None or lane in one.lanes)]


def silent(processes: Sequence[Process]) -> list[Process]:
    """Give those that have fallen silent and that nothing was started in place of."""
    return [one for one in processes if not is_at_work(one) and not any(_replaces(other, one) for other in processes)]


def _replaces(other: Process, one: Process) -> bool:
    """Say whether *other* was started for *one*; among children of one worker that one would have its very name."""
    if one.kind == Kind.WORKER and other.name.rpartition("/")[0] == one.name.rpartition("/")[0]:
        return False
    return is_at_work(other) and (other.kind, other.lanes) == (one.kind, one.lanes) and other.started_at > one.heard_at

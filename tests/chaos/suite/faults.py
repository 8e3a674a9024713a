"""What breaks: each kind of fault is a block during which something is broken, and a schedule of them for a seed.

What only some machines can break is in `machine`.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import psycopg

from tests.chaos.suite.brokers import mended
from tests.chaos.suite.feed import dice_of
from tests.chaos.suite.house import signalled
from tests.chaos.suite.links import OURS, STRANGER
from tests.chaos.suite.stand import SYSTEMS, Pace, Stand

Fault = Callable[[Stand, Pace, Random], AbstractContextManager[None]]
_ANOTHER = {
    "crowdtwist": {"id": 99, "third_party_id": "somebody-else", "first_name": "Else", "is_active": True},
    "siebel": {"items": {"Id": "1-ELSE", "CT Sync Status": "Success"}},
    "oic": {"instanceId": "another", "user": {"third_party_id": "somebody-else", "first_name": "Else"}},
}
GATEWAY = {"error": "Bad Request", "message": "The route is not configured for this host"}
CONNECTIONS = 120


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a schedule.  Units: seconds since the beginning, and how long it lasts."""

    at_s: float
    kind: str
    for_s: float


# The product's own processes


def _chosen(at: Stand, role: str, dice: Random) -> list[int]:
    assert at.house is not None
    found = at.house.pids(role)
    return [dice.choice(found)] if found else []


@contextmanager
def killed(role: str, at: Stand, _: Pace, dice: Random) -> Iterator[None]:
    signalled(_chosen(at, role, dice), signal.SIGKILL)
    yield


@contextmanager
def frozen(role: str, at: Stand, _: Pace, dice: Random) -> Iterator[None]:
    with standing_still(at, _chosen(at, role, dice)):
        yield


@contextmanager
def standing_still(at: Stand, pids: Sequence[int]) -> Iterator[None]:
    """Stop processes for the length of the block, and note from when to when."""
    began = time.time()
    signalled(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        signalled(pids, signal.SIGCONT)
        at.frozen.append((began, time.time()))


# The broker


@contextmanager
def broker_killed(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.broker.kill(emptied=False)
    yield


@contextmanager
def broker_killed_empty(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.broker.kill(emptied=True)
    yield


@contextmanager
def broker_flushed(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.broker.flush()
    yield


@contextmanager
def broker_cut(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.broker.cut()
    yield


@contextmanager
def broker_told(condition: str, at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.broker.tell(condition, begins=True)
    try:
        yield
    finally:
        mended(lambda: at.broker.tell(condition, begins=False))


@contextmanager
def broker_frozen(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    pids = at.broker.pids()
    signalled(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        signalled(pids, signal.SIGCONT)


# The ledger


@contextmanager
def ledger_ended(how: signal.Signals, at: Stand, _: Pace, __: Random) -> Iterator[None]:
    signalled([at.postgres_pid], how)
    yield


@contextmanager
def ledger_frozen(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    pids = at.postgres_pids()
    signalled(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        signalled(pids, signal.SIGCONT)


_END_OTHERS = (
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()"
)


@contextmanager
def ledger_cut(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    with at.psql() as tx:
        tx.execute(_END_OTHERS)
    yield


@contextmanager
def ledger_used_up(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    """Take every connection that PostgreSQL has left, after the others were cut."""
    with ExitStack() as held:

        def take() -> "psycopg.Connection[tuple[object, ...]]":
            tx = at.psql()
            held.callback(tx.close)
            return tx

        take().execute(_END_OTHERS)
        with suppress(psycopg.Error):
            for _more in range(CONNECTIONS):
                take()
        yield


@contextmanager
def _in_transaction(at: Stand, statement: bytes) -> Iterator[None]:
    tx = at.psql()
    try:
        tx.execute(b"begin isolation level repeatable read")
        tx.execute(statement)
        yield
    finally:
        tx.close()


def ledger_locked(at: Stand, _: Pace, __: Random) -> AbstractContextManager[None]:
    return _in_transaction(at, b"lock table member in exclusive mode")


def ledger_snapshot(at: Stand, _: Pace, __: Random) -> AbstractContextManager[None]:
    return _in_transaction(at, b"select count(*) from instance")


@contextmanager
def ledger_read_only(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    def tell(words: bytes, *, end_others: bool) -> None:
        with at.psql() as tx:
            tx.execute(b"alter database membersync " + words)
            if end_others:
                tx.execute(_END_OTHERS)

    tell(b"set default_transaction_read_only = on", end_others=True)
    try:
        yield
    finally:
        mended(lambda: tell(b"reset default_transaction_read_only", end_others=False))


# The wires


@contextmanager
def slow_link(name: str, at: Stand, _: Pace, dice: Random) -> Iterator[None]:
    at.links[name].delay_s = dice.uniform(0.02, 0.15)
    try:
        yield
    finally:
        at.links[name].delay_s = 0.0


@contextmanager
def silent_link(name: str, at: Stand, _: Pace, __: Random) -> Iterator[None]:
    """Let nothing pass for a while; then all of it arrives at once, what was given up meanwhile too."""
    began = time.time()
    at.links[name].be_silent(silent=True)
    try:
        yield
    finally:
        at.links[name].be_silent(silent=False)
        if name in SYSTEMS:
            at.frozen.append((began, time.time()))


@contextmanager
def cut_link(name: str, at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.links[name].cut()
    yield


@contextmanager
def strange_certificate(at: Stand, _: Pace, __: Random) -> Iterator[None]:
    at.links["crowdtwist"].show(STRANGER)
    try:
        yield
    finally:
        at.links["crowdtwist"].show(OURS)


# The outside systems


@contextmanager
def simulated(system: str, details: Mapping[str, object], at: Stand, pace: Pace, dice: Random) -> Iterator[None]:
    """Break a system for a part of the calls, or for all of them."""
    fault = dict(details)
    if fault["kind"] == "apply_late":
        fault |= {"seconds": round(dice.uniform(*pace.late_s), 2), "percent": 25, "hang": dice.random() < 0.5}
    elif fault["kind"] != "refuse":
        fault.setdefault("percent", dice.choice([30, 60, 100]))
    number = at.control.fault(system, **fault)  # type: ignore[arg-type]  # its kind is among them
    try:
        yield
    finally:
        with suppress(OSError):
            at.control.heal(system, number)


OF_SYSTEMS: Mapping[str, Mapping[str, object]] = {
    "refuses": {"kind": "refuse"},
    "hangs": {"kind": "hang"},
    "drips": {"kind": "drip", "seconds": 0.2},
    "drops": {"kind": "drop"},
    "resets_after_applying": {"kind": "drop_after"},
    "applies_late": {"kind": "apply_late"},
    "throttles": {"kind": "throttle", "retry_after": 1},
    "fails": {"kind": "status", "status": 500, "body": "oops"},
    "in_maintenance": {"kind": "maintenance"},
    "shows_html": {"kind": "html"},
    "talks_garbage": {"kind": "garbage"},
    "of_wrong_length": {"kind": "wrong_length"},
    "behind_a_gateway": {"kind": "status", "status": 400, "body": GATEWAY},
    "slow": {"kind": "slow", "seconds": 0.4},
}


def _kinds() -> dict[str, Fault]:
    kinds: dict[str, Fault] = {}
    for role in ("child", "worker", "dispatcher", "api"):
        kinds[f"{role}.killed"] = partial(killed, role)
        kinds[f"{role}.frozen"] = partial(frozen, role)
    for one in (broker_killed, broker_killed_empty, broker_flushed, broker_cut, broker_frozen):
        kinds[one.__name__.replace("_", ".", 1)] = one
    for condition in ("full", "read_only"):
        kinds[f"broker.{condition}"] = partial(broker_told, condition)
    for name, how in (("restarted", signal.SIGINT), ("killed", signal.SIGQUIT), ("crashed", signal.SIGKILL)):
        kinds[f"ledger.{name}"] = partial(ledger_ended, how)
    for other in (ledger_frozen, ledger_cut, ledger_used_up, ledger_locked, ledger_snapshot, ledger_read_only):
        kinds[other.__name__.replace("_", ".", 1)] = other
    for name in ("ledger", "broker", *SYSTEMS):
        kinds[f"{name}.far"] = partial(slow_link, name)
        kinds[f"{name}.silent"] = partial(silent_link, name)
        kinds[f"{name}.link_cut"] = partial(cut_link, name)
    kinds["crowdtwist.strange_certificate"] = strange_certificate
    for system in SYSTEMS:
        for what, details in OF_SYSTEMS.items():
            if system == "oic" and what == "behind_a_gateway":
                continue  # 400 with JSON is what OIC itself says of a member
            kinds[f"{system}.{what}"] = partial(simulated, system, details)
        another = {"kind": "status", "status": 200, "body": _ANOTHER[system]}
        kinds[f"{system}.answers_of_another"] = partial(simulated, system, another)
    kinds["oic.no_tokens"] = partial(
        simulated, "oic", {"kind": "status", "status": 503, "path": "/oauth2", "percent": 100}
    )
    return kinds


KINDS: Mapping[str, Fault] = _kinds()


def schedule(seed: int, seconds: float, pace: Pace, kinds: Mapping[str, Fault] = KINDS) -> list[Planned]:
    """Return what breaks when, the same for the same seed: every kind before any comes twice."""
    dice = dice_of("faults", seed)
    planned: list[Planned] = []
    left: list[str] = []
    at_s = dice.uniform(*pace.gap_s)
    while at_s < seconds:
        left = left or dice.sample(sorted(kinds), len(kinds))
        kind = left.pop()
        length_s = (
            pace.frozen_s
            if kind.endswith(".frozen") and kind.partition(".")[0] in {"child", "worker"}
            else pace.trouble_s
        )
        planned.append(Planned(round(at_s, 3), kind, round(min(dice.uniform(*length_s), max(1.0, seconds - at_s)), 3)))
        at_s += dice.uniform(*pace.gap_s)
    return planned

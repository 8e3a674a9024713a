"""A programme to reconcile: simulators that hold what the ledger says, members that change, planted differences.

A few hundred members go the whole way; the ledger's rows are copied (`tests.bench.many`), and the simulators are given
what belongs to the copies.  They have no e-mail address, so that each copy has the content of its original, and
CrowdTwist an address of its own.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import text

from deploy.local.supervisor import Program, Running
from deploy.sandbox.server import SandboxControl
from shared.pipeline import Lane
from shared.reconciling import DriftClass
from tests.bench.events import Event
from tests.bench.many import multiply
from tests.bench.rig import Rig
from tests.bench.waiting import wait_until

_ORIGINALS = 200
_LIVE = 1_000
"""Members that change all the time."""
_LIVE_PER_S = 50
_AT_ONCE = 5
_FIELDS = {
    "status": ("Status", "Active"),
    "first_name": ("Contact First Name", "Ann"),
    "last_name": ("Contact Last Name", "Lee"),
    "email_address": ("Email Address", ""),
    "postal_code": ("Primary Postal Code", "10010"),
    "country_code": ("Primary Country Code", "US"),
}
"""By our name: Siebel's label, and what a member has there."""
_FIRST_NAME = _FIELDS["first_name"][0]
_IN_SIEBEL: Mapping[DriftClass, dict[str, str]] = {
    DriftClass.MISSED_EVENT: {_FIRST_NAME: "Hanna"},
    DriftClass.LEDGER_BEHIND: {_FIRST_NAME: "Berta"},
    DriftClass.STATUS_LIES: {"CT Sync Status": "Data Error"},
}
_IN_CROWDTWIST: Mapping[DriftClass, dict[str, Any]] = {
    DriftClass.LEDGER_BEHIND: {"first_name": "Berta"},
    DriftClass.CHANGED_AT_DESTINATION: {"last_name": "Cole"},
    DriftClass.ROLLED_BACK: {"last_name": "Older", "date_last_updated": 1_700_000_000},
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class World:
    """The simulators, each in a process of its own: a page of Siebel would hold CrowdTwist up."""

    crowdtwist_url: str
    siebel_url: str
    crowdtwist: SandboxControl
    siebel: SandboxControl


@contextmanager
def outside(home: Path) -> Iterator[World]:
    """Run both simulators for the length of the block."""
    urls: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        for name in ("crowdtwist", "siebel"):
            log = home / f"{name}.log"
            command = [sys.executable, "-m", "deploy.sandbox", f"--{name}-port", "0", "--control-port", "0"]
            stack.enter_context(Running(Program(name, command, log=log)))
            wait_until(partial(_is_said, log), 60, f"the start of {name}")
            urls[name] = orjson.loads(log.read_bytes().splitlines()[-1])
        controls = {name: stack.enter_context(SandboxControl(of["control"])) for name, of in urls.items()}
        controls["siebel"].set("siebel", auto_members=False)
        yield World(urls["crowdtwist"]["crowdtwist"], urls["siebel"]["siebel"], **controls)


def _is_said(log: Path) -> bool:
    return log.exists() and log.read_bytes().endswith(b"}\n")


@dataclass(slots=True)
class Programme:
    """Who is there, as the simulators have it.

    Shape: *siebel* rows and *crowdtwist* users by Member Number; *planted* the class of each member that differs;
    *sound* row and user of each that was there before it was made to differ; *live* those that change.
    """

    siebel: dict[str, dict[str, str]] = field(default_factory=dict)
    crowdtwist: dict[str, dict[str, Any]] = field(default_factory=dict)
    planted: dict[str, DriftClass] = field(default_factory=dict)
    sound: dict[str, tuple[dict[str, str], dict[str, Any]]] = field(default_factory=dict)
    live: Sequence[str] = ()


def made(on: Rig, world: World, settings: Mapping[str, str], *, members: int, of_class: int) -> Programme:
    """Make a programme of so many *members*, and plant so many differences *of_class* each."""
    _original(on, world, settings)
    multiply(on.ledger, members)
    with on.ledger.begin() as tx:
        tx.execute(_OWN_ADDRESS)
        rows = tx.execute(_MEMBERS).all()
    programme = Programme()
    for number, row_id, status, error, user in rows:
        told = {"CT Sync Status": status, "CT Sync Error": error or ""}
        programme.siebel[number] = row_of(number, row_id) | told
        programme.crowdtwist[number] = user
    _plant(programme, of_class)
    world.siebel.seed(*programme.siebel.values())
    world.crowdtwist.plant(*programme.crowdtwist.values())
    return programme


def row_of(number: str, row_id: str, **changes: str) -> dict[str, str]:
    """Return a member as Siebel has it; *changes* by our names."""
    fields = {label: changes.get(name, value) for name, (label, value) in _FIELDS.items()}
    return {"member_number": number, "row_id": row_id, **fields}


def _original(on: Rig, world: World, settings: Mapping[str, str]) -> None:
    """Bring the originals to CrowdTwist and back."""
    numbers = [f"p-{place}" for place in range(_ORIGINALS)]
    world.siebel.seed(*(row_of(number, f"1-{number}") for number in numbers))
    with on.ours("dispatcher", settings=settings), on.ours("worker", settings=settings):
        on.feed(event_of(number) for number in numbers)
        wait_until(on.is_quiet, 300, "the originals")


def event_of(number: str, **changes: str) -> Event:
    """Return an event of a member as of now; *changes* by our names."""
    member = {"member_number": number, "row_id": f"1-{number}"}
    member |= {name: changes.get(name, value) for name, (_, value) in _FIELDS.items()}
    return {"operation": "update", "occurred_at": datetime.now(UTC).isoformat(), "member": member}


def _plant(programme: Programme, of_class: int) -> None:
    """Let members differ by every class, and choose who changes."""
    numbers = sorted(programme.siebel)
    programme.live = numbers[: min(_LIVE, len(numbers) // 4)]
    rest = iter(number for number in numbers[len(programme.live) :] if number.count("-") > 1)  # no original
    siebel, crowdtwist = programme.siebel, programme.crowdtwist
    for drift_class in DriftClass:
        for _ in range(of_class):
            number = next(rest)
            if drift_class is DriftClass.NEVER_SENT:
                number = f"n-{number}"
                siebel[number] = row_of(number, f"1-{number}")
            else:
                programme.sound[number] = (dict(siebel[number]), crowdtwist[number])
            siebel[number] |= _IN_SIEBEL.get(drift_class, {})
            if changed := _IN_CROWDTWIST.get(drift_class):
                crowdtwist[number] = crowdtwist[number] | changed
            if drift_class is DriftClass.ORPHAN:
                del siebel[number]
            if drift_class is DriftClass.GONE_AT_DESTINATION:
                del crowdtwist[number]
            programme.planted[number] = drift_class


class Changes:
    """Live changes: Siebel's row first, then its event; between the two the member differs."""

    def __init__(self, on: Rig, world: World, programme: Programme) -> None:
        self._on, self._world, self._programme = on, world, programme
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._change, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Change nobody any more."""
        self._over.set()
        self._thread.join()

    def _change(self) -> None:
        members, began = self._programme.live, time.monotonic()
        for turn in count():
            if self._over.wait(max(0.0, began + turn * _AT_ONCE / _LIVE_PER_S - time.monotonic())):
                return
            name = f"Ann{_LETTERS[turn // 26 % 26]}{_LETTERS[turn % 26]}"
            some = [members[(turn * _AT_ONCE + place) % len(members)] for place in range(_AT_ONCE)]
            for number in some:
                self._programme.siebel[number] |= {_FIRST_NAME: name}
                self._programme.crowdtwist[number] |= {"first_name": name}
            self._world.siebel.seed(*(row_of(number, f"1-{number}", first_name=name) for number in some))
            self._on.feed((event_of(number, first_name=name) for number in some), Lane.LIVE)


@dataclass(frozen=True, slots=True)
class Window:
    """How live events of a time went.  Units: *p95_ms* from accepting one to its end; *per_s* accepted a second."""

    events: int
    p95_ms: float
    per_s: float
    completed: float


Slice = tuple[datetime, datetime]


def window(on: Rig, slices: Sequence[Slice]) -> Window:
    """Return how those went that were accepted in these times; whatever is on its way of them is waited for."""
    seconds = sum((ended - began).total_seconds() for began, ended in slices)
    between = {"began": [began for began, _ in slices], "ended": [ended for _, ended in slices]}

    def is_over() -> bool:
        with on.ledger.connect() as tx:
            return not tx.execute(_ON_THEIR_WAY, between).scalar()

    wait_until(is_over, 120, "the live events of a time")
    with on.ledger.connect() as tx:
        row = tx.execute(_WINDOW, between).one()
    return Window(row.total, float(row.p95 or 0) * 1000, row.total / seconds, row.completed / max(1, row.total))


# The original's number stands in the address that CrowdTwist has of a member without one, and in what it was sent.
_OWN_ADDRESS = text("""
    with copies as (
        select member_number as number, regexp_replace(member_number, '^(p-[0-9]+)-.*$', '\\1') as original
        from member where member_number ~ '^p-[0-9]+-'
    ), users as (
        update mapping u
        set user_json = cast(replace(replace(cast(u.user_json as text), c.original || '@', c.number || '@'),
                                     '"' || c.original || '"', '"' || c.number || '"') as json)
        from copies c join member m on m.member_number = c.number where u.instance_id = m.newest_id
    )
    update member m set echoed = cast(replace(cast(m.echoed as text), c.original || '@', c.number || '@') as jsonb)
    from copies c where m.member_number = c.number
""")
_MEMBERS = text("""
    select m.member_number, m.row_id, m.told_status, m.told_error, u.user_json
    from member m join mapping u on u.instance_id = m.newest_id
""")
_ACCEPTED_THEN = """
    lane = 'live' and exists (
        select from unnest(cast(:began as timestamptz[]), cast(:ended as timestamptz[])) as s (began, ended)
        where accepted_at between s.began and s.ended)
"""
_ON_THEIR_WAY = text(f"""
    select exists (select from instance
                   where {_ACCEPTED_THEN} and state in ('pending', 'running', 'waiting', 'held'))
""")
_WINDOW = text(f"""
    select count(*) as total, count(*) filter (where state = 'completed') as completed,
           percentile_cont(0.95) within group (order by extract(epoch from finished_at - accepted_at))
               filter (where state = 'completed') as p95
    from instance where {_ACCEPTED_THEN}
""")

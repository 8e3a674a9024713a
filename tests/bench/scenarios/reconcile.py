"""A full run over 100,000 members, 1,000 differences of each class, live changes at 50/s meanwhile; then from files.

What else is on the machine slows all of it, and now more, now less.  So live events beside a run are compared with
those of the seconds between, in which its process is stopped (SIGSTOP).  The simulators are Python and take their part
of the machine too.
"""

import csv
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from sqlalchemy import text

from producers.operations.job_control import Operator
from producers.operations.reconcile import runs
from producers.operations.reconcile.files import crowdtwist_file, siebel_file
from producers.operations.reconcile.runs import Ask
from shared.ledger import reconciliations
from shared.ledger.engine import transaction
from shared.ledger.reconciliations import Run
from shared.reconciling import RunState, Side
from shared.settings import Settings
from tests.bench.drain import say
from tests.bench.programme import Changes, Programme, Slice, Window, World, made, outside, window
from tests.bench.rig import Rig, scratch_home
from tests.bench.scenarios import Options, Start

TITLE = "reconcile: 100,000 members, 1,000 differences of each class, 50 live changes a second"
KEYS: Sequence[str] = (
    "reconcile_wrong",
    "reconcile_live_p95_ratio",
    "reconcile_live_per_s",
    "reconcile_share_overruns",
    "reconcile_feed_rows_per_s",
    "reconcile_rss_mb",
)
_MEMBERS = 100_000
_OF_CLASS = 1_000
_SLICE_S = 12.0
_SETTLES_S = 2.0
"""Of each slice the beginning counts for nothing: what came before is still on its way."""
_SLICES = 24
"""Half of them with the run, half without."""
_PER_MINUTE = 60_000
_SHARE = 0.3
_SETTLE_S = 30.0
_FILES_SETTLE_S = 1.0
"""Of the run from files; whatever is waited is no work on rows."""
_FILES_DIFFER = 200
"""Of so many members one differs in the files."""
_WITHIN_S = 3_600.0
_TRIES = 200
_PAUSE_S = 0.02
_OPERATOR = Operator("bench", "operator")
_IN_TRANSACTION = text("""
    select exists (select from pg_stat_activity where client_port = any(cast(:ports as int[])) and state <> 'idle')
""")


def run(start: Start, options: Options) -> dict[str, float]:
    """Plant, measure live events beside a full run and in between; then compare the same from files."""
    members, of_class = options.scaled(_MEMBERS, 2_000), options.scaled(_OF_CLASS, 10)
    slices = options.scaled(_SLICES, 4)
    with start() as on, scratch_home() as home, outside(home) as world:
        settings = _settings(world)
        programme = made(on, world, settings, members=members, of_class=of_class)
        say(f"{len(programme.siebel):,} members in Siebel, {len(programme.crowdtwist):,} in CrowdTwist")
        with (
            on.ours("dispatcher", settings=settings),
            on.ours("worker", "--lane", "live", settings=settings),
            on.ours("worker", "--lane", "bulk", settings=settings),
        ):
            changes = Changes(on, world, programme)
            time.sleep(5)  # warm
            done, seen = _carried(on, world, settings, Ask(full=True), slices)
            figures = _judged(on, programme, done) | _compared(window(on, seen.without), window(on, seen.beside))
            figures["reconcile_share_overruns"] = float(seen.overruns)
            say(f"{seen.gets:,} GETs to CrowdTwist, at most {seen.most:,} in 60 s; the share is {_allowed():,}")
            figures["reconcile_feed_rows_per_s"], rss_mb = _from_files(on, world, home, settings, programme)
            changes.stop()
            figures["reconcile_rss_mb"] = max(seen.rss_mb, rss_mb)
    return figures


def _settings(world: World) -> dict[str, str]:
    return {
        "CROWDTWIST__BASE_URL": world.crowdtwist_url,
        "CROWDTWIST__API_KEY": "sandbox-key",
        "CROWDTWIST__BUDGET_PER_MINUTE": str(_PER_MINUTE),
        "SIEBEL__BASE_URL": world.siebel_url,
        "SIEBEL__USERNAME": "SADMIN",
        "SIEBEL__PASSWORD": "SADMIN",
        "RECONCILE__SHARE": str(_SHARE),
        "RECONCILE__SETTLE_S": str(_SETTLE_S),
        "RECONCILE__EVERY_H": "0",
    }


def _allowed() -> int:
    return int(_PER_MINUTE * _SHARE)


@dataclass(slots=True)
class Seen:
    """What was seen of a run from outside, each second.

    Shape: *phases* seconds in each; *most* GETs that CrowdTwist had in any 60 s; *rss_mb* the most that the process of
    the run had; *beside* and *without* it, the times of the slices in which it went on, or was stopped.
    """

    gets: int = 0
    most: int = 0
    rss_mb: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    beside: list[Slice] = field(default_factory=list)
    without: list[Slice] = field(default_factory=list)

    @property
    def overruns(self) -> int:
        """Calls above the share."""
        return max(0, self.most - _allowed())


def _carried(on: Rig, world: World, settings: Mapping[str, str], ask: Ask, slices: int = 0) -> tuple[Run, Seen]:
    """Have a run made and carried on to its end, stopped in every second of so many *slices*."""
    of = _as_settings(on, settings)
    seen, turns = Seen(), Slices(on, slices)
    last: deque[tuple[float, int]] = deque()
    at_first = int(world.crowdtwist.state("crowdtwist")["gets"])
    begun = runs.start(on.ledger, _OPERATOR, ask, of)
    deadline, looked_at = time.monotonic() + _WITHIN_S, time.monotonic()
    try:
        while not (run := runs.read(on.ledger, int(begun.id)) or begun).over:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the run took longer than {_WITHIN_S:g} s: {run.phase}, {run.progress}")
            time.sleep(0.25)
            now = time.monotonic()
            if run.state == RunState.RUNNING:
                turns.turn()
            seen.phases[run.phase] = seen.phases.get(run.phase, 0.0) + now - looked_at
            looked_at = now
            seen.gets = int(world.crowdtwist.state("crowdtwist")["gets"]) - at_first
            last.append((now, seen.gets))
            while last[0][0] < now - 60:
                last.popleft()
            seen.most = max(seen.most, last[-1][1] - last[0][1])
            seen.rss_mb = max([seen.rss_mb, *(one.memory_info().rss / 1e6 for one in _carriers(on))])
    finally:
        turns.end()
    seen.beside, seen.without = turns.beside, turns.without
    took = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in seen.phases.items())
    say(f"run {run.id} {run.state}{f' ({run.why})' if run.why else ''}: {took}; calls {dict(run.calls)}")
    if run.state != RunState.DONE:
        raise TimeoutError(f"the run is {run.state}: {run.why}")
    return run, seen


class Slices:
    """Lets a run go on and be stopped by turns; *beside* and *without* it are the times of either."""

    def __init__(self, on: Rig, count: int) -> None:
        self._on, self._left = on, count
        self._stopped: list[psutil.Process] = []
        self._began: datetime | None = None
        self._ends_at = 0.0
        self.beside: list[Slice] = []
        self.without: list[Slice] = []

    def turn(self) -> None:
        """Begin the next when one is over."""
        if time.monotonic() < self._ends_at:
            return
        if self._began is not None:
            over = (self._began + timedelta(seconds=_SETTLES_S), datetime.now(UTC))
            (self.without if self._stopped else self.beside).append(over)
        self.end()
        if not self._left:
            return
        self._left -= 1
        if len(self.without) < len(self.beside):
            self._stopped = [one for one in _carriers(self._on) if self._stop(one)]
        self._began, self._ends_at = datetime.now(UTC), time.monotonic() + _SLICE_S

    def _stop(self, process: psutil.Process) -> bool:
        """Stop it between two transactions: what it holds in one, live events would wait for."""
        with suppress(psutil.NoSuchProcess):
            ports = [one.laddr.port for one in process.net_connections()]
            for _ in range(_TRIES):
                process.suspend()
                time.sleep(_PAUSE_S)
                with self._on.ledger.connect() as tx:
                    if not tx.execute(_IN_TRANSACTION, {"ports": ports}).scalar():
                        return True
                process.resume()
                time.sleep(_PAUSE_S)
        return False

    def end(self) -> None:
        """Let it go on."""
        for one in self._stopped:
            with suppress(psutil.NoSuchProcess):
                one.resume()
        self._stopped, self._began = [], None


def _carriers(on: Rig) -> list[psutil.Process]:
    """Return the process of the run, if there is one."""
    found = []
    for pid in on.accounts.pids("dispatcher"):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if any("spawn_main" in word for word in process.cmdline()):
                found.append(process)
    return found


def _as_settings(on: Rig, settings: Mapping[str, str]) -> Settings:
    said: dict[str, object] = {"ledger_url": on.ledger_url}
    for name, value in settings.items():
        section, _, key = name.lower().partition("__")
        of = said.setdefault(section, {})
        if isinstance(of, dict):
            of[key] = value
    return Settings(_env_file=None, **said)  # type: ignore[arg-type]


def _judged(on: Rig, programme: Programme, run: Run) -> dict[str, float]:
    """Count who was not found, or found by another class, and who was found and does not differ."""
    with transaction(on.ledger) as tx:
        items = reconciliations.differences(tx, int(run.id), limit=10_000_000).items
    found = {(one.member_number, one.drift_class) for one in items}
    planted = {(number, of.value) for number, of in programme.planted.items()}
    missed, false = planted - found, found - planted
    say(f"{len(planted & found):,} of {len(planted):,} right; {len(missed)} missed, {len(false)} false; {run.meaning}")
    for name, some in (("missed", missed), ("false", false)):
        if some:
            say(f"{name}: {dict(Counter(of for _, of in some))}, like {sorted(some)[:3]}")
    return {"reconcile_wrong": float(len(missed | false))}


def _compared(without: Window, beside: Window) -> dict[str, float]:
    for name, one in (("without the run", without), ("beside the run", beside)):
        said = f"{one.events:,} live events, {one.per_s:.1f}/s, p95 {one.p95_ms:.0f} ms, {one.completed:.1%} completed"
        say(f"{name}: {said}")
    return {"reconcile_live_p95_ratio": beside.p95_ms / without.p95_ms, "reconcile_live_per_s": beside.per_s}


def _from_files(
    on: Rig, world: World, home: Path, settings: Mapping[str, str], programme: Programme
) -> tuple[float, float]:
    """Compare from files of both sides, live changes beside it; return rows per second of the whole run, and MB.

    From its start, before a row is read, to its end, the second look at whoever differs included.
    """
    siebel, profiles = home / "members.csv", home / "profiles.csv"
    members, users = _mostly_sound(programme)
    rows = _written(siebel, [_exported(row) for row in members.values()])
    rows += _written(profiles, [_profile(user) for user in users.values()])
    of = {**settings, "RECONCILE__SETTLE_S": str(_FILES_SETTLE_S)}
    began = time.monotonic()
    with siebel_file(siebel, _as_settings(on, of)) as some, crowdtwist_file(profiles) as others:
        run, seen = _carried(on, world, of, Ask(files={Side.SIEBEL: some, Side.CROWDTWIST: others}))
    whole_s = time.monotonic() - began
    say(f"{rows:,} rows of files in {whole_s:.1f} s, {run.found:,} differences among them")
    return rows / whole_s, seen.rss_mb


def _mostly_sound(programme: Programme) -> tuple[dict[str, Mapping[str, str]], dict[str, Mapping[str, object]]]:
    """Return Siebel's rows and CrowdTwist's users with so few that differ as a programme in order has."""
    members: dict[str, Mapping[str, str]] = dict(programme.siebel)
    users: dict[str, Mapping[str, object]] = dict(programme.crowdtwist)
    differ = max(1, len(members) // _FILES_DIFFER)
    every = max(1, len(programme.planted) // differ)
    for place, number in enumerate(programme.planted):
        if place % every == 0:
            continue
        if sound := programme.sound.get(number):
            members[number], users[number] = sound
        else:
            del members[number]
    return members, users


def _exported(row: Mapping[str, str]) -> dict[str, str]:
    named = {"row_id": "Row Id", "member_number": "Member Number"}
    return {named.get(name, name): value for name, value in row.items()}


def _profile(user: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in user.items() if not isinstance(value, dict | list)}


def _written(path: Path, rows: Sequence[Mapping[str, object]]) -> int:
    columns = list(dict.fromkeys(name for row in rows[:1_000] for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)

"""Runs as operators and the schedule have them: start one, with files or without, stop it; for api, console and cli.

Whatever changes something is recorded with who asked, in the transaction that does it.  A file is read by whoever asks,
where it lies, and its rows are handed over through the ledger: the dispatcher that carries the run on may be on another
machine.  They go with the end of the run.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from producers.intake.refused import BodyError
from producers.operations.job_control import AskError, Operator
from producers.operations.reconcile.figures import figures
from producers.operations.reconcile.files import ROWS_PACKED, FileRow, HandedOver, Piece, packed
from producers.operations.reconcile.outside import CONTRACT_PER_MINUTE, share_per_minute
from shared.ledger import reconciliations, run_turns, sightings
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, Transaction, repeated, transaction
from shared.ledger.filters import has_control
from shared.ledger.reconciliations import Run, RunPage
from shared.ledger.run_turns import Request
from shared.reconciling import RunMode, Side
from shared.settings import Settings

MEMBERS_MAX = 10_000
SAMPLE_MAX = 10**9
_FILED = 50
_SEED_BITS = 62
_SCHEDULE = "schedule"
"""Who asks for a run that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A run as somebody asks for it; nothing said: a sample of the usual size.

    Shape: *full* about everybody, *sample* about so many; of a CrowdTwist file alone nobody is drawn beside it.
    """

    full: bool = False
    sample: int | None = None
    since: datetime | None = None
    members: Sequence[str] = ()
    share: float | None = None
    files: Mapping[Side, HandedOver] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            AskError: with the field.
        """
        if self.full and self.sample is not None:
            raise AskError("sample", "give full or sample, one of them")
        if self.sample is not None and not 1 <= self.sample <= SAMPLE_MAX:
            raise AskError("sample", f"must be 1 to {SAMPLE_MAX}")
        if self.since is not None and self.since > datetime.now(UTC):
            raise AskError("since", "lies in the future, so that nothing would be compared")
        if self.share is not None and not 0 < self.share <= 1:
            raise AskError("share", "must be above 0 and at most 1")
        if len(self.members) > MEMBERS_MAX:
            raise AskError("member", f"names more than {MEMBERS_MAX}")
        if any(not number.strip() or has_control(number) for number in self.members):
            raise AskError("member", "holds something that is no member number")

    def request(self, asker: str, of: Settings, *, scheduled: bool = False) -> Request:
        """Return the run that is asked for, with what is said in *of* where nothing was."""
        asked: dict[str, Any] = {}
        if self.members:
            asked["members"] = list(dict.fromkeys(number.strip() for number in self.members))
        if self.since is not None:
            asked["since"] = self.since.isoformat()
        if self.files:
            asked["files"] = {side.value: file.name for side, file in self.files.items()}
        if Side.SIEBEL in self.files and self.files[Side.SIEBEL].is_partial:
            asked["partial"] = True
        is_full = self.full or (bool(self.members) and self.sample is None)
        sample = None if is_full else self.sample or (0 if Side.CROWDTWIST in self.files else of.reconcile.sample)
        return Request(
            mode=RunMode.FULL if is_full else RunMode.SAMPLE,
            requested_by=asker,
            asked=asked,
            sample=sample,
            share=self.share or of.reconcile.share,
            settle_s=of.reconcile.settle_s,
            seed=secrets.randbits(_SEED_BITS),
            scheduled=scheduled,
        )


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a run would take.

    Shape: *members* as the last run over all counted them, None: none has; *calls* to CrowdTwist, beside those about
    whoever differs by Siebel and ledger alone, None: not known; *after* the open run that goes first, None: it may
    begin at once.  Units: *per_minute* calls that its share allows; *takes_s* seconds for them.
    """

    members: int | None
    calls: int | None
    per_minute: float
    takes_s: float | None
    after: Run | None


def foresee(ledger: Ledger, ask: Ask, of: Settings) -> Foreseen:
    """Return what a run would take; changes nothing."""
    with transaction(ledger) as tx:
        found = reconciliations.watched(tx)
    members = found.done.members["siebel"] if found.done else None
    request = ask.request("", of)
    limits = [count for count in (members, request.sample) if count is not None]
    is_known = request.sample is not None or (members is not None and ask.since is None)
    calls = min(limits) if is_known and of.crowdtwist.base_url else None
    per_minute = share_per_minute(of, request.share)
    return Foreseen(members, calls, per_minute, None if calls is None else calls * 60 / per_minute, found.open)


def start(ledger: Ledger, operator: Operator, ask: Ask, of: Settings) -> Run:
    """Make a run, hand its files over; it goes on by itself from here.

    Raises:
        AskError: Siebel's members are nowhere to be read.
        BodyError: a file cannot be read, and which: from its beginning, and no run is made; later, and it is stopped.
    """
    if of.siebel.base_url is None and Side.SIEBEL not in ask.files:
        raise AskError("siebel_file", "MEMBERSYNC_SIEBEL__BASE_URL is not set, so give a file of Siebel's members")
    request = ask.request(operator.name, of)
    pieces = {side: _pieces(side, ask.files[side]) for side in (Side.SIEBEL, Side.CROWDTWIST) if side in ask.files}

    def made() -> int:
        with transaction(ledger) as tx:
            run_id = run_turns.create(tx, request)
            _record(tx, operator, "reconcile", f"run {run_id}", request.asked)
        return run_id

    run_id = repeated(made)
    try:
        _hand_over(ledger, run_id, pieces)
    except BaseException:
        stop(ledger, operator, run_id, why="its file could not be read whole")
        raise
    with transaction(ledger) as tx:
        if ask.files:
            run_turns.loaded(tx, run_id)
        return _read(tx, run_id)


def _hand_over(ledger: Ledger, run_id: int, pieces: Mapping[Side, Iterator[Piece]]) -> None:
    """Write each piece while the next is read; they are carried on as they come."""

    def write(side: Side, place: int, piece: Piece) -> None:
        with transaction(ledger) as tx:
            run_turns.hand_over(tx, run_id, side, place, piece.rows, digest=piece.digest)

    with ThreadPoolExecutor(1) as writer:
        written: Future[None] | None = None
        for side, some in pieces.items():
            for place, piece in enumerate(some):
                if written is not None:
                    written.result()
                written = writer.submit(write, side, place, piece)
        if written is not None:
            written.result()


def _pieces(side: Side, file: HandedOver) -> Iterator[Piece]:
    """Return the rows of a file, packed; what its first rows show to be of no use is refused at once."""
    rows = _named(side, file)
    first = list(islice(rows, ROWS_PACKED))
    if side is Side.SIEBEL and not first and not file.is_partial:
        raise _unreadable(side, file, "has no rows: all that CrowdTwist has would seem to be gone from Siebel")
    if first and len(first) < ROWS_PACKED and all(row.flaw for row in first) and (flaw := first[0].flaw):
        column, reason = flaw
        why = f"column {column}: {reason}" if column else reason
        raise _unreadable(side, file, f"has no row that can be read; of the first, {why}")
    return packed(chain(first, rows))


def _named(side: Side, file: HandedOver) -> Iterator[FileRow]:
    try:
        yield from file.rows
    except BodyError as error:
        raise _unreadable(side, file, str(error)) from None


def _unreadable(side: Side, file: HandedOver, why: str) -> BodyError:
    return BodyError(f"{side}_file {file.name}", why)


def stop(ledger: Ledger, operator: Operator, run_id: int, *, why: str | None = None) -> bool:
    """Stop a run; what it found stays.  False: there is none, or it is over."""

    def stopped() -> bool:
        with transaction(ledger) as tx:
            run = reconciliations.read_run(tx, run_id)
            if run is None or run.over:
                is_stopped = False
            else:
                sightings.leave_moving(tx, run_id)
                found = figures(tx, run_id, per_minute=CONTRACT_PER_MINUTE)
                is_stopped = run_turns.stop(tx, run_id, why or f"stopped by {operator.name}", found)
            answer = "stopped" if is_stopped else "refused: no such run, or it is over"
            _record(tx, operator, "stop reconcile", answer, {"run": str(run_id)})
        return is_stopped

    return repeated(stopped)


def read(ledger: Ledger, run_id: int) -> Run | None:
    """Return one run; None: there is none."""
    with transaction(ledger) as tx:
        return reconciliations.read_run(tx, run_id)


def listed(ledger: Ledger, *, limit: int, before: int | None = None) -> RunPage:
    """List runs, newest first."""
    with transaction(ledger) as tx:
        return reconciliations.list_runs(tx, limit=limit, before=before)


def why_not_scheduled(of: Settings) -> str | None:
    """Say why no run is made by itself; None: they are."""
    if not of.reconcile.every_h:
        return "MEMBERSYNC_RECONCILE__EVERY_H is 0"
    unset = [name for name in ("SIEBEL", "CROWDTWIST") if getattr(of, name.lower()).base_url is None]
    return " and ".join(f"MEMBERSYNC_{name}__BASE_URL" for name in unset) + " not set" if unset else None


def schedule(tx: Transaction, of: Settings) -> int | None:
    """Make the scheduled run if it is time; None: it is not."""
    request = Ask().request(_SCHEDULE, of, scheduled=True)
    return run_turns.schedule(tx, request, every_h=of.reconcile.every_h)


def _read(tx: Transaction, run_id: int) -> Run:
    run = reconciliations.read_run(tx, run_id)
    if run is None:
        raise LookupError(f"run {run_id} is gone")
    return run


def _record(tx: Transaction, operator: Operator, what: str, answer: str, asked: Mapping[str, Any]) -> None:
    members = asked.get("members", ())
    filed = dict(asked) if len(members) <= _FILED else {**asked, "members": members[:_FILED], "and_more": len(members)}
    record(tx, Action(operator.name, operator.role, what, answer, asked=filed, count=len(members)))

"""Beside the dispatcher: reads in Siebel whom repairs are about, and takes the events in that its rows make.

Any number of dispatchers may have one.  What is taken up is leased; an event has an id of its difference and content,
so that whoever dies between taking it in and noting it does nothing twice.
"""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from producers.dispatch.beside import keep_turning
from producers.intake.accept import IntakeRules, Outcome, Receipt, accept
from producers.intake.siebel_rows import RecordReader
from producers.operations import job_control
from producers.operations.job_control import Ask, Operator
from producers.operations.job_selections import Differences
from shared.budgets import permits
from shared.errors import DataError, StageError
from shared.events import MemberEvent, dump_event, parse_event
from shared.ledger import connections, people, run_turns
from shared.ledger.engine import engine, transaction
from shared.ledger.jobs import ItemState, Kind
from shared.ledger.transitions import repairs
from shared.ledger.transitions.repairs import Read, Wanted
from shared.logs import logger
from shared.pipeline import Lane, Origin, Stage
from shared.settings import Settings
from shared.systems.permits import Calling, calling
from shared.systems.siebel import Siebel
from shared.systems.siebel_answers import Row

log = logger(__name__)

_EVERY_S = 1.0
_BY_ITSELF_EVERY_S = 30.0
_AT_ONCE = 100
_IN_FLIGHT = 8
_LEASE_S = 60.0
_TRIES = 5
_ANY_SIZE = 2**31  # a row that Siebel answered
_SCHEDULE = Operator("schedule", "membersync")
_TAKEN = {Outcome.ACCEPTED, Outcome.DUPLICATE}


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made of a row: an event, or the reason why there is none."""

    of: Wanted
    event: MemberEvent | None = None
    why_not: str = ""


class Repairer:
    """One of those who carry repairs on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = engine(settings.require_ledger())
        self._by_itself_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Read and take in until *stop*; a ledger that is away is waited for."""
        keep_turning(self.turn, stop, _EVERY_S, "nothing is repaired")

    def turn(self) -> bool:
        """Read and take in the next members; say whether there may be more at once."""
        self._start_by_itself()
        has_siebel = self._settings.siebel.base_url is not None
        with transaction(self._ledger) as tx:
            if has_siebel and not connections.gate(tx, Stage.SIEBEL).is_open:
                return False
            wanted = repairs.wanted(tx, limit=_AT_ONCE, lease_s=_LEASE_S)
            if not wanted:
                return False
            now = run_turns.now(tx)
            newest = people.carried(tx, [one.newest_id for one in wanted if one.newest_id is not None])
        if not has_siebel:
            self._take_in([_Made(one, why_not="MEMBERSYNC_SIEBEL__BASE_URL is not set") for one in wanted])
            return True
        reader = RecordReader(self._settings, now)
        known = {one.member_number: (one.event or {}).get("member", {}) for one in newest}
        made = []
        for one, row in zip(wanted, asyncio.run(self._rows(wanted)), strict=True):
            if isinstance(row, StageError):
                if one.tries >= _TRIES or isinstance(row, DataError):
                    made.append(_Made(one, why_not=f"Siebel could not be read: {row.what}"))
            else:
                made.append(_made(one, row, reader, known.get(one.member_number, {})))
        self._take_in(made)
        return len(wanted) == _AT_ONCE

    async def _rows(self, wanted: Sequence[Wanted]) -> list[Row | StageError | None]:
        """Return the rows of members, None: Siebel has no such one; of one that could not be read, the error."""
        calling.set(Calling(lane=Lane.BULK))
        siebel = Siebel(self._settings.siebel, _IN_FLIGHT, permits(self._ledger, self._settings).get(Stage.SIEBEL))

        async def read(one: Wanted) -> Row | StageError | None:
            try:
                return await siebel.read(siebel.exchange(), one.member_number, one.row_id)
            except StageError as error:
                return error

        try:
            return list(await asyncio.gather(*(read(one) for one in wanted)))
        finally:
            await siebel.close()

    def _take_in(self, made: Sequence[_Made]) -> None:
        """Let intake judge the events, and note what became of each difference."""
        events = {place: one.event for place, one in enumerate(made) if one.event is not None}
        rules = IntakeRules.of(self._settings, Lane.BULK, origin=Origin.RECONCILE)
        receipts = {one.position: one for one in accept(self._ledger, list(events.items()), rules)}
        read = [_read(one, receipts.get(place)) for place, one in enumerate(made)]
        with transaction(self._ledger) as tx:
            repairs.taken_in(tx, read)
        if read:
            log.info("read for repairs", members=len(read), taken_in=sum(one.instance_id is not None for one in read))

    def _start_by_itself(self) -> None:
        """Make the repair of the newest scheduled run, of the classes that may be repaired without a person."""
        classes = self._settings.reconcile.repaired_by_itself
        if not classes or time.monotonic() < self._by_itself_at:
            return
        self._by_itself_at = time.monotonic() + _BY_ITSELF_EVERY_S
        with transaction(self._ledger) as tx:
            run_id = repairs.to_repair_by_itself(tx)
        if run_id is None:
            return
        why = "MEMBERSYNC_RECONCILE__AUTO_REPAIR names these classes"
        ask = Ask(Kind.REPAIR, Differences(run_id=run_id, classes=classes), why)
        if job_control.plan(self._ledger, ask, self._settings).counts["send"]:
            _, job = job_control.start(self._ledger, _SCHEDULE, ask, self._settings)
            log.info("repairs by itself", run=run_id, job=job and job.job_id)


def _made(one: Wanted, row: Row | None, reader: RecordReader, known: Mapping[str, Any]) -> _Made:
    """Make an event of a row; what the row does not tell at all is as the newest event has it, in *known*."""
    if row is None:
        return _Made(one, why_not="Siebel has no such member any more")
    record = reader.of_row(row)
    if record.event is None:
        flaw = f"{record.flaw.field} {record.flaw.reason}" if record.flaw else "it says nothing"
        return _Made(one, why_not=f"Siebel's row makes no event: {flaw}")
    again = dump_event(record.event)
    again["member"] |= {name: known[name] for name in record.untold if known.get(name)}
    content = blake2b(orjson.dumps(again, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
    event_id = f"repair-{one.job_id}-{one.difference_id}-{content}"
    again |= {"event_id": event_id, "lane": Lane.BULK.value, "force": True}
    return _Made(one, parse_event(again, max_bytes=_ANY_SIZE))


def _read(one: _Made, receipt: Receipt | None) -> Read:
    job_id, difference_id = one.of.job_id, one.of.difference_id
    if receipt is None:
        return Read(job_id, difference_id, ItemState.REFUSED, one.why_not)
    if receipt.outcome in _TAKEN and receipt.instance_id is not None:
        return Read(job_id, difference_id, ItemState.SENT, "", int(receipt.instance_id))
    is_overtaken = receipt.outcome in {Outcome.SUPERSEDED, Outcome.UNCHANGED}
    state = ItemState.CLOSED if is_overtaken else ItemState.REFUSED
    return Read(job_id, difference_id, state, f"Siebel's row is {receipt.outcome}: {receipt.reason}")

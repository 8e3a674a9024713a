"""Carries a run on, step by step: each step reads outside, then writes what it saw and how far it is, in one go.

| phase      | a step is                                        | cursor                         |
|------------|--------------------------------------------------|--------------------------------|
| siebel     | a page of Siebel, some rows of its file, or some | the last ROW_ID, or the place  |
|            | of the members that were named                   |                                |
| ledger     | some of the ledger's members                     | the last Member Number         |
| file       | some rows of CrowdTwist's file                   | the place                      |
| draw       | all                                              |                                |
| crowdtwist | some of those that were drawn                    | none: who is left says it      |
| second     | some of those that are suspected and have settled| none: the same                 |

So a run that is killed anywhere goes on where it was.  `process` is where that happens.  One that is still handed its
files goes on as far as their rows are there, and is let go where they are long in coming.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from producers.dispatch.beside import keep_turning
from producers.intake.siebel_rows import RecordReader, SiebelRecord
from producers.operations.reconcile import estimates, files, looks
from producers.operations.reconcile.figures import figures
from producers.operations.reconcile.looks import Now, Row
from producers.operations.reconcile.outside import LEASE_S, GaveUpError, Outside, Unread
from producers.operations.reconcile.second_reads import SecondReads
from producers.operations.reconcile.sides import NOTHING, Sides
from shared import logs
from shared.errors import LedgerError
from shared.ledger import agreeing, run_turns, sightings
from shared.ledger.agreeing import Told
from shared.ledger.engine import Ledger, Transaction, engine, transaction
from shared.ledger.run_turns import RunLostError, Turn
from shared.ledger.sightings import Found, Sighting
from shared.reconciling import Outcome, Phase, RunMode, RunState, Side
from shared.settings import Settings
from shared.systems.crowdtwist import User
from shared.systems.siebel_answers import FIRST_ID

log = logs.logger(__name__)

_MEMBERS_AT_ONCE = 2_000
_ROWS_AT_ONCE = 100
_BEAT_EVERY_S = 3.0
_STEP_MAX_S = 300.0
"""A step that asked nobody and waited for nobody for so long is taken to hang: another may carry the run on."""
_ROWS_EVERY_S = 0.1
_ROWS_LOOKS = 10
"""How often it is looked whether the next rows of a file have come."""


class Carrier:
    """One run, in the hands of this process."""

    def __init__(self, of: Settings, ledger: Ledger, turn: Turn, *, patience_s: float) -> None:
        self._settings = of
        self._ledger = ledger
        self._turn = turn
        self._patience_s = patience_s
        self._phase = turn.phase
        self._cursor = turn.cursor
        self._is_loading = turn.state is RunState.LOADING
        self._reader = RecordReader(of, turn.now)
        self._began_at = time.monotonic()
        """When the step that goes on began."""

    async def run(self) -> None:
        """Carry it on to its end, whatever that is, or as far as its rows are there; one that is lost is left alone."""
        self._outside = Outside(self._settings, self._ledger, self._turn, patience_s=self._patience_s)
        over = threading.Event()
        beating = (self._beat, over, _BEAT_EVERY_S, "the lease of a run is not kept")
        heart = threading.Thread(target=keep_turning, args=beating, daemon=True)
        heart.start()
        try:
            while self._phase is not Phase.END and await self._goes_on():
                self._began_at = time.monotonic()
                await self._step()
            if self._phase is Phase.END:
                self._finish(RunState.DONE, None)
        except RunLostError:
            log.info("the run was stopped, or another carries it on", run=self._turn.id)
        except GaveUpError as error:
            self._finish(RunState.FAILED, str(error))
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001  # whoever takes it up next would meet the same
            log.error("a bug ends the run", run=self._turn.id, error=type(error).__name__)
            self._finish(RunState.FAILED, f"a bug of membersync ended it ({type(error).__name__})")
        finally:
            over.set()
            heart.join()
            await self._outside.close()
        if self._is_loading:
            with transaction(self._ledger) as tx:
                run_turns.let_go(tx, self._turn.token)

    async def _goes_on(self) -> bool:
        """Wait a while for the rows of a file that is still handed over; False: they have not come."""
        for _ in range(_ROWS_LOOKS):
            if not self._is_loading:
                return True
            with transaction(self._ledger) as tx:
                found = run_turns.standing(tx, self._turn)
            self._is_loading = found.loading
            if found.goes_on:
                return True
            await self._outside.nap(_ROWS_EVERY_S)
        return False

    def _beat(self) -> bool:
        """Keep the lease beside a step that takes long, unless it hangs."""
        if time.monotonic() - max(self._began_at, self._outside.renewed_at) < _STEP_MAX_S:
            with transaction(self._ledger) as tx:
                run_turns.beat(tx, self._turn.token, lease_s=LEASE_S)
        return False

    async def _step(self) -> None:
        match self._phase:
            case Phase.SIEBEL:
                await self._siebel()
            case Phase.LEDGER:
                self._members_of_ledger()
            case Phase.FILE:
                await self._outside.let_live_go_first()
                self._file()
            case Phase.DRAW:
                self._draw()
            case Phase.CROWDTWIST:
                await self._crowdtwist()
            case Phase.SECOND:
                await self._second()
            case Phase.END:
                pass

    def _advance(self, tx: Transaction, phase: Phase, cursor: str = "", **more: int) -> None:
        more |= self._outside.take_calls()
        run_turns.advance(tx, self._turn, lease_s=LEASE_S, phase=phase, cursor=cursor, more=more)
        self._phase, self._cursor = phase, cursor

    def _sides(self, tx: Transaction) -> Sides:
        return Sides(self._settings, run_turns.now(tx))

    @property
    def _asks_all(self) -> bool:
        return self._turn.mode is RunMode.FULL and self._outside.has_crowdtwist

    async def _siebel(self) -> None:
        turn = self._turn
        if Side.SIEBEL in turn.files:
            await self._outside.let_live_go_first()
            self._rows_of_file()
        elif turn.members:
            await self._named()
        elif not self._outside.has_siebel:
            raise GaveUpError("MEMBERSYNC_SIEBEL__BASE_URL is not set, and no file of Siebel's members was given")
        else:
            began = time.monotonic()
            after = self._cursor or FIRST_ID
            page = await self._outside.page(after, turn.since)
            if page.last_id is None:
                self._end_of_siebel()
                return
            took_s = time.monotonic() - began
            rows = [Row(self._reader.of_row(row), after) for row in page.rows]
            flawed = [f"row {place} after {after}" for place in page.flawed]
            with transaction(self._ledger) as tx:
                self._see(tx, rows, Phase.SIEBEL, page.last_id, unread=flawed)
            await self._outside.nap(max(0.0, time.monotonic() - began - took_s))

    @property
    def _after_siebel(self) -> Phase:
        return Phase.LEDGER if self._turn.is_whole else Phase.FILE

    def _end_of_siebel(self) -> None:
        with transaction(self._ledger) as tx:
            self._advance(tx, self._after_siebel)

    def _rows_of_file(self) -> None:
        turn, place = self._turn, int(self._cursor or 0)
        page = "" if self._outside.has_siebel else str(place)  # where Siebel cannot be asked again, the piece is
        with transaction(self._ledger) as tx:
            told = self._see_agreeing(tx, place, page)
            packed = None
            if told is None or told.others:
                packed = run_turns.handed_over(tx, turn.id, Side.SIEBEL, place)
                if packed is None:
                    self._advance(tx, self._after_siebel)
                    return
            rows = [] if packed is None else files.unpacked(packed, told.others if told else None)
            chosen = [
                Row(record, page)
                for record in map(files.record_of, rows)
                if (not turn.members or record.member_number in turn.members) and _is_since(record, turn.since)
            ]
            self._see(tx, chosen, Phase.SIEBEL, str(place + 1), others=told.same if told else 0)

    def _see_agreeing(self, tx: Transaction, place: int, page: str) -> Told | None:
        """Take the first look at those rows of a piece that say what is known; None: all are to be compared."""
        if self._turn.members or self._turn.since is not None:
            return None
        return agreeing.see_rows(
            tx,
            self._turn.id,
            place,
            program=self._settings.program_id,
            now=run_turns.now(tx),
            seed=self._turn.seed,
            drawn=self._asks_all,
            page=page,
        )

    async def _named(self) -> None:
        """Read the next of the members that were named; of one that Siebel has not, what CrowdTwist has is judged."""
        place = int(self._cursor or 0)
        numbers = self._turn.members[place : place + _ROWS_AT_ONCE]
        if not numbers:
            self._end_of_siebel()
            return
        found = await self._outside.rows([(number, None) for number in numbers])
        rows = [Row(self._reader.of_row(row)) for row in found if row is not None and not isinstance(row, Unread)]
        absent = [number for number, row in zip(numbers, found, strict=True) if row is None]
        unread = [number for number, row in zip(numbers, found, strict=True) if isinstance(row, Unread)]
        with transaction(self._ledger) as tx:
            self._see(tx, rows, Phase.SIEBEL, str(place + len(numbers)), absent=absent, unread=unread)

    def _see(  # noqa: PLR0913  # what was read, and where it goes on
        self,
        tx: Transaction,
        rows: Sequence[Row],
        phase: Phase,
        cursor: str,
        *,
        absent: Sequence[str] = (),
        unread: Sequence[str] = (),
        others: int = 0,
    ) -> None:
        """Take the first look at these rows, and move on; *others*: so many were seen already."""
        numbers = [row.record.member_number for row in rows if row.record.member_number is not None]
        sides = self._sides(tx)
        known = sightings.known(tx, [*numbers, *absent])
        said = [sides.in_siebel(row.record, known.get(row.record.member_number or "")) for row in rows]
        seen = [
            found
            for row, siebel in zip(rows, said, strict=True)
            if (found := looks.first_at_row(sides, row, siebel, known.get(row.record.member_number or ""))) is not None
        ]
        members = sum(siebel.is_member for siebel in said) + others
        seen += [looks.not_in_siebel(known[number]) for number in absent if number in known]
        seen += [looks.unread(number) for number in unread]
        self._write(tx, seen)
        named = len(known) + others if not self._turn.is_whole else 0
        self._advance(tx, phase, cursor, in_siebel=members, in_ledger=named)

    def _write(self, tx: Transaction, seen: Sequence[Sighting]) -> None:
        drawn = self._asks_all
        sightings.see(tx, self._turn.id, self._turn.seed, [looks.drawn(one) for one in seen] if drawn else seen)

    def _members_of_ledger(self) -> None:
        with transaction(self._ledger) as tx:
            after = self._cursor
            unseen, last, count = sightings.unseen(tx, self._turn.id, after=after, limit=_MEMBERS_AT_ONCE)
            self._write(tx, [looks.not_in_siebel(one) for one in sightings.known(tx, unseen).values()])
            self._advance(tx, Phase.FILE if last is None else Phase.LEDGER, last or "", in_ledger=count)

    def _file(self) -> None:
        turn, place = self._turn, int(self._cursor or 0)
        with transaction(self._ledger) as tx:
            sides = self._sides(tx)
            told = None if turn.members else agreeing.look_at_users(tx, turn.id, place, now=sides.now)
            users: dict[str, User] = {}
            if told is None or told.others:
                packed = run_turns.handed_over(tx, turn.id, Side.CROWDTWIST, place)
                if packed is None:
                    self._advance(tx, Phase.DRAW)
                    return
                rows = files.unpacked(packed, told.others if told else None)
                users = files.by_member(rows, lambda ids: sightings.members_of_users(tx, ids))
            if turn.members:
                users = {number: user for number, user in users.items() if number in turn.members}
            self._look_at_file(tx, sides, users)
            shown = len(users) + (told.same if told else 0)
            self._advance(tx, Phase.FILE, str(place + 1), in_crowdtwist=shown)

    def _look_at_file(self, tx: Transaction, sides: Sides, users: Mapping[str, User]) -> None:
        """Take the first look at what CrowdTwist's file says of these members."""
        if not users:
            return
        turn = self._turn
        known, seen = sightings.known(tx, list(users)), sightings.seen(tx, turn.id, list(users))
        if turn.is_whole:
            fresh = [looks.only_in_file(number, known.get(number)) for number in users if number not in seen]
            sightings.see(tx, turn.id, turn.seed, fresh)
            seen |= {one.member_number: one for one in fresh}
        acknowledged = sightings.acknowledged(tx, list(seen))
        changed = [
            looks.first_at_user(sides, one, users[number], known.get(number), users[number])
            for number, one in seen.items()
            if one.outcome is None and not files.is_stale(users[number], acknowledged.get(number))
        ]
        sightings.looked(tx, turn.id, changed)

    def _draw(self) -> None:
        with transaction(self._ledger) as tx:
            sizes = {one.stratum: one.size for one in sightings.sizes(tx, self._turn.id) if one.size}
            sample = self._turn.sample
            drawn = sizes
            if self._turn.mode is RunMode.SAMPLE and sample is not None:
                others = {name: size for name, size in sizes.items() if name not in looks.SUSPECT_STRATA}
                drawn = {name: min(size, sample) for name, size in sizes.items() if name not in others}
                drawn |= estimates.allocation(others, sample)
            if not self._outside.has_crowdtwist:
                drawn = {}
            elif not self._asks_all:
                sightings.draw(tx, self._turn.id, drawn)
            self._advance(tx, Phase.CROWDTWIST, to_look_at=sum(drawn.values()))

    async def _crowdtwist(self) -> None:
        with transaction(self._ledger) as tx:
            seen = sightings.to_look_at(tx, self._turn.id, limit=self._outside.chunk)
        if not seen:
            with transaction(self._ledger) as tx:
                self._advance(tx, Phase.SECOND)
            return
        numbers = [one.member_number for one in seen]
        users = await self._outside.users(numbers)
        with transaction(self._ledger) as tx:
            sides, known = self._sides(tx), sightings.known(tx, numbers)
            looked = [
                looks.unread_of(one)
                if isinstance(user, Unread)
                else looks.first_at_user(sides, one, user, known.get(one.member_number))
                for one, user in zip(seen, users, strict=True)
            ]
            sightings.looked(tx, self._turn.id, looked)
            unread = sum(one.outcome == Outcome.UNREAD for one in looked)
            there = sum(user is not None and not isinstance(user, Unread) for user in users)
            compared = len(looked) - unread
            self._advance(tx, Phase.CROWDTWIST, compared=compared, unread=unread, in_crowdtwist=there)

    async def _second(self) -> None:
        settle_s = self._turn.settle_s
        with transaction(self._ledger) as tx:
            ripe = sightings.suspected(tx, self._turn.id, settle_s=settle_s, limit=_ROWS_AT_ONCE)
            left_s = None if ripe else sightings.settles_in_s(tx, self._turn.id, settle_s=settle_s)
            if not ripe and left_s is None:
                self._advance(tx, Phase.END)
                return
        if not ripe:
            await self._outside.nap(min(left_s or 0.0, LEASE_S), "what differs to settle before the second look")
            return
        again = SecondReads(self._outside, self._ledger, self._reader, self._turn)
        self._conclude(ripe, *await again.both(ripe))

    def _conclude(
        self,
        ripe: Sequence[Sighting],
        records: Mapping[str, SiebelRecord | Unread | None],
        users: Mapping[str, User | Unread | None],
    ) -> None:
        outcomes: dict[str, Outcome] = {}
        differences: list[Found] = []
        with transaction(self._ledger) as tx:
            sides = self._sides(tx)
            known = sightings.known(tx, list(records))
            details = sightings.details(tx, list(records))
            for one in ripe:
                number = one.member_number
                record, user = records[number], users.get(number)
                if isinstance(record, Unread) or isinstance(user, Unread):
                    outcomes[number] = Outcome.UNREAD
                    continue
                now = Now(record, user, number in users)
                outcome, found = looks.second(sides, one, now, known.get(number), details.get(number, NOTHING))
                outcomes[number] = outcome
                differences += found
            sightings.conclude(tx, self._turn.id, outcomes, differences)
            moving = sum(outcome is Outcome.MOVING for outcome in outcomes.values())
            self._advance(tx, Phase.SECOND, moving=moving)

    def _finish(self, state: RunState, why: str | None) -> None:
        """End the run, durably, with what it has."""
        with transaction(engine(self._settings.require_ledger())) as tx:
            if state is not RunState.DONE:
                sightings.leave_moving(tx, self._turn.id)
            found = figures(tx, self._turn.id, per_minute=self._outside.per_minute)
            run_turns.finish(tx, self._turn, state, why, found)
        log.info("reconciled", run=self._turn.id, state=state, why=why)


def _is_since(record: SiebelRecord, since: datetime | None) -> bool:
    return since is None or record.event is None or record.event.occurred_at >= since

"""Both systems read once more, for the second look at whoever is suspected; a file where a system cannot be asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from producers.intake.siebel_rows import RecordReader, SiebelRecord
from producers.operations.reconcile import files, looks
from producers.operations.reconcile.outside import Outside, Unread
from shared.ledger import run_turns
from shared.ledger.engine import Ledger, transaction
from shared.ledger.run_turns import Turn
from shared.ledger.sightings import Sighting
from shared.reconciling import Side
from shared.systems.crowdtwist import User


@dataclass(frozen=True, slots=True)
class SecondReads:
    """Reads the members of a run once more."""

    outside: Outside
    ledger: Ledger
    reader: RecordReader
    turn: Turn

    async def both(
        self, suspected: Sequence[Sighting]
    ) -> tuple[dict[str, SiebelRecord | Unread | None], dict[str, User | Unread | None]]:
        """Return `records` and `users`, read beside each other.

        Raises:
            GaveUpError: one of them cannot be read.
            RunLostError: the lease is lost.
        """
        records, users = await asyncio.gather(
            self.records(suspected), self.users(suspected), return_exceptions=True
        )  # so that neither is left running
        if isinstance(records, BaseException):
            raise records
        if isinstance(users, BaseException):
            raise users
        return records, users

    async def records(self, suspected: Sequence[Sighting]) -> dict[str, SiebelRecord | Unread | None]:
        """Return Siebel's rows: of the page where they stood, and by number of who is not there any more.

        Shape: by Member Number; None: there is none of it.
        """
        if not self.outside.has_siebel:
            return {**self._records_of_file(suspected)}
        found: dict[str, SiebelRecord | Unread | None] = {}
        for after, some in looks.pages(suspected).items():
            if after:
                page = await self.outside.page(after, self.turn.since)
                rows = {row.row_id: row for row in page.rows}
                for one in some:
                    row = rows.get(one.row_id or "")
                    if row is not None and row.member_number == one.member_number:
                        found[one.member_number] = self.reader.of_row(row)
        rest = [one for one in suspected if one.member_number not in found]
        answers = await self.outside.rows([(one.member_number, one.row_id) for one in rest])
        for one, answer in zip(rest, answers, strict=True):
            if answer is None or isinstance(answer, Unread):
                found[one.member_number] = answer
            else:
                found[one.member_number] = self.reader.of_row(answer)
        return found

    def _records_of_file(self, suspected: Sequence[Sighting]) -> dict[str, SiebelRecord | None]:
        found: dict[str, SiebelRecord | None] = {}
        with transaction(self.ledger) as tx:
            for place, some in looks.pages(suspected).items():
                packed = run_turns.handed_over(tx, self.turn.id, Side.SIEBEL, int(place)) if place else None
                rows = [] if packed is None else files.unpacked(packed)
                first = {said["member_number"]: said for said in reversed(rows)}
                for one in some:
                    said = first.get(one.member_number, (one.from_file or {}).get("siebel"))
                    found[one.member_number] = None if said is None else files.record_of(said)
        return found

    async def users(self, suspected: Sequence[Sighting]) -> dict[str, User | Unread | None]:
        """Return CrowdTwist's users of those in whom it was seen to differ, by Member Number; None: it has no such."""
        asked = [one for one in suspected if one.crowdtwist is not None]
        if not self.outside.has_crowdtwist:
            return {one.member_number: (one.from_file or {}).get("crowdtwist") for one in asked}
        numbers = [one.member_number for one in asked]
        return dict(zip(numbers, await self.outside.users(numbers), strict=True))

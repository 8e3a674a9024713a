"""Rows of Siebel's file once more, for the second look at whoever differs where Siebel itself cannot be asked."""

from collections.abc import Sequence

from producers.intake.siebel_rows import SiebelRecord
from producers.operations.reconcile import files, looks
from shared.ledger import run_turns
from shared.ledger.engine import Transaction
from shared.ledger.sightings import Sighting
from shared.reconciling import Side


def read_again(tx: Transaction, run_id: int, suspected: Sequence[Sighting]) -> dict[str, SiebelRecord | None]:
    """Return the row by which each of these was seen, by Member Number; None: the file has none of it."""
    found: dict[str, SiebelRecord | None] = {}
    for place, some in looks.pages(suspected).items():
        packed = run_turns.handed_over(tx, run_id, Side.SIEBEL, int(place)) if place else None
        rows = [] if packed is None else files.unpacked(packed)
        first = {said["member_number"]: said for said in reversed(rows)}
        for one in some:
            said = first.get(one.member_number, (one.from_file or {}).get("siebel"))
            found[one.member_number] = None if said is None else files.record_of(said)
    return found

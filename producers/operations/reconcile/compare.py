"""Compare one member now: Siebel and CrowdTwist are asked live, and shown beside the ledger.

Each side that cannot be read says why, and the others are shown all the same.  The calls are made in the bulk lane and
paid for like any other: the live lane keeps what is reserved for it.  Of a connection that is paused nothing is asked.
The ledger is read before and after.

People are masked unless it says whom they are shown to, which is recorded before they are shown.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from producers.operations.job_control import Operator
from producers.operations.reconcile.side_by_side import (
    Comparison,
    Heard,
    Remembered,
    Trouble,
    masked,
    put_together,
    unmasked,
)
from producers.operations.reconcile.sides import NOTHING
from shared.budgets import permits
from shared.errors import OutcomeUnknownError, StageError
from shared.ledger import connections, sightings, views
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, Transaction, transaction
from shared.ledger.filters import has_control
from shared.masking import mask_text
from shared.personal import marked, values_of
from shared.pipeline import SYSTEMS, Lane, Stage
from shared.settings import Settings
from shared.systems.crowdtwist import CrowdTwist, User
from shared.systems.permits import Calling, Permits, calling
from shared.systems.siebel import Siebel
from shared.systems.siebel_answers import Row

T = TypeVar("T")
_GRACE_S = 1.0
"""What a side may take beyond its time-out, so that the error that names the cause comes first."""
_INSTANCES = 20


def compare(ledger: Ledger, number: str, of: Settings, *, unmasked_for: Operator | None = None) -> Comparison | None:
    """Compare a member now, from a thread that runs no event loop; None: no side knows of such a member.

    Units: it takes as long as the slower system, at most its time-out and a second.
    """
    if not number or has_control(number):
        return None
    with transaction(ledger) as tx:
        before = _remembered(tx, number)
    row, user = asyncio.run(_ask(ledger, number, before, of))
    with transaction(ledger) as tx:
        heard = Heard(number, before, row, user, _remembered(tx, number))
        found = put_together(heard, of, datetime.now(UTC))
        if found.is_known and unmasked_for is not None:
            asked = {"member": number, "comparison": True}
            record(tx, Action(unmasked_for.name, unmasked_for.role, "unmask", "shown", None, asked, 1))
    if not found.is_known:
        return None
    return unmasked(found) if unmasked_for is not None else masked(found)


def _remembered(tx: Transaction, number: str) -> Remembered:
    return Remembered(
        views.member(tx, number, limit=_INSTANCES),
        sightings.known(tx, [number]).get(number),
        sightings.details(tx, [number]).get(number, NOTHING),
        frozenset(stage for stage in (Stage.CROWDTWIST, Stage.SIEBEL) if connections.gate(tx, stage).paused),
    )


async def _ask(
    ledger: Ledger, number: str, before: Remembered, of: Settings
) -> tuple[Row | Trouble | None, User | Trouble | None]:
    calling.set(Calling(lane=Lane.BULK))
    paid = permits(ledger, of)
    row_id = before.known.row_id if before.known else None
    return await asyncio.gather(
        _side(Stage.SIEBEL, before, of, lambda: _row(of, paid.get(Stage.SIEBEL), number, row_id)),
        _side(Stage.CROWDTWIST, before, of, lambda: _user(of, paid.get(Stage.CROWDTWIST), number)),
    )


async def _row(of: Settings, paid: Permits | None, number: str, row_id: str | None) -> Row | None:
    siebel = Siebel(of.siebel, 1, paid)
    try:
        return await siebel.read(siebel.exchange(), number, row_id)
    finally:
        await siebel.close()


async def _user(of: Settings, paid: Permits | None, number: str) -> User | None:
    crowdtwist = CrowdTwist(of.crowdtwist, 1, paid)
    try:
        return await crowdtwist.find(crowdtwist.exchange(), number)
    finally:
        await crowdtwist.close()


async def _side(stage: Stage, before: Remembered, of: Settings, ask: Callable[[], Awaitable[T]]) -> T | Trouble:
    """Return what *ask* finds, or why a side cannot be read."""
    connection = of.connection(stage)
    if connection.base_url is None:
        return Trouble("not_configured", f"MEMBERSYNC_{stage.upper()}__BASE_URL is not set")
    if stage in before.paused:
        return Trouble("paused", f"{SYSTEMS[stage]} is paused, and nothing is asked")
    try:
        async with asyncio.timeout(connection.timeout_s + _GRACE_S):
            return await ask()
    except StageError as error:
        member = (before.details.event or {}).get("member")
        said = marked(str(error), values_of(member, before.known.echoed if before.known else None))
        return Trouble(error.code, mask_text(said))
    except TimeoutError:
        return Trouble(OutcomeUnknownError.code, f"{SYSTEMS[stage]}: no answer within {connection.timeout_s:g} s")

"""The desk of Data Errors: judges cases, closes those that are over, asks who has an address, sends again who may go.

Cycles of addresses it lets loose, where the settings say so (`shared.ledger.transitions.cycles`).

A thread of its own beside the dispatcher's turns.  Any number may run: what one has, the others pass by.  It asks
CrowdTwist at the bulk lane's place in the budget, a bounded number a minute, and only while the connection is open; a
page that is opened asks nothing.

Source: domain.md 2.2 (id_type, search: C3, C4).  (A): whoever is inactive may not be shown by e-mail, so a search of
the inactive follows where nobody is.
"""

import asyncio
import threading
import time
from collections.abc import Sequence

from producers.dispatch.beside import keep_turning
from shared.budgets import permits
from shared.errors import LedgerConflictError, StageError
from shared.ledger import cases, connections
from shared.ledger.cases import ToLookUp
from shared.ledger.engine import Ledger, engine, transaction
from shared.ledger.transitions import cycles, member_queue
from shared.lifecycle.cases import LookUp
from shared.logs import logger
from shared.pipeline import Lane, Stage
from shared.published_rules import broken
from shared.settings import Settings
from shared.systems.crowdtwist import CrowdTwist, User, echoed
from shared.systems.permits import Calling, calling

log = logger(__name__)

LEASE_S = 300.0
"""A look-up whose process has died is due again after so long.  Units: seconds."""
_AGAIN_S = 15.0
"""One that CrowdTwist did not answer is due again after so long.  Units: seconds."""
_EVERY_S = 1.0
_PIECE = 200
_AT_ONCE = 10
_WEIGH_EVERY_S = 30.0
_PRUNE_EVERY_S = 3600.0

Shown = tuple[LookUp, User | None]
"""What CrowdTwist showed, and whom."""


class Desk:
    """One of those who keep the cases."""

    def __init__(self, settings: Settings) -> None:
        self._of = settings
        self._ledger = engine(settings.require_ledger())
        self._after = 0
        self._weigh_at = 0.0
        self._prune_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Keep the cases until *stop*; a ledger that is away is waited for."""

        def turn() -> bool:
            try:
                return self.turn()
            except LedgerConflictError as error:
                log.info("met another transaction, and takes the turn again", cause=str(error))
                return False

        keep_turning(turn, stop, _EVERY_S, "no case is kept")

    def turn(self) -> bool:
        """Go on with all that is to be done; say whether there is more at once."""
        with transaction(self._ledger) as tx:
            member_queue.send_all_freed(tx, limit=_PIECE)
            changed, self._after = cases.refresh(tx, limit=_PIECE, after=self._after)
            if changed or time.monotonic() > self._weigh_at:
                self._weigh_at = time.monotonic() + _WEIGH_EVERY_S
                cases.weigh(tx)
        self._heal_cycles()
        self._ask()
        if time.monotonic() > self._prune_at:
            self._prune_at = time.monotonic() + _PRUNE_EVERY_S
            with transaction(self._ledger) as tx:
                cases.prune(tx, days=self._of.dispatcher.retention_days)
                cycles.prune(tx, days=self._of.dispatcher.retention_days)
        return self._after > 0

    def _heal_cycles(self) -> None:
        """Go on with cycles that are let loose, whatever the settings say by now; begin others."""
        with transaction(self._ledger) as tx:
            ids = cycles.open_ids(tx)
        for cycle in ids:
            with transaction(self._ledger) as tx:
                how = cycles.advance(tx, cycle)
            if how is not None:
                log.info("a cycle of addresses has ended", cycle=cycle, how=how)
        if not self._of.cases.heal_cycles:
            return
        with transaction(self._ledger) as tx:
            if not connections.gate(tx, Stage.CROWDTWIST).is_open:
                return
            begun = cycles.start_some(
                tx,
                parking=self._parking_address,
                deadline_s=self._of.cases.parked_max_s,
                asked_only=self._of.cases.look_ups_per_minute > 0,
            )
        if begun:
            log.info("cycles of addresses are let loose", cycles=begun)

    def _parking_address(self, member_number: str) -> str | None:
        """Return where a member can be parked; None: CrowdTwist would not take that."""
        address = self._of.oic.default_email(member_number)
        return None if broken({"email_address": address}) else address

    def _ask(self) -> None:
        per_minute = self._of.cases.look_ups_per_minute
        if not per_minute:
            return
        with transaction(self._ledger) as tx:
            if not connections.gate(tx, Stage.CROWDTWIST).is_open:
                return
            some = cases.claim_look_ups(tx, per_minute=per_minute, limit=_AT_ONCE, lease_s=LEASE_S)
        if some:
            troubles = look_up(self._ledger, self._of, some)
            log.info("looked up", cases=[one.case_id for one in some], unanswered=len(troubles))


def look_up(ledger: Ledger, of: Settings, some: Sequence[ToLookUp]) -> list[str]:
    """Ask CrowdTwist who has the address of each, from a thread that runs no event loop; keep what it shows.

    Who was refused for an address that nobody has any more is sent again.

    Returns what went wrong, a sentence for each that could not be answered.
    """
    troubles, unanswered = [], []
    for one, shown in zip(some, asyncio.run(_asked(ledger, of, some)), strict=True):
        if isinstance(shown, StageError):
            troubles.append(str(shown))
            unanswered.append(one.case_id)
            continue
        looked, user = shown
        with transaction(ledger) as tx:
            cases.looked_up(tx, one.case_id, looked, user, fresh_s=of.cases.holder_fresh_s)
    with transaction(ledger) as tx:
        cases.look_again(tx, unanswered, after_s=_AGAIN_S)
        member_queue.send_all_freed(tx, limit=_PIECE)
    return troubles


async def _asked(ledger: Ledger, of: Settings, some: Sequence[ToLookUp]) -> list[Shown | StageError]:
    client = CrowdTwist(of.crowdtwist, _AT_ONCE, permits(ledger, of).get(Stage.CROWDTWIST))
    calling.set(Calling(lane=Lane.BULK))
    try:
        return list(await asyncio.gather(*(_shown(client, one) for one in some)))
    finally:
        await client.close()


async def _shown(client: CrowdTwist, one: ToLookUp) -> Shown | StageError:
    """Ask by e-mail address, and where nobody is shown among the inactive: at most two calls, of which no record stays.

    Their record would name the address.
    """
    exchange = client.exchange()
    try:
        user = await client.find_by_email(exchange, one.address)
        if user is None:
            user = await client.search_inactive(exchange, one.address)
    except StageError as error:
        return error
    if user is None:
        return LookUp.NOBODY, None
    if user.get("third_party_id") == one.member_number:
        return LookUp.OWN, None
    known = {name: user.get(name) for name in ("id", "third_party_id", "is_active")}
    return LookUp.FOUND, {**known, **echoed(user)}

"""What operators see of the connections and do to them: look, test, pause, resume.  Used by api and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.
"""

import asyncio
from dataclasses import asdict, dataclass, replace

from producers.operations.job_control import AskError, Operator
from shared.budgets import budgets, permits
from shared.errors import LedgerError
from shared.ledger import connections, people
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, Transaction, transaction, wake
from shared.ledger.records import ConnectionState
from shared.lifecycle.breaker import Position, Seen
from shared.masking import mask_text
from shared.personal import NOBODY, Company, marked
from shared.pipeline import Stage
from shared.settings import Settings
from shared.systems.connect import Finding, examine

REASON_MAX = 500
_OF_LATE = 300
"""So many who came last, and as many who failed last, are taken out of what a test is told."""


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """All connections, in the form of every list."""

    items: list[ConnectionState]
    next: None = None


@dataclass(frozen=True, slots=True)
class Switched:
    """What a pause or resume came to; *changed* False: it was so already."""

    name: str
    changed: bool
    answer: str
    connection: ConnectionState


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test came to; *code* and *what* of the error, or null and what was found.

    Shape: *was* and *now* the breaker before and after.  Units: *took_ms* milliseconds.
    """

    name: str
    ok: bool
    code: str | None
    what: str
    took_ms: float
    was: str
    now: str
    answer: str


def states(ledger: Ledger, of: Settings) -> list[ConnectionState]:
    """Read every connection, in the order of the pipeline."""
    with transaction(ledger) as tx:
        return connections.connections(tx, budgets(of))


def pause(ledger: Ledger, operator: Operator, stage: Stage, reason: str, of: Settings) -> Switched:
    """Switch a connection off: what is due there is held, nothing is lost, Siebel is told nothing.

    Raises:
        AskError: the reason is missing.
    """
    reason = mask_text(reason.strip())
    if not reason:
        raise AskError("reason", "say why")
    with transaction(ledger) as tx:
        changed = connections.pause(tx, stage, by=operator.name, reason=reason)
        answer = "paused: what is due there is held" if changed else "refused: it is paused already"
        return _switched(tx, Action(operator.name, operator.role, "pause", answer, reason), stage, of)


def resume(ledger: Ledger, operator: Operator, stage: Stage, reason: str, of: Settings) -> Switched:
    """Switch a connection on again; what was held goes out by the ramp, live lane first."""
    with transaction(ledger) as tx:
        changed = connections.resume(tx, stage, by=operator.name)
        is_up = connections.gate(tx, stage).breaker.position is Position.CLOSED
        if not changed:
            answer = "refused: it is not paused"
        elif is_up:
            answer = "resumed: what was held goes out"
        else:
            answer = "no longer paused, but it is down: what is held goes out by itself when it is back"
        action = Action(operator.name, operator.role, "resume", answer, mask_text(reason.strip()) or None)
        return _switched(tx, action, stage, of)


def test(ledger: Ledger, operator: Operator, stage: Stage, reason: str, of: Settings) -> Tested:
    """Test a connection from this machine; the breaker is told when it passes: a connection that was down heals."""
    found = probed(ledger, stage, of)
    with transaction(ledger) as tx:
        before = connections.gate(tx, stage)
        was = now = before.breaker
        if found.ok:
            seen = Seen(is_up=True, failed={}, ends_wait=True)
            was, now, _ = connections.observe(tx, stage, seen, of.connection(stage).breaker_rules)
            wake(tx)
        healed = was.position is not now.position
        if not found.ok:
            answer = f"failed: {found.what}"
        elif before.paused:
            answer = "passed" + ("; it counts as up again" if healed else "") + ", and it stays paused"
        elif healed:
            answer = "passed: it was down and counts as up again, what was held goes out"
        else:
            answer = "passed: it is up"
        reason = mask_text(reason.strip())
        _record(tx, Action(operator.name, operator.role, "test", answer, reason or None), stage)
    return Tested(**asdict(found), was=was.position, now=now.position, answer=answer)


def probed(ledger: Ledger, stage: Stage, of: Settings) -> Finding:
    """Test the connection, from a thread that runs no event loop; no breaker is told.

    The words of the other side are about nobody we asked for, and may name anybody: who is on the way is taken out.
    """
    found = asyncio.run(examine(stage, of, permits(ledger, of, heeds_wait=False).get(stage)))
    if found.ok:
        return found
    try:
        with transaction(ledger) as tx:
            company = Company(people.of_late(tx, limit=_OF_LATE))
    except LedgerError:  # a test is made all the same, and then phones, streets and addresses are all that can be told
        company = NOBODY
    return replace(found, what=mask_text(marked(found.what, company.values_in(found.what))))


def _switched(tx: Transaction, action: Action, stage: Stage, of: Settings) -> Switched:
    changed = not action.answer.startswith("refused")
    if changed:
        wake(tx)
    _record(tx, action, stage)
    found = connections.connections(tx, budgets(of))
    return Switched(stage, changed, action.answer, next(one for one in found if one.name == stage))


def _record(tx: Transaction, action: Action, stage: Stage) -> None:
    values = {name: getattr(action, name) for name in Action.__dataclass_fields__}
    record(tx, Action(**values | {"asked": {"connection": stage.value}}))

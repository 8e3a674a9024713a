"""How the connections to the outside systems stand, and what their test says just now.

The test is the one of `shared.systems`.  Its call is paid for out of the budget; no breaker is told of it.
"""

from datetime import UTC

from producers.doctor.finding import Finding, fail, ok, warn
from producers.doctor.subject import Subject
from producers.operations import connection_control
from producers.operations.advice import setting_at_fault
from shared.errors import LedgerError
from shared.ledger import checkup
from shared.ledger.engine import engine
from shared.ledger.records import ConnectionState
from shared.pipeline import Stage, spoken
from shared.settings import Settings

TESTED_WITHIN_S = 5.0
_UP, _PAUSED = "up", "paused"


def look(subject: Subject) -> list[Finding]:
    """Look at switch and breaker of each, as the ledger has them."""
    with subject.reading():
        pass  # a ledger that is away is said in one sentence, before the pool waits for it
    return [_standing(state) for state in connection_control.states(engine(subject.ledger_url), subject.of)]


def _standing(state: ConnectionState) -> Finding:
    check, looked_at = f"connection {state.name}", "switch and breaker in the ledger"
    since = "" if state.since is None else f" since {state.since.astimezone(UTC):%Y-%m-%d %H:%MZ}"
    if state.state == _UP:
        return ok(check, looked_at, f"up{since}")
    held = f"; {state.held} instances are held" if state.held else ""
    if state.state == _PAUSED:
        found = f"paused by {state.paused_by}{since}: {state.paused_reason}{held}"
        why = "nothing is sent there until somebody resumes it, and Siebel is told nothing"
        return warn(
            check, looked_at, found, why, f"`membersync connections resume {state.name}`, if its reason is gone"
        )
    found = f"down{since}: {state.last_error or 'no error is known'}{held}"
    why = "what is due there is held and goes out by itself when it is back; no attempt is spent"
    setting = setting_at_fault(Stage(state.name), state.last_error or "")
    first = f"correct {setting}, restart api and workers; then " if setting else ""
    remedy = f"{first}`membersync connections test {state.name}`; a passed test heals at once"
    return fail(check, looked_at, found, why, remedy)


def test(stage: Stage, subject: Subject) -> list[Finding]:
    """Test one connection, as its workers would reach it."""
    check, looked_at = f"test of {stage}", subject.of.connection(stage).base_url or "no address"
    if subject.offline:
        return [ok(check, looked_at, "not tested, as asked (--offline)")]
    found = connection_control.probed(engine(subject.ledger_url), stage, _briefly(stage, subject))
    if found.ok:
        return [ok(check, looked_at, f"{found.what} ({found.took_ms:.0f} ms)")]
    why = f"instances fail or are held at {spoken(stage)} while this is so"
    remedy = f"correct what the sentence names; then `membersync connections test {stage}`"
    return [fail(check, looked_at, f"{found.what} [{found.code}]", why, remedy)]


def _briefly(stage: Stage, subject: Subject) -> Settings:
    """Give the settings of a test that ends soon, and that a ledger which is away does not keep from calling."""
    of = subject.of.connection(stage)
    update = {"timeout_s": min(of.timeout_s, TESTED_WITHIN_S)}
    if not _can_pay(subject):
        update["budget_per_minute"] = 0
    return subject.of.model_copy(update={stage.value: of.model_copy(update=update)})


def _can_pay(subject: Subject) -> bool:
    if subject.of.ledger_url is None:
        return False
    try:
        with subject.reading() as tx:
            return not checkup.server(tx).read_only
    except LedgerError:
        return False

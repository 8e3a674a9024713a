"""Whether every member's next change can get in: none is shut by an event of the future."""

from producers.doctor.finding import Finding, ok, warn
from producers.doctor.subject import Subject
from shared.ledger import checkup

SHUT = "members that are shut"


def look_for_shut_members(subject: Subject) -> list[Finding]:
    """Look for members whose newest accepted event nothing real can overtake."""
    with subject.reading() as tx:
        found = checkup.shut(tx, future_s=subject.of.guard.future_s)
    looked_at = "members whose newest event lies in the future, or counts beyond Siebel's range"
    if not found.count:
        return [ok(SHUT, looked_at, "none")]
    what = f"{found.count}, {found.first} for one"
    why = "every real change of these members is older than that event, and is superseded"
    remedy = "send their newest change again with force; the runbook has the command: A member that is shut"
    return [warn(SHUT, looked_at, what, why, remedy)]

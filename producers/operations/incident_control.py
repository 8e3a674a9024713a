"""What operators see of incidents and do to them.  Used by api, console and command line.

Whatever changes something is recorded with who asked, in the transaction that does it.  Nothing here names a member.
"""

from shared.ledger import incident_reads
from shared.ledger.engine import Ledger, transaction
from shared.ledger.incident_reads import Incident, IncidentPage


def incidents(ledger: Ledger, *, limit: int, before: int | None = None) -> IncidentPage:
    """List incidents, newest first."""
    with transaction(ledger) as tx:
        return incident_reads.incidents(tx, limit=limit, before=before)


def incident(ledger: Ledger, incident_id: int) -> Incident | None:
    """Return one; None: there is none."""
    with transaction(ledger) as tx:
        return incident_reads.incident(tx, incident_id)

"""Whether the ledger stands the loss of a server: what PgBouncer passes on, and who would be failed over to."""

from producers.doctor.check import Finding, Subject, fail, ok, place, warn
from shared.addresses import ledger_arguments
from shared.errors import LedgerError
from shared.ledger import availability
from shared.ledger.availability import Standbys
from shared.ledger.engine import SESSION
from shared.ledger.listening import wake_calls

POOLED, STANDBY = "ledger through PgBouncer", "ledger's standby"
_LACKING = (
    "`membersync migrate` gives them to our user; then `RECONNECT` in PgBouncer's console, for sessions that are open "
    f"already.  Where another user migrates: `alter role … in database … set …`, for each of {', '.join(SESSION)}"
)
_ASYNCHRONOUS = (
    "`alter system set synchronous_standby_names = 'ANY 1 (*)'` and reload, with two standbys, or the loss of one "
    "holds up all; after a failover without it: `membersync resend --acknowledged-since`, see the runbook"
)


def look_through_pooler(subject: Subject) -> list[Finding]:
    """Look whether wake-up calls are heard past PgBouncer, and whether its sessions have what ours need."""
    direct = subject.of.ledger_direct_url
    if direct is None:
        return []
    try:
        with wake_calls(direct):
            pass
    except LedgerError as error:
        said = (str(error.__cause__).strip() or str(error)).splitlines()[0]
        why = "nobody hears a wake-up call: a dispatcher does not begin without its own connection"
        remedy = "correct MEMBERSYNC_LEDGER_DIRECT_URL: the server itself, past PgBouncer"
        return [fail(POOLED, place(direct), f"does not serve: {said}", why, remedy)]
    with subject.reading() as tx:
        lacking = [one for one in availability.sessions_lack(tx) if not one.startswith("statement_timeout")]
    if lacking:
        found = f"its sessions have not {', '.join(lacking)}"
        why = "days and hours are those of the server's zone, nothing gives up waiting, and plans grow slow with tables"
        return [warn(POOLED, place(subject.ledger_url), found, why, _LACKING)]
    return [ok(POOLED, place(direct), "wake-up calls are heard, and sessions have what they need")]


def look_at_standby(subject: Subject) -> list[Finding]:
    """Look who would be failed over to, where the address names several servers."""
    url = subject.of.ledger_direct_url or subject.ledger_url
    if "," not in ledger_arguments(url).get("host", ""):
        return []
    with subject.reading() as tx:
        return [judge_standbys(availability.standbys(tx), place(url))]


def judge_standbys(standbys: Standbys, where: str) -> Finding:
    """Judge by who would be failed over to, and whether a commit waits for it.  Pure."""
    found = f"{standbys.connected} receive what is written; a commit waits for {standbys.waited_for or 'none of them'}"
    if not standbys.connected:
        why = "several servers are named, and there is nobody to fail over to"
        return warn(STANDBY, where, found, why, "look at the standby's log and its primary_conninfo")
    if not standbys.waited_for:
        why = "a failover loses what was accepted in the moments before it, and its senders believe it is safe"
        return warn(STANDBY, where, found, why, _ASYNCHRONOUS)
    return ok(STANDBY, where, found)

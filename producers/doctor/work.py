"""Whether anybody works: the dispatcher, on what is due, on leases that ran out, on jobs."""

from producers.doctor.finding import Finding, fail, ok, warn
from producers.doctor.subject import Subject
from shared.ledger import checkup
from shared.ledger.checkup import Idle

DISPATCHER, LEASES, DUE, JOBS = "dispatcher", "leases", "due instances", "jobs"
OVERDUE_S = 60.0
"""A lease that ran out is given back at the next tick of a dispatcher, a job's turn comes as soon."""
IDLE_S = 300.0
_START = "start one: `membersync dispatcher`; its log says why the last one ended"


def look_for_dispatcher(subject: Subject) -> list[Finding]:
    """Look for the sessions in which dispatchers listen; those of another database user are not shown."""
    looked_at = "sessions named `membersync ears` in pg_stat_activity"
    with subject.reading() as connection:
        count = checkup.dispatchers(connection)
    if count:
        return [ok(DISPATCHER, looked_at, f"{count} at work")]
    why = "nobody sends what is due to the workers; what is accepted waits in the ledger"
    return [fail(DISPATCHER, looked_at, "there is none", why, _START)]


def look_at_leases(subject: Subject) -> list[Finding]:
    """Look for instances that are called running though nobody has them, and nobody gives back."""
    with subject.reading() as connection:
        found = checkup.leases(connection, overdue_s=OVERDUE_S)
    looked_at = "instances that are running"
    if found.overdue:
        what = f"{found.overdue} of {found.running}: the lease ran out, the oldest {_minutes(found.overdue_s)} ago"
        why = "their workers are gone, and no newer event of these members can go out"
        return [fail(LEASES, looked_at, what, why, f"a dispatcher gives them back within a second; {_START}")]
    waiting = f", {found.unbegun} of them wait in the broker for a worker" if found.unbegun else ""
    return [ok(LEASES, looked_at, f"{found.running} running{waiting}; no lease is overdue")]


def look_at_due(subject: Subject) -> list[Finding]:
    """Look for instances that are due for long while nothing of their lane ends."""
    with subject.reading() as connection:
        rows = checkup.idle(connection, period_s=IDLE_S)
    idle = [row for row in rows if row.due_s > IDLE_S and not row.finished]
    if idle:
        return [_left_alone(row) for row in idle]
    due = ", ".join(f"{row.due} {row.lane} at {row.stage}" for row in rows) or "none"
    return [ok(DUE, "instances whose time has come", due)]


def _left_alone(row: Idle) -> Finding:
    looked_at = f"what is due in the {row.lane} lane at {row.stage}"
    found = f"{row.due} are due, the oldest for {_minutes(row.due_s)}, and nothing of that lane ended in 5 min"
    why = "nobody works on them: no dispatcher, no worker of the lane, a full queue or a spent budget"
    remedy = f"see dispatcher, broker and workers here; `membersync instances --state pending --lane {row.lane}`"
    return fail(DUE, looked_at, found, why, remedy)


def look_at_jobs(subject: Subject) -> list[Finding]:
    """Look for requeues and discards that nobody takes further."""
    with subject.reading() as connection:
        stuck = checkup.stuck_jobs(connection, overdue_s=OVERDUE_S)
    looked_at = "requeues and discards that are not over"
    if not stuck:
        return [ok(JOBS, looked_at, "none waits for a dispatcher")]
    why = "a job goes on in a dispatcher's turn; this one waits for one"
    return [
        warn(
            JOBS,
            looked_at,
            f"job {job.job_id} ({job.kind}) should have gone on {_minutes(job.overdue_s)} ago",
            why,
            f"{_START}; `membersync jobs {job.job_id}` shows it, `membersync jobs {job.job_id} --stop` ends it",
        )
        for job in stuck
    ]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"

"""Whether work is done, as the ledger tells: who is at work, what waits for too long, what piles up unseen.

Dispatchers, workers, leases, what is due, jobs; members that are shut, stray messages, mail, room on the disk.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from producers.doctor.check import Finding, Subject, UnlookedError, fail, ok, warn
from producers.operations import hold_advice
from producers.operations.broker_look import with_broker
from producers.operations.reconcile import runs
from producers.operations.verdict import MAIL_LATE_S, Verdict, standing, unseen
from shared.errors import LedgerError
from shared.ledger import (
    case_facts,
    checkup,
    guards,
    heartbeats,
    incident_reads,
    mail,
    reconciliations,
    retention,
    silence,
)
from shared.ledger.case_facts import Parked
from shared.ledger.checkup import Idle
from shared.ledger.reconciliations import Watched
from shared.ledger.records import Process
from shared.pipeline import Lane, spoken
from shared.reconciling import RunState
from shared.settings import Settings

DISPATCHER, PROCESSES, LEASES, DUE, JOBS = "dispatcher", "worker processes", "leases", "due instances", "jobs"
RECONCILED = "reconciliation"
SHUT, STRAYS, MAIL, DISK, GUARDS = "members that are shut", "stray messages", "mail", "disk", "guards"
WEBHOOK = "webhook"
KEPT = "what is kept"
CASES, INCIDENTS = "open cases", "incidents"
SILENCE = "silence"
OVERDUE_S = 60.0
"""A lease that ran out is given back at the next tick of a dispatcher, a job's turn comes as soon."""
IDLE_S = 300.0
OF_LATE_S = 86_400.0
_GIB = 1024**3
WARN_BYTES, FAIL_BYTES = 2 * _GIB, _GIB // 5
WARN_PART, FAIL_PART = 0.05, 0.01
_BEATS = "heartbeats in the ledger"
_START = "start one: `membersync dispatcher`; its log says why the last one ended"


def verdict_on(subject: Subject) -> Verdict:
    """Return the verdict on this installation, the line that all begins with."""
    try:
        with subject.reading() as tx:
            found = standing(tx, subject.of).verdict
    except (UnlookedError, LedgerError) as error:
        return unseen(error)
    return with_broker(found, subject.of)


def look_for_dispatcher(subject: Subject) -> list[Finding]:
    """Look for dispatchers that go round: one that was stopped has its session still, and does nothing."""
    with subject.reading() as tx:
        found = heartbeats.dispatchers(heartbeats.processes(tx))
    count = sum(map(heartbeats.is_at_work, found))
    if count:
        return [ok(DISPATCHER, _BEATS, f"{count} at work")]
    why = "nobody sends what is due to the workers; what is accepted waits in the ledger"
    if not found:
        return [fail(DISPATCHER, _BEATS, "there is none", why, _START)]
    last = min(found, key=lambda one: one.silent_s)
    said = f"{last.name} has been silent for {last.silent_s:.0f} s: stopped, hanging, or cut off"
    return [fail(DISPATCHER, _BEATS, said, why, f"see what became of its process, or {_START}")]


def look_for_workers(subject: Subject) -> list[Finding]:
    """Look for worker processes that go round, of every lane; a stopped one may still be known to the broker."""
    with subject.reading() as tx:
        processes = heartbeats.processes(tx)
    return [_judge_workers(lane, heartbeats.workers(processes, lane), heartbeats.silent(processes)) for lane in Lane]


def _judge_workers(lane: Lane, of_lane: list[Process], silent: list[Process]) -> Finding:
    count = sum(map(heartbeats.is_at_work, of_lane))
    gone = [one for one in silent if one in of_lane]
    remedy = f"see what became of its process, or start another: `membersync worker --lane {lane}`"
    if not count:
        why = f"nothing of the {lane} lane is synced"
        last = f"; the last one, {gone[0].name}, has been silent for {gone[0].silent_s:.0f} s" if gone else ""
        return fail(PROCESSES, _BEATS, f"no worker process of the {lane} lane is at work{last}", why, remedy)
    if gone:
        said = f"{lane}: {len(gone)} silent, {gone[0].name} for {gone[0].silent_s:.0f} s; {count} at work"
        return warn(PROCESSES, _BEATS, said, "the others do its work, as far as they can", remedy)
    return ok(PROCESSES, _BEATS, f"{lane}: {count} at work")


def look_at_leases(subject: Subject) -> list[Finding]:
    """Look for instances that are called running though nobody has them, and nobody gives back."""
    with subject.reading() as tx:
        found = checkup.leases(tx, overdue_s=OVERDUE_S)
    looked_at = "instances that are running"
    if found.overdue:
        what = f"{found.overdue} of {found.running}: the lease ran out, the oldest {_minutes(found.overdue_s)} ago"
        why = "their workers are gone, and no newer event of these members can go out"
        return [fail(LEASES, looked_at, what, why, f"a dispatcher gives them back within a second; {_START}")]
    waiting = f", {found.unbegun} of them wait in the broker for a worker" if found.unbegun else ""
    return [ok(LEASES, looked_at, f"{found.running} running{waiting}; no lease is overdue")]


def look_at_due(subject: Subject) -> list[Finding]:
    """Look for instances that are due for long while nothing of their lane ends."""
    with subject.reading() as tx:
        rows = checkup.idle(tx, period_s=IDLE_S)
        read_only = checkup.server(tx).read_only
    idle = [row for row in rows if row.due_s > IDLE_S and not row.finished]
    if idle:
        return [judge_idle(row, read_only=read_only) for row in idle]
    due = ", ".join(f"{row.due} {row.lane} at {spoken(row.stage)}" for row in rows) or "none"
    return [ok(DUE, "instances whose time has come", due)]


def judge_idle(row: Idle, *, read_only: bool) -> Finding:
    """Judge what is due for long while nothing of its lane ends.  Pure."""
    looked_at = f"what is due in the {row.lane} lane at {spoken(row.stage)}"
    found = f"{row.due} are due, the oldest for {_minutes(row.due_s)}, and nothing of that lane ended in 5 min"
    if read_only:
        why = "the ledger's server is read-only, so nobody can take them on"
        return fail(DUE, looked_at, found, why, "first what is said of the ledger")
    why = "nobody works on them: no dispatcher, no worker of the lane, a full queue or a spent budget"
    remedy = f"see dispatcher, broker and workers here; `membersync instances --state pending --lane {row.lane}`"
    return fail(DUE, looked_at, found, why, remedy)


def look_at_jobs(subject: Subject) -> list[Finding]:
    """Look for requeues and discards that nobody takes further."""
    with subject.reading() as tx:
        stuck = checkup.stuck_jobs(tx, overdue_s=OVERDUE_S)
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


def listen_to_siebel(subject: Subject) -> list[Finding]:
    """Look whether Siebel has been silent for longer than it ever is at this hour of the week."""
    with subject.reading() as tx:
        quiet = silence.read(tx, subject.of.guard.silence_rules)
    looked_at = "the newest event that a producer sent"
    if quiet.since is None:
        return [ok(SILENCE, looked_at, "there was none yet")]
    found = f"{hold_advice.lasting(quiet.lasts_s)} ago; {hold_advice.used_to(quiet)}"
    if not quiet.is_too_long:
        return [ok(SILENCE, looked_at, found)]
    remedy = "`membersync refusals`, then touch one member in Siebel: is its workflow active, its address right?"
    return [warn(SILENCE, looked_at, found, "changes of members may not reach us, and are in nobody's queue", remedy)]


def look_at_guards(subject: Subject) -> list[Finding]:
    """Look for what guards hold, and nobody has decided on."""
    with subject.reading() as tx:
        found = [one for one in guards.open_holds(tx) if one.held]
    looked_at = "members that a guard holds"
    if not found:
        return [ok(GUARDS, looked_at, "none")]
    return [
        warn(
            GUARDS,
            f"guard {one.id}, at {spoken(one.stage)}",
            f"{one.held} held since {one.opened_at:%Y-%m-%d %H:%MZ}, {one.state}: {one.message}",
            "one Data Error of many at once looks like a broken mapping; they are not told, and not in sync"
            if one.kind == guards.FLOOD
            else "so many at once look like a broken job or view in Siebel; nothing of it is sent",
            f"{hold_advice.about_hold(one)} `membersync guards release {one.id} --reason …`",
        )
        for one in found
    ]


def look_at_incidents(subject: Subject) -> list[Finding]:
    """Look for incidents that go on and that nobody has taken up."""
    with subject.reading() as tx:
        found = [one for one in incident_reads.live(tx) if one.is_open]
    looked_at = "incidents that go on"
    taken = ", ".join(f"{one.id} by {one.acknowledged_by}" for one in found if one.acknowledged_by)
    if all(one.acknowledged_by for one in found):
        return [ok(INCIDENTS, looked_at, f"taken up: {taken}" if taken else "none")]
    return [
        warn(
            INCIDENTS,
            f"incident {one.id}, at {spoken(one.stage)}, {one.fingerprint}",
            f"open since {one.opened_at:%Y-%m-%d %H:%MZ}, {one.counts.instances} late, {one.counts.waiting} wait: "
            f"{one.cause}",
            "who waits is late for as long as it goes on",
            f"`membersync incidents {one.id}` says whom it affects and what it costs; `--acknowledge` that you have it",
        )
        for one in found
        if not one.acknowledged_by
    ]


def look_at_cases(subject: Subject) -> list[Finding]:
    """Look how many members' newest event is a Data Error, and whether one of them is parked for too long."""
    with subject.reading() as tx:
        counts, parked = case_facts.counts(tx), case_facts.parked(tx)
    return judge_cases(counts, parked)


def judge_cases(counts: Mapping[str, int], parked: Parked) -> list[Finding]:
    """Judge cases.  Pure.  Shape: *counts* of open ones by kind."""
    said = ", ".join(f"{count} {spoken(kind)}" for kind, count in sorted(counts.items()))
    found = [
        warn(
            CASES,
            "members whose newest event is a Data Error",
            f"{sum(counts.values())}: {said}",
            "Siebel was told; they stay out of sync until somebody corrects them",
            "`membersync cases` says who must do what",
        )
        if said
        else ok(CASES, "members whose newest event is a Data Error", "none")
    ]
    if parked.late:
        why = "CrowdTwist has them at an address that is not theirs, for a cycle did not come loose"
        remedy = "`membersync cases --kind cycle --kind chain` says who must be corrected in Siebel"
        found.append(fail(CASES, "members that are parked", f"{parked.late} past the deadline", why, remedy))
    elif parked.in_time:
        found.append(ok(CASES, "members that are parked", f"{parked.in_time}, so that cycles come loose"))
    return found


def look_at_reconciliations(subject: Subject) -> list[Finding]:
    """Look whether Siebel, CrowdTwist and ledger were compared of late, and what that found."""
    with subject.reading() as tx:
        found = reconciliations.watched(tx)
    return [judge_reconciliations(found, subject.of)]


def judge_reconciliations(found: Watched, of: Settings) -> Finding:
    """Judge how reconciliations stand.  Pure."""
    looked_at = "the last comparison of Siebel, CrowdTwist and ledger"
    start = "`membersync reconcile --wait` makes one now"
    why_not = runs.why_not_scheduled(of)
    under_way = f"; run {found.open.id} is under way: {found.open.waiting or found.open.phase}" if found.open else ""
    done, last = found.done, found.last
    if last is not None and last.state == RunState.FAILED:
        what = f"run {last.id} failed: {last.why}{under_way}"
        why = "what it did not look at may differ, and nobody would know"
        return warn(RECONCILED, looked_at, what, why, f"mend that; {start}")
    if found.is_overdue(of.reconcile.every_h) and why_not is None:
        age_h = (found.age_s or 0) / 3600
        what = f"none has come to its end for {age_h:.0f} h, of {of.reconcile.every_h:g} h{under_way}"
        why = "a member that differs is found by nobody"
        return warn(RECONCILED, looked_at, what, why, f"see that a dispatcher runs; {start}")
    if done is None:
        said = f"none is made by itself: {why_not}" if why_not else "the first is made when the ledger is old enough"
        return ok(RECONCILED, looked_at, f"{said}{under_way}")
    what = f"run {done.id}, {(found.age_s or 0) / 3600:.0f} h ago: {done.meaning}{under_way}"
    if done.found:
        why = f"{done.found} differences were seen twice"
        return warn(
            RECONCILED, looked_at, what, why, f"`membersync reconciliations {done.id}` has them and their causes"
        )
    return ok(RECONCILED, looked_at, what)


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


def look_for_strays(subject: Subject) -> list[Finding]:
    """Look for messages of the last day that no task could take."""
    with subject.reading() as tx:
        found = checkup.strays(tx, period_s=OF_LATE_S)
    looked_at = "messages of the last 24 h that no task could take"
    if not found.count:
        return [ok(STRAYS, looked_at, "none")]
    what = (
        f"{found.count}, the newest at {found.newest_at:%Y-%m-%d %H:%MZ} in {found.queue or 'no queue'}: {found.reason}"
    )
    why = "somebody else writes to our broker, or versions are mixed; no instance is lost by them"
    remedy = "let only membersync reach the broker; the runbook shows how to read them in the table stray_message"
    return [warn(STRAYS, looked_at, what, why, remedy)]


def look_at_mail(subject: Subject) -> list[Finding]:
    """Look for mail that waits too long."""
    with subject.reading() as tx:
        found = mail.unsent(tx)
    looked_at = "mail that is written and not sent"
    if not found.count and found.complaint:
        why = "not everybody is told that a connection is down or that there are new dead letters"
        remedy = "correct MEMBERSYNC_MAIL__RECIPIENTS, or have the mail server take them"
        return [warn(MAIL, "the newest mail that was sent", f"not all of it was taken: {found.complaint}", why, remedy)]
    if not found.count:
        return [ok(MAIL, looked_at, "none waits")]
    what = f"{found.count} wait, the oldest for {found.oldest_s / 60:.0f} min"
    cause = f": {found.last_error}" if found.last_error else "; no server was tried yet"
    if found.oldest_s <= MAIL_LATE_S:
        return [ok(MAIL, looked_at, f"{what}{cause}")]
    why = "nobody is told that a connection is down or that there are new dead letters"
    remedy = "correct MEMBERSYNC_MAIL__… and see that a dispatcher runs; what waits is then sent by itself"
    return [warn(MAIL, looked_at, f"{what}{cause}", why, remedy)]


def look_at_webhook(subject: Subject) -> list[Finding]:
    """Look for what the webhook does not take."""
    with subject.reading() as tx:
        found = mail.posting(tx)
    looked_at = "what is posted to the webhook"
    cause = f": {found.last_error}" if found.last_error else ""
    why = "whoever listens there is not told that a connection is down or that there are new dead letters"
    remedy = "correct MEMBERSYNC_WEBHOOK__… or what listens there; `membersync webhook test` posts to it now"
    if found.count:
        at = f", the last at {found.newest_at:%Y-%m-%d %H:%MZ}" if found.newest_at else ""
        what = f"{found.count} given up within a day, after {subject.of.webhook.max_tries} tries{at}{cause}"
        return [warn(WEBHOOK, looked_at, what, why, remedy)]
    if not found.waiting:
        last = f"the last was taken at {found.taken_at:%Y-%m-%d %H:%MZ}" if found.taken_at else "none was taken yet"
        return [ok(WEBHOOK, looked_at, f"none waits; {last}" if subject.of.webhook.url else "there is no webhook")]
    what = f"{found.waiting} wait, the oldest for {found.oldest_s / 60:.0f} min{cause}"
    if subject.of.webhook.url and found.oldest_s <= MAIL_LATE_S:
        return [ok(WEBHOOK, looked_at, what)]
    return [warn(WEBHOOK, looked_at, what, why, remedy)]


def look_at_kept(subject: Subject) -> list[Finding]:
    """Say how old the oldest of each kind is, and whether what is too old goes."""
    days, of = subject.of.dispatcher.retention_days, subject.of
    kept_days = {
        "instances": days,
        "activity": 0,  # of dead letters it stays with them
        "jobs": days,
        "mail": days,
        "refused events": of.intake.refused_days,
        "audit": of.retention.audit_days,
    }
    with subject.reading() as tx:
        found = [one for one in retention.oldest(tx) if one.at is not None]
    if not found:
        return [ok(KEPT, "the oldest of each kind", "nothing yet")]
    said = ", ".join(f"{one.kind} {one.age_days:.0f} d{_of_days(kept_days.get(one.kind, 0))}" for one in found)
    late = [one.kind for one in found if 0 < kept_days.get(one.kind, 0) < one.age_days - _PRUNED_LATE_DAYS]
    if not late:
        return [ok(KEPT, "the oldest of each kind", said)]
    why = "people are kept for longer than was promised, and the ledger grows"
    remedy = "see that a dispatcher runs: it deletes what is too old, piece by piece; its log says why it could not"
    return [warn(KEPT, "the oldest of each kind", f"{', '.join(late)} should be gone: {said}", why, remedy)]


def _of_days(days: int) -> str:
    return f" of {days}" if days else ""


_PRUNED_LATE_DAYS = 2.0


def look_at_disk(subject: Subject) -> list[Finding]:
    """Look at the room that embedded servers have left; servers elsewhere are watched elsewhere."""
    if not subject.beside_stack:
        return []
    home = subject.of.home.resolve()
    usage = shutil.disk_usage(home)
    return [judge_disk(usage.free, usage.total, home)]


def judge_disk(free_bytes: int, total_bytes: int, home: Path) -> Finding:
    """Judge the room that is left.  Pure."""
    found = f"{free_bytes / _GIB:.1f} GiB of {total_bytes / _GIB:.0f} GiB are free"
    why = "a ledger without room accepts nothing"
    remedy = f"make room on the disk of {home}: `du -sh {home}/*`; logs may go"
    if free_bytes < min(FAIL_BYTES, total_bytes * FAIL_PART):
        return fail(DISK, str(home), found, why, remedy)
    if free_bytes < min(WARN_BYTES, total_bytes * WARN_PART):
        return warn(DISK, str(home), found, why, remedy)
    return ok(DISK, str(home), found)

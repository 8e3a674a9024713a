"""What piles up unseen: stray messages, mail that nobody takes, and the disk below the embedded servers."""

import shutil
from pathlib import Path

from producers.doctor.finding import Finding, fail, ok, warn
from producers.doctor.subject import Subject
from producers.operations.verdict import MAIL_LATE_S
from shared.ledger import checkup

STRAYS, MAIL, DISK = "stray messages", "mail", "disk"
OF_LATE_S = 86_400.0
_GIB = 1024**3
WARN_BYTES, FAIL_BYTES = 2 * _GIB, _GIB // 5
WARN_PART, FAIL_PART = 0.05, 0.01


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
        found = checkup.unsent(tx)
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


def look_at_disk(subject: Subject) -> list[Finding]:
    """Look at the room that embedded servers have left; servers elsewhere are watched elsewhere."""
    if not subject.beside_stack:
        return []
    home = subject.of.home.resolve()
    usage = shutil.disk_usage(home)
    return [judged(usage.free, usage.total, home)]


def judged(free_bytes: int, total_bytes: int, home: Path) -> Finding:
    """Judge the room that is left.  Pure."""
    found = f"{free_bytes / _GIB:.1f} GiB of {total_bytes / _GIB:.0f} GiB are free"
    why = "a ledger without room accepts nothing"
    remedy = f"make room on the disk of {home}: `du -sh {home}/*`; logs may go"
    if free_bytes < min(FAIL_BYTES, total_bytes * FAIL_PART):
        return fail(DISK, str(home), found, why, remedy)
    if free_bytes < min(WARN_BYTES, total_bytes * WARN_PART):
        return warn(DISK, str(home), found, why, remedy)
    return ok(DISK, str(home), found)

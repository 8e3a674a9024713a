"""Plans, jobs, causes and rehearsals, as a person reads them in a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import orjson
from rich.console import Console

from producers.cli.terminal import coloured, console, instant, plain, print_rows
from producers.operations import advice
from producers.operations.rehearsal import Rehearsal
from shared.ledger.causes import Alike, Cause
from shared.ledger.jobs import Item, Job, Plan, Reason, Verdict
from shared.pipeline import spoken

_MEANING = {
    Verdict.SEND: "will be sent",
    Verdict.SUPERSEDED: "closed as superseded: a newer success overtook it",
    Verdict.MERGED: "merged into a newer pending event",
    Verdict.DISCARD: "will be discarded, for good",
    Verdict.REFUSED: "refused",
}
_SHOWN = 10


def print_causes(causes: Sequence[Cause]) -> None:
    """Print dead letters by cause, and what to do about each."""
    rows = [
        {
            "count": plain(cause.count, "bold red"),
            "stage": plain(spoken(cause.stage)),
            "code": plain(cause.code),
            "message": plain(cause.message),
            "fixed since": plain(cause.fixed or ""),
            "newer coming": plain(cause.coming or ""),
            "first": plain(instant(cause.first_at)),
            "last": plain(instant(cause.last_at)),
        }
        for cause in causes
    ]
    out = console()
    print_rows(out, rows, texts=["message"], expendable=["first", "last", "newer coming"])
    for todo, meant in groupby(sorted(causes, key=_todo), key=_todo):
        whom = ", ".join(f"{cause.count} {cause.code} at {spoken(cause.stage)}" for cause in meant)
        out.print(plain(f"{whom}: {todo}"))


def _todo(cause: Cause) -> str:
    return advice.for_failure(cause.stage, cause.code, cause.message)


def print_plan(plan: Plan, out: Console) -> None:
    """Print what would become of a selection: counts, reasons, and of the exceptions the first."""
    for word, count in plan.counts.items():
        if count:
            out.print(plain(f"{count:>8}  {_MEANING[Verdict(word)]}"))
            for reason in plan.reasons:
                if reason.verdict == Verdict.REFUSED == word:
                    out.print(plain(_reason(reason), "dim"))
    exceptions = [item for item in plan.items if item.verdict not in {Verdict.SEND, Verdict.DISCARD}]
    for item in exceptions[:_SHOWN]:
        other = f" (instance {item.newer_instance_id})" if item.newer_instance_id else ""
        out.print(plain(f"{'':>10}{_named(item)}: {item.verdict}, {item.reason}{other}", "dim"))
    if len(exceptions) > _SHOWN:
        out.print(plain(f"{'':>10}and more; --json lists them", "dim"))


def _named(item: Item) -> str:
    return f"instance {item.instance_id}" + (f" of member {item.member_number}" if item.member_number else "")


def _reason(reason: Reason) -> str:
    return f"{'':>10}{reason.count} of them: {reason.reason}"


def print_job(job: Job, failed: Sequence[Alike]) -> None:
    """Print one job, its troubles, and what to do about what *failed* again."""
    out = console()
    print_jobs([job])
    if job.stopped_why:
        why = job.stopped_why
        out.print(plain(why if why.startswith("stopped") else f"stopped: {why}", "bold red"))
    for item in job.troubled[:_SHOWN]:
        words = f"  {_named(item)}: {spoken(item.state)}"
        out.print(plain(f"{words}, {item.reason}" if item.reason else words))
    if len(job.troubled) > _SHOWN:
        out.print(plain("  and more; --json lists them", "dim"))
    for todo, count in advice.by_todo(failed).items():
        out.print(plain(f"{count} failed again: {todo}"))


def print_jobs(jobs: Iterable[Job]) -> None:
    """Print jobs, one line each."""
    rows = [
        {
            "job": plain(job.job_id),
            "kind": plain(job.kind),
            "state": coloured(job.state),
            "by": plain(job.requested_by),
            "created": plain(instant(job.created_at)),
            "instances": plain(job.total),
            "of them": plain(told(job)),
            "reason": plain(job.reason),
        }
        for job in jobs
    ]
    print_rows(console(), rows, texts=["of them", "reason"], expendable=["created", "by", "instances"])


def told(job: Job) -> str:
    """Say how far a job is, in one line."""
    counts = [f"{count} {spoken(state)}" for state, count in job.counts.items() if count]
    return ", ".join(counts)


def print_rehearsals(found: Sequence[Rehearsal]) -> None:
    """Print what would be sent differently, instance by instance."""
    out = console()
    for one in found:
        what = {"same": "the same would be sent", "differs": "differs"}.get(one.outcome, f"Data Error: {one.error}")
        out.print(plain(f"instance {one.instance_id} of member {one.member_number}: {what}"), soft_wrap=True)
        for change in one.changes:
            values = f"{orjson.dumps(change.before).decode()} -> {orjson.dumps(change.after).decode()}"
            out.print(plain(f"  {change.change:<8} {change.field}: {values}"), soft_wrap=True)

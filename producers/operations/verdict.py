"""The verdict: in one sentence whether all is well, and if not what is wrong, since when, who waits, who has to act.

It is decided here and nowhere else, from what one look at the ledger found, so that every page, `membersync status`,
`membersync doctor` and `GET /v1/status` say the same.  Pure.  All of them look at the broker too (`broker_look`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum

from producers.operations import advice
from producers.operations.advice import TOLD_APART
from producers.operations.clock_advice import SETTLES, set_by
from producers.operations.durations import roughly
from producers.operations.hold_advice import lasting, used_to
from producers.operations.reconcile import runs
from shared.budgets import budgets
from shared.errors import LedgerError, LedgerSlowError, SettingsInvalidError
from shared.ledger import causes, clock, forecasts, views
from shared.ledger.causes import Alike
from shared.ledger.engine import Transaction
from shared.ledger.guards import FLOOD
from shared.ledger.heartbeats import dispatchers, is_at_work, silent, workers
from shared.ledger.records import ConnectionState, Overview, Process
from shared.lifecycle.breaker import drain_s
from shared.lifecycle.incidents import IncidentKind
from shared.pipeline import QUEUED, SYSTEMS, Lane, Stage, State
from shared.settings import Settings

STUCK_S = 300.0
"""What is due for longer, while nothing at all ends, is stuck.  Units: seconds."""

MAIL_LATE_S = 900.0
"""Mail that waits for longer does not go out by itself, as `membersync doctor` judges too.  Units: seconds."""
JUMP_COUNT, JUMP_SHARE = 10, 0.5
"""So many Data Errors, and such a part of what ended, within an hour are rarely the members: a setting or a rule is."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_NAMED_MAX = 2


class Level(StrEnum):
    """How bad it is.  `waits`: something is wrong and heals by itself; `person`: somebody has to act."""

    WELL = "well"
    WAITS = "waits"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong.

    Shape: *what* is wrong and since when; *waiting* instances that wait because of it; *todo* for a person, or why
    there is nothing to do; *short* for a tab.
    """

    level: Level
    what: str
    since: datetime | None
    waiting: int
    todo: str
    short: str

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.what}; {self.todo}" if self.todo else self.what


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it goes.

    Shape: *sentence* for people, *short* for a tab; *since* when the worst has been so; *waiting* instances that are
    pending, held or to be tried again; *needs_person*: somebody has to act; *troubles*, the worst first.
    """

    level: Level
    sentence: str
    short: str
    since: datetime | None
    waiting: int
    needs_person: bool
    troubles: list[Trouble]


def judge(found: Overview, dead: Sequence[Alike], step: clock.Step | None = None) -> Verdict:
    """Say how it goes; *dead* are the dead letters that are alike, *step* the newest of the ledger's clock."""
    troubles = [*_of_processes(found), *_of_clock(step, found.at)]
    troubles += [_of_connection(row, found) for row in found.connections if row.state != "up"]
    troubles += _of_causes(found)
    if dead:
        first_at = min((row.first_at for row in found.dead_letters if row.first_at), default=None)
        troubles.append(_of_dead_letters(dead, first_at))
    troubles += [*_of_guards(found), *_of_parked(found), *_of_members(found), *_of_mail(found), *_of_snapshots(found)]
    troubles += [*_of_reconciliations(found), *_of_silence(found)]
    waiting = sum(row.count for row in found.backlog if row.state in QUEUED)
    if troubles:
        return of_troubles(sorted(troubles, key=lambda one: one.level is not Level.PERSON), waiting)
    under_way = sum(row.count for row in found.backlog)
    again = sum(row.count for row in found.backlog if row.state == State.WAITING)
    tried = f", {again} of them to be tried again" if again else ""
    going = f"{_many(under_way, 'instance')} on the way{tried}" if under_way else "nothing waits"
    said, short = f"All well: {going}", "all well"
    if cases := sum(found.cases.values()):
        short = _many(cases, "open case")
        said = f"{going.capitalize()}; {short}: `membersync cases` says who must correct what"
    return Verdict(Level.WELL, said, short, None, waiting, needs_person=False, troubles=[])


def unseen(error: Exception) -> Verdict:
    """Return the verdict where *error* keeps everybody from seeing how it goes.

    Shape: an error that is neither of the settings nor the ledger's is that no ledger is set.
    """
    match error:
        case SettingsInvalidError():
            what = "The settings are not valid, so no process starts with them"
            todo, short = "correct them: `membersync doctor` names each", "settings"
        case LedgerSlowError():
            what = "The ledger serves, but takes too long to say how it goes"
            todo, short = "see `membersync doctor`", "a slow ledger"
        case LedgerError():
            what = "The ledger does not serve: nothing is accepted and nothing sent; what was accepted is safe in it"
            todo, short = "see `membersync doctor`", "no ledger"
        case _:
            what = "MEMBERSYNC_LEDGER_URL is not set, and no `membersync up` runs on this home"
            todo, short = "set it, or start `membersync up`", "no ledger set"
    return of_troubles([Trouble(Level.PERSON, what, None, 0, todo, short)], 0)


def of_troubles(troubles: list[Trouble], waiting: int) -> Verdict:
    """Return what *troubles* come to, the worst first, while so many instances are *waiting*."""
    worst = troubles[0]
    more = f" (+{len(troubles) - 1})" if len(troubles) > 1 else ""
    return Verdict(
        level=worst.level,
        sentence=" \N{MIDDLE DOT} ".join(one.sentence for one in troubles),
        short=f"{worst.short}{more}",
        since=worst.since,
        waiting=waiting,
        needs_person=worst.level is Level.PERSON,
        troubles=troubles,
    )


def _of_processes(found: Overview) -> Iterator[Trouble]:
    """Say who does not work; what is late though all of them do, is stuck for another reason."""
    idle = [lane for lane in Lane if not any(map(is_at_work, workers(found.processes, lane)))]
    due = sum(row.count for row in found.backlog if row.state in (State.PENDING, State.RUNNING))
    if not any(map(is_at_work, dispatchers(found.processes))):
        yield _nobody("dispatcher", dispatchers(found.processes), due, "membersync dispatcher", found.at)
    if idle:
        name = "worker" if len(idle) == len(Lane) else f"worker of the {idle[0]} lane"
        gone = [one for one in workers(found.processes) if set(idle) & set(one.lanes)]
        start = "membersync worker" if len(idle) == len(Lane) else f"membersync worker --lane {idle[0]}"
        waits = sum(row.count for row in found.backlog if row.lane in idle and row.state in ("pending", "running"))
        yield _nobody(name, gone, waits, start, found.at)
    rest = [one for one in silent(found.processes) if set(one.lanes) - set(idle)]
    if rest:
        since, every = min(one.heard_at for one in rest), len(workers(found.processes))
        what = f"{len(rest)} of {_many(every, 'worker process', 'es')} silent since {_at(since, found.at)}"
        todo = f"see what became of {_named(rest)}; others work"
        yield Trouble(Level.PERSON, what, since, 0, todo, "a silent worker")
    if stuck := _stuck(found):
        yield stuck


def _nobody(name: str, gone: Sequence[Process], waiting: int, start: str, now: datetime) -> Trouble:
    """Say that no process of a kind is at work, and since when, if one ever was of late."""
    since = max((one.heard_at for one in gone), default=None)
    wait = f"; {_safely(waiting)}" if waiting else ""
    if since is None:
        return Trouble(
            Level.PERSON, f"No {name} is at work{wait}", None, waiting, f"start one: `{start}`", f"no {name}"
        )
    what = f"No {name} is at work since {_at(since, now)}: stopped, hanging, or cut off{wait}"
    todo = f"see what became of {_named(gone)}, or start another: `{start}`"
    return Trouble(Level.PERSON, what, since, waiting, todo, f"no {name}")


def _named(processes: Sequence[Process]) -> str:
    names = [one.name for one in sorted(processes, key=lambda one: one.heard_at, reverse=True)]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f"{', '.join(names[:_NAMED_MAX])}{more}"


def _stuck(found: Overview) -> Trouble | None:
    """Say that what is due does not go out though it could, and nothing else ended of late either."""
    up = {row.name for row in found.connections if row.state == "up"}
    ended = sum(sum(rate.finished.values()) for rate in found.rates if rate.period_s == _MINUTE_S)
    late = [
        row
        for row in found.backlog
        if row.state in (State.PENDING, State.WAITING)
        and row.stage in up
        and row.next_due_at is not None
        and (found.at - row.next_due_at).total_seconds() > STUCK_S
    ]
    everybody = (dispatchers(found.processes), *(workers(found.processes, lane) for lane in Lane))
    if not late or ended or not all(any(map(is_at_work, some)) for some in everybody):
        return None
    since = min(row.next_due_at for row in late if row.next_due_at is not None)
    count = sum(row.count for row in late)
    what = f"{_many(count, 'instance')} due since {_at(since, found.at)}, and nothing ends"
    return Trouble(Level.PERSON, what, since, count, "see `membersync doctor`", "nothing moves")


def _of_clock(step: clock.Step | None, now: datetime) -> Iterator[Trouble]:
    """Say that the ledger's clock was set, while that is being settled; after that the doctor does."""
    if step is not None and step.is_settling:
        what = f"The ledger's clock {'seems' if step.is_doubted else 'was'} {set_by(step)} at {_at(step.at, now)}"
        yield Trouble(Level.WAITS, what, step.at, 0, SETTLES[step.is_doubted], "the ledger's clock")


def _of_causes(found: Overview) -> Iterator[Trouble]:
    """Say what many end for while their connection is up: rarely the members are it."""
    for one in found.incidents:
        if one.kind == IncidentKind.CAUSE:
            what = f"Many end at {SYSTEMS[Stage(one.stage)]} for one cause since {_at(one.opened_at, found.at)}"
            what += f": {one.cause}"
            level = Level.WAITS if one.acknowledged_by else Level.PERSON
            has = f"{one.acknowledged_by} has it; " if one.acknowledged_by else ""
            yield Trouble(level, what, one.opened_at, 0, f"{has}see `membersync incidents {one.id}`", "an incident")


def _of_connection(row: ConnectionState, found: Overview) -> Trouble:
    system, now = SYSTEMS[Stage(row.name)], found.at
    since = f" since {_at(row.since, now)}" if row.since else ""
    for one in found.incidents:
        if one.kind == IncidentKind.CONNECTION and one.stage == row.name:
            since += f" (incident {one.id})"
    wait = f"; {_safely(row.held)}" if row.held else ""
    if row.state == "paused":
        what = f"{system} paused by {row.paused_by}{since}: {row.paused_reason}{wait}"
        lasts = row.maintenance is not None and row.maintenance.state == "active"
        todo = "goes on by itself when the window ends" if lasts else "goes on when somebody resumes it"
        return Trouble(Level.WAITS, what, row.since, row.held, todo, f"{system} paused")
    if setting := advice.setting_at_fault(Stage(row.name), row.last_error or ""):
        what = f"{system} refuses our credentials{since}{wait}"
        return Trouble(
            Level.PERSON,
            what,
            row.since,
            row.held,
            f"correct {setting}; restart api and workers",
            f"{system} refuses us",
        )
    todo = "nothing to do"
    if row.held and row.budget is not None:  # no budget says how fast it may go out
        todo += f"; about {roughly(drain_s(row.held, row.budget.per_minute))} to drain after it is back"
    return Trouble(Level.WAITS, f"{system} away{since}{wait}", row.since, row.held, todo, f"{system} away")


def _of_dead_letters(dead: Sequence[Alike], since: datetime | None) -> Trouble:
    causes: Counter[str] = Counter()
    for one in dead:
        causes[advice.cause(one.stage, one.code, one.message, apart=one.apart)] += one.count
    count = causes.total()
    named = [cause if len(causes) == 1 else f"{many} {cause}" for cause, many in causes.most_common(_NAMED_MAX)]
    if len(causes) > _NAMED_MAX:
        named.append(f"{_many(len(causes) - _NAMED_MAX, 'more cause')}")
    needs = "needs you" if count == 1 else "need you"
    what = f"{_many(count, 'dead letter')} {needs}: {', '.join(named)}"
    return Trouble(Level.PERSON, what, since, count, "", _many(count, "dead letter"))


def _of_members(found: Overview) -> Iterator[Trouble]:
    """Say where members fail though the systems serve: so many refused at once, or those that are tried on alone.

    One Data Error is told to Siebel, and corrected there: it needs nobody here.
    """
    ended = next((rate.finished for rate in found.rates if rate.period_s == _HOUR_S), {})
    refused, whole = ended.get(State.REJECTED, 0), sum(ended.values())
    if refused >= JUMP_COUNT and refused >= JUMP_SHARE * whole:
        what = f"{refused} of the {whole} instances that ended in the last hour are Data Errors"
        todo = "a setting or a rule rather than the members: see `membersync dead-letters --state rejected --since 1h`"
        yield Trouble(Level.PERSON, what, None, 0, todo, f"{refused} Data Errors")
    for row in found.connections:
        alone = row.suspects - row.suspects_given_up
        if row.state == "up" and alone > 0:
            system = SYSTEMS[Stage(row.name)]
            what = f"{_many(alone, 'member')} {'fails' if alone == 1 else 'fail'} at {system}, which serves others"
            again = "tried again by itself" if alone == 1 else "tried again by themselves"
            todo = f"nothing to do: {again}, and a dead letter at last"
            yield Trouble(Level.WAITS, what, None, alone, todo, _many(alone, "suspect"))


def _of_guards(found: Overview) -> Iterator[Trouble]:
    """Say what guards hold: somebody has to decide, unless it is decided already."""
    for hold in found.guards:
        what = f"{_many(hold.held, 'member')} held by guard {hold.id} since {_at(hold.opened_at, found.at)}"
        if hold.kind == FLOOD:
            what += f": one Data Error of many at once, which looks like a broken mapping: {hold.message}"
        else:
            what += f": {hold.message}, too many at once: {hold.alike} of {hold.went_out} that are active"
        level = Level.PERSON if hold.waits_for_decision else Level.WAITS
        todo = "see `membersync guards`" if hold.waits_for_decision else f"{hold.state}, as {hold.decided_by} decided"
        yield Trouble(level, what, hold.opened_at, hold.held, todo, "a guard holds")
    for one in found.approvals:
        what = f"{one.what} {one.job_id or one.guard_id} of {_many(one.count, 'instance')} waits for a second person"
        todo = f"`membersync approve {one.id}`, by somebody other than {one.asked_by}"
        yield Trouble(Level.PERSON, what, one.asked_at, 0, todo, "an approval waits")


def _of_parked(found: Overview) -> Iterator[Trouble]:
    if count := found.parked_late:
        what = f"{_many(count, 'member')} parked at another address: a cycle of addresses did not come loose in time"
        yield Trouble(Level.PERSON, what, None, count, "see `membersync cases --kind cycle --kind chain`", "parked")


def _of_silence(found: Overview) -> Iterator[Trouble]:
    quiet = found.silence
    if quiet.is_too_long:
        what = f"No event from Siebel for {lasting(quiet.lasts_s)}; {used_to(quiet)}"
        yield Trouble(Level.PERSON, what, quiet.since, 0, "see `membersync doctor`", "Siebel is silent")


def _of_mail(found: Overview) -> Iterator[Trouble]:
    since = found.unsent_mail.since
    if since is None or (found.at - since).total_seconds() <= MAIL_LATE_S:
        return
    count = found.unsent_mail.count
    what = f"{_many(count, 'mail')} to operators unsent since {_at(since, found.at)}"
    todo = "correct MEMBERSYNC_MAIL__…; `membersync doctor` has the mail server's answer"
    yield Trouble(Level.PERSON, what, since, 0, todo, "unsent mail")


def _of_reconciliations(found: Overview) -> Iterator[Trouble]:
    last = found.reconciled
    if last.failed:
        what = f"The last reconciliation failed: {last.failed}"
        yield Trouble(Level.PERSON, what, None, 0, "see `membersync reconciliations`", "no reconciliation")
    elif last.overdue:
        what = f"No reconciliation has come to its end for {roughly(last.age_s or 0)}"
        yield Trouble(Level.PERSON, what, None, 0, "see `membersync doctor`", "no reconciliation")
    if last.found:
        what = f"{_many(last.found, 'difference')} between Siebel, CrowdTwist and ledger, by reconciliation {last.run}"
        yield Trouble(Level.PERSON, what, None, 0, f"see `membersync reconciliations {last.run}`", "drift")


def _of_snapshots(found: Overview) -> Iterator[Trouble]:
    """Say who holds an old snapshot of the ledger; who is working at it comes to an end."""
    holders = found.held_snapshots.holders
    if not holders:
        return
    oldest, others = holders[0], len(holders) - 1
    more = f" and {_many(others, 'other')}" if others else ""
    what = (
        f"A snapshot of the ledger held since {_at(oldest.since, found.at)} by {oldest.named}{more}: dead rows pile up"
    )
    level = Level.WAITS if all(one.is_working for one in holders) else Level.PERSON
    yield Trouble(level, what, oldest.since, 0, "see `membersync doctor`", "a held snapshot")


def _safely(count: int) -> str:
    return f"{count} {'waits' if count == 1 else 'wait'} safely"


def _many(count: int, name: str, plural: str = "s") -> str:
    return f"{count} {name}{'' if count == 1 else plural}"


def _at(instant: datetime, now: datetime) -> str:
    """Return the time of day in UTC, with the date if it is another."""
    instant = instant.astimezone(UTC)
    is_today = instant.date() == now.astimezone(UTC).date()
    return f"{instant:%H:%M} UTC" if is_today else f"{instant:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Standing(Overview):
    """One look at the ledger, and what it comes to."""

    verdict: Verdict


def standing(tx: Transaction, of: Settings) -> Standing:
    """Look at the ledger, and judge."""
    every_h = of.reconcile.every_h if runs.why_not_scheduled(of) is None else 0
    found = views.overview(
        tx,
        budgets(of),
        snapshot_max_s=of.snapshot_max_s,
        reconcile_every_h=every_h,
        silence_rules=of.guard.silence_rules,
    )
    values = {one.name: getattr(found, one.name) for one in fields(found)}
    values |= {"lanes": forecasts.of_lanes(tx, found.connections, found.processes)}
    return Standing(**values, verdict=judge(found, causes.dead_alike(tx, TOLD_APART), clock.newest_step(tx)))

"""Compose mails about what happened.  Pure: the same at the same instant is the same mail, and it names nobody.

templates/mail.txt and mail.html say the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape

from producers.operations import advice, hold_advice
from producers.operations.advice import Step
from shared.errors import OURS
from shared.ledger.cause_notes import said
from shared.ledger.guards import FLOOD, Hold
from shared.ledger.incident_reads import Incident, News
from shared.ledger.mail import HELD_MAX, Change, ComposedMail, Digest, Failure, Kind
from shared.ledger.reconciliations import Run, Watched
from shared.ledger.snapshots import SnapshotHolder
from shared.lifecycle.incidents import IncidentKind
from shared.lifecycle.silence import Silence
from shared.messages import normalised
from shared.pipeline import FAILURE_STATUS, SYSTEMS, Stage, State, spoken
from shared.reconciling import RunState
from shared.settings import Settings

_NAMED_MAX = 10
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Section:
    """One trouble.

    Shape: *url* where the console shows it; *failures* those that are named, with a *title*; *unnamed* how many
    instances failed for other causes.
    """

    meaning: str
    steps: tuple[Step, ...]
    url: str
    title: str = ""
    failures: tuple[Failure, ...] = ()
    unnamed: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """What a mail says, before it becomes text and HTML.  Shape: *facts* names and values."""

    kind: Kind
    subject: str
    headline: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def rendered(content: Content, *, written: str) -> ComposedMail:
    """Render *content*; *written* says when that was."""
    plain, html = (
        templates().get_template(name).render(content=content, written=written, systems=SYSTEMS)
        for name in ("mail.txt", "mail.html")
    )
    return ComposedMail(content.kind, f"membersync: {content.subject}", plain, html)


@cache
def templates() -> Environment:
    """Return what mail is made with; its templates are read the first time, as those of the console are."""
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=DictLoader({file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["todo"] = advice.for_failure
    return environment


def of_change(change: Change, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about a connection that went down or came back, and with it an incident."""
    system, url = SYSTEMS[change.stage], f"{settings.api.url}/connections"
    held, named = [], ""
    if change.incident:
        url = f"{settings.api.url}/incidents/{change.incident}"
        held = [("Incident", f"{change.incident}, fingerprint {change.fingerprint}")]
        named = f" [{change.fingerprint}]"
    if change.held:
        more = " or more" if change.held == HELD_MAX else ""
        held += [("Held by now", f"{_many(change.held, 'instance')}{more}")]
    if change.is_up:
        subject = f"the connection {system} is back"
        facts = [("Back since", _instant(change.at))]
        if change.down_at is not None:
            lasted = _span((change.at - change.down_at).total_seconds())
            facts = [("Down from", _instant(change.down_at)), *facts, ("Lasted", lasted)]
            subject += f" after {lasted}"
        section = Section(advice.when_back(settings), advice.after_outage(), url)
        headline = f"{system} serves us again: the connection {system} is back."
        content = Content(Kind.UP, subject + named, headline, (*facts, *held), (section,))
    else:
        error = normalised(change.error) or "(no message)"
        facts = [("Down since", _instant(change.at)), ("Last error", error)]
        facts += [("Known", change.known)] if change.known else []
        means = advice.when_down(change.stage, settings, error)
        section = Section(means, advice.bring_back(change.stage, settings, error), url)
        headline = f"{system} does not serve us: the connection {system} is down."
        content = Content(Kind.DOWN, f"the connection {system} is down{named}", headline, (*facts, *held), (section,))
    return rendered(content, written=_instant(now))


def of_incident(news: News, found: Incident, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about an incident that was opened, is still open, or is resolved."""
    stage, counts, cost = Stage(found.stage), found.counts, found.cost
    lasted = _span(((found.resolved_at or now) - found.opened_at).total_seconds())
    facts = [
        ("Incident", f"{found.id}, fingerprint {found.fingerprint}"),
        ("Since", _instant(found.windows.connection.from_at or found.opened_at)),
        *([("Until", _instant(found.resolved_at))] if found.resolved_at else []),
        ("Cause", found.cause),
        *([("Known", said(found.cause_notes))] if found.cause_notes else []),
        ("Late events", f"{counts.instances}, of which {counts.waiting} wait"),
        ("Stale", f"{cost.member_minutes_stale:.0f} member-minutes, the oldest {_span(cost.worst_age_s)}"),
        ("Taken up by", found.acknowledged_by or "nobody"),
    ]
    if found.kind == IncidentKind.CONNECTION:
        means = advice.when_down(stage, settings, found.cause)
    else:
        means = advice.when_many_fail(settings)
    if news is News.RESOLVED:
        means = f"No more of it comes. {means}"
    system = SYSTEMS[stage]
    says = {
        News.OPENED: f"many fail at {system} for one cause",
        News.STILL_OPEN: f"{system}: still open after {lasted}",
        News.RESOLVED: f"{system}: resolved after {lasted}",
    }[news]
    section = Section(means, advice.see_incident(found.id), f"{settings.api.url}/incidents/{found.id}")
    subject = f"{says} [{found.fingerprint}]"
    headline = f"Incident {found.id}, {says}."
    return rendered(Content(Kind.INCIDENT, subject, headline, tuple(facts), (section,)), written=_instant(now))


def of_digest(digest: Digest, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about new dead letters and Data Errors, of which there is at least one."""
    counts = ((digest.dead, "dead letter"), (digest.rejected, "Data Error"))
    what = " and ".join(_many(count, name) for count, name in counts if count)
    facts = (("Since", _instant(digest.since)), ("Until", _instant(digest.until)))
    sections = tuple(_sections(digest, f"{settings.api.url}/dead-letters"))
    content = Content(Kind.DIGEST, what, f"New since the last digest: {what}.", facts, sections)
    return rendered(content, written=_instant(now))


def of_snapshots(holders: Sequence[SnapshotHolder], settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about those who hold an old snapshot of the ledger, of whom there is at least one."""
    oldest, others = holders[0], len(holders) - 1
    subject = f"a snapshot of the ledger is held by {oldest.named}" + (
        f" and {_many(others, 'other')}" if others else ""
    )
    facts = [
        ("Held since", f"{_instant(one.since)} by {one.named}{f': {one.query}' if one.query else ''}")
        for one in holders
    ]
    steps = (
        *(Step(f"{one.named}: {advice.let_go(one)}.") for one in holders),
        Step("See whether it is over:", ("membersync status",)),
    )
    section = Section(advice.HELD, steps, f"{settings.api.url}/")
    headline = f"Somebody has held a snapshot of the ledger for longer than {settings.snapshot_max_s:g} s."
    content = Content(Kind.SNAPSHOT, subject, headline, tuple(facts), (section,))
    return rendered(content, written=_instant(now))


def of_hold(hold: Hold, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about what a guard has begun to hold."""
    system = SYSTEMS[Stage(hold.stage)]
    facts = [("Held since", _instant(hold.opened_at))]
    if hold.kind == FLOOD:
        subject = f"guard {hold.id} holds members: one Data Error of many at {system}"
        headline = f"Many members meet the same Data Error at {system}: they are held, and Siebel is not told."
        facts += [("Data Error", hold.message), ("Refused at", system)]
        facts += [("Opened on", f"{hold.alike} of {hold.went_out} members")]
    else:
        subject = f"guard {hold.id} holds members: {hold.message}"
        headline = f"Too many {hold.message} at once: they are held, and nothing of it is sent."
        facts += [("Opened on", f"{hold.alike} of {hold.went_out} active members")]
    facts += [("Held by now", _many(hold.held, "member"))]
    facts += [("Told before" if hold.kind == FLOOD else "Too late for", _many(hold.told, "member"))]
    steps = hold_advice.decide(hold, settings.guard)
    section = Section(hold_advice.GUARDED[hold.kind], steps, f"{settings.api.url}/guards")
    return rendered(Content(Kind.GUARD, subject, headline, tuple(facts), (section,)), written=_instant(now))


def of_silence(quiet: Silence, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about Siebel that has been silent for too long."""
    facts = (
        ("Newest event", _instant(quiet.since) if quiet.since else "none"),
        ("Silent for", hold_advice.lasting(quiet.lasts_s)),
        ("Used to", hold_advice.used_to(quiet)),
    )
    section = Section(hold_advice.SILENCE, hold_advice.after_silence(), f"{settings.api.url}/refusals")
    subject = f"no event from Siebel for {hold_advice.lasting(quiet.lasts_s)}"
    headline = "Siebel has been silent for much longer than at this hour of the week."
    return rendered(Content(Kind.SILENCE, subject, headline, facts, (section,)), written=_instant(now))


def of_run(run: Run, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about a reconciliation that found differences, or failed."""
    facts = [("Run", run.id)] + ([("Ended", _instant(run.ended_at))] if run.ended_at else [])
    facts += [("In all", run.meaning)] if run.meaning else []
    facts += [(spoken(name).capitalize(), _many(count, "member")) for name, count in run.differences.items() if count]
    facts += [("Found", str(finding["evidence"])) for finding in run.findings]
    if run.state == RunState.FAILED:
        subject = f"reconciliation {run.id} failed"
        headline = f"Reconciliation {run.id} failed: {run.why}. What it did not look at may differ."
        steps: tuple[Step, ...] = (Step("Mend what it says, then make another:", ("membersync reconcile --wait",)),)
    else:
        subject = f"reconciliation {run.id}: {_many(run.found, 'difference')}"
        headline = f"Siebel, CrowdTwist and the ledger do not agree: {_many(run.found, 'difference')}, each seen twice."
        see = f"membersync reconciliations {run.id}"
        steps = (
            Step("See who differs, in what and why:", (see,)),
            *(Step("One cause of many:", (str(finding["todo"]),)) for finding in run.findings),
        )
    section = Section(advice.DRIFT, steps, f"{settings.api.url}/reconciliations/{run.id}")
    return rendered(Content(Kind.RECONCILED, subject, headline, tuple(facts), (section,)), written=_instant(now))


def of_overdue(found: Watched, settings: Settings, *, now: datetime) -> ComposedMail:
    """Compose the mail about reconciliations of which none has come to its end for too long."""
    span = _span(found.age_s or 0)
    facts = [("Made every", f"{settings.reconcile.every_h:g} h")]
    facts += (
        [("The last that ended", f"run {found.last.id}: {found.last.why or found.last.state}")] if found.last else []
    )
    facts += [("Under way", f"run {found.open.id}: {found.open.waiting or found.open.phase}")] if found.open else []
    steps = (
        Step("See why the last ones failed, or what one waits for:", ("membersync reconciliations",)),
        Step("See whether a dispatcher runs and both connections serve:", ("membersync doctor",)),
    )
    section = Section(advice.DRIFT, steps, f"{settings.api.url}/reconciliations")
    headline = f"No reconciliation has come to its end for {span}: a member that differs is found by nobody."
    content = Content(Kind.RECONCILED, f"no reconciliation for {span}", headline, tuple(facts), (section,))
    return rendered(content, written=_instant(now))


def _sections(digest: Digest, url: str) -> Iterator[Section]:
    """Return one section for each thing that is to be done."""
    dead = [one for one in digest.failures if one.state is State.DEAD]
    for stage in Stage:
        if failures := [one for one in dead if one.stage is stage and one.code not in OURS]:
            codes = _codes(failures)
            status = FAILURE_STATUS.get(stage, "Siebel was not told")
            title = f"{_many(_total(failures), 'dead letter')}: {status}"
            where = urlencode([("stage", stage), *(("code", code) for code in codes)])
            meaning = advice.DEAD if stage in FAILURE_STATUS else advice.UNTOLD
            yield _section(title, failures, meaning, advice.requeue(stage, codes), f"{url}?{where}")
    if failures := [one for one in dead if one.code in OURS]:
        codes = _codes(failures)
        title = f"{_many(_total(failures), 'dead letter')}: membersync itself failed"
        where = urlencode([("code", code) for code in codes])
        yield _section(title, failures, advice.BUG, advice.find_bug(codes), f"{url}?{where}")
    if failures := [one for one in digest.failures if one.state is State.REJECTED]:
        title = _many(_total(failures), "Data Error")
        yield _section(title, failures, advice.DATA_ERROR, advice.correct(), f"{url}?state=rejected")


def _section(title: str, failures: Sequence[Failure], meaning: str, steps: tuple[Step, ...], url: str) -> Section:
    # The title names the system already.
    named = (replace(one, message=one.message.removeprefix(f"{SYSTEMS[one.stage]}: ")) for one in failures[:_NAMED_MAX])
    return Section(meaning, steps, url, title, tuple(named), _total(failures[_NAMED_MAX:]))


def _total(failures: Iterable[Failure]) -> int:
    return sum(one.count for one in failures)


def _codes(failures: Iterable[Failure]) -> tuple[str, ...]:
    return tuple(sorted({one.code for one in failures}))


def _many(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"

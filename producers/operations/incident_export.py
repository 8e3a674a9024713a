"""An incident as a document of its own: JSON, or Markdown to be read.  Pure, and it names no member.

The same incident is the same document, byte for byte, whoever asks and when, once it is settled: nothing here is said
of the moment of asking, and every instant is written in UTC.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import orjson

from shared.ledger.incident_reads import IncidentDetail, Window
from shared.pipeline import SYSTEMS, Stage, spoken


class Format(StrEnum):
    """As what an incident is exported."""

    MARKDOWN = "md"
    JSON = "json"


def exported(found: IncidentDetail, form: Format) -> str:
    """Return *found* as a document."""
    if form is Format.JSON:
        return orjson.dumps(found, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: IncidentDetail) -> Iterator[str]:
    windows, cost, counts = found.windows, found.cost, found.counts
    system = f"{SYSTEMS[Stage(found.stage)]}: "
    what = system + found.cause.removeprefix(system)
    yield f"# Incident {found.id}: {_plain(what)}"
    yield ""
    yield f"State {found.state}, fingerprint `{found.fingerprint}`."
    if found.same_before:
        yield f"The same before: {', '.join(f'incident {one}' for one in found.same_before)}."
    for note in found.cause_notes:
        yield f"Known: {_plain(note.words)} ({_plain(note.who)})."
    if found.acknowledged_by:
        yield f"Acknowledged by {_plain(found.acknowledged_by)} at {instant(found.acknowledged_at)}."
    yield ""
    facts = {
        "Connection": window(windows.connection),
        "Impact": window(windows.impact) if windows.impact.from_at else "nobody was late",
        "Openings": f"{counts.openings}, of which flaps {counts.flaps}",
        "Late events": f"{cost.late_events}, of which {counts.waiting} wait",
        "Member-minutes stale": f"{cost.member_minutes_stale:.2f}",
        "Worst age": f"{cost.worst_age_s:.3f} s",
        "Wasted calls": cost.wasted_calls,
        "Statuses told": cost.statuses_told,
        "Dead letters": cost.dead_letters,
        "Live p95": _seconds(cost.live_p95_s),
        "Live p95 a week before": _seconds(cost.live_p95_week_before_s),
        "Affected": f"instances {counts.first_instance_id} to {counts.last_instance_id} that match `{counts.filter}`"
        if counts.first_instance_id
        else "nobody",
    }
    yield "| | |"
    yield "|---|---|"
    for name, value in facts.items():
        yield f"| {name} | {value} |"
    yield ""
    yield "## Time line"
    yield ""
    yield "| at (UTC) | what | who |"
    yield "|---|---|---|"
    for line in found.time_line:
        where = f"{spoken(line.stage)}: " if line.stage else ""
        yield f"| {instant(line.at)} | {where}{_plain(line.what)} | {_plain(line.who or '')} |"


def window(of: Window) -> str:
    """Say from when to when."""
    if of.from_at is None:
        return ""
    if of.to_at is None:
        return f"{instant(of.from_at)}, not over"
    return (
        f"{instant(of.from_at)} to {instant(of.to_at)}, {max(of.to_at - of.from_at, timedelta()).total_seconds():.3f} s"
    )


def instant(at: datetime | None) -> str:
    """Write an instant as an export does: UTC, to the millisecond."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _seconds(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f} s"


def _plain(words: str) -> str:
    """Return *words* as text of a cell: nothing in it is markup, and it is one line."""
    shown = "".join(letter if letter.isprintable() else " " for letter in words)
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in shown)

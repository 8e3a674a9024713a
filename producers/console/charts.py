"""Charts of outcomes and waits over time: SVG, drawn by pygal, styled by our CSS.

pygal brings styles and scripts of its own, which our pages do not allow; they are taken out, and what it writes for
its script becomes the tooltip that every browser shows.  A bar leads to the instances that it counts, the place of a
step to that step drawn larger; outages stand on a strip of their own above the bars.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from pygal.graph.graph import Graph
from pygal.graph.line import Line
from pygal.graph.stackedbar import StackedBar

from producers.console.rendering import seconds
from shared.ledger.latencies import IncidentThen, Latency, MarkThen
from shared.ledger.tallies import MinuteCount, Outage, Waits, percentiles
from shared.pipeline import State, spoken

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SERIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("completed", frozenset({State.COMPLETED})),
    ("Data Error", frozenset({State.REJECTED})),
    ("superseded", frozenset({State.SUPERSEDED})),
    ("tried again later", frozenset({State.WAITING})),
    ("dead letter", frozenset({State.DEAD})),
)
"""The bars, from the axis up: the name of each, and the outcomes that count."""
WAITS: tuple[tuple[str, str], ...] = (("half of them", "p50_s"), ("95 %", "p95_s"), ("99 %", "p99_s"))
"""The lines of the waits, and the percentile that each shows."""

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_SIZES = (("broad", 960, 8), ("slim", 460, 4))
"""Each chart is drawn twice, of which CSS shows one: class, width, and labels of its axis of time."""
_HEIGHT = 220
_ROUND = tuple(timedelta(minutes=one) for one in (10, 15, 30, 60, 180, 360, 720, 1440, 2880, 10_080, 20_160))
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday
_TICKS_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36_000.0, 360_000.0)
_TOOK_TICKS_S = (0.0001, 0.001, *_TICKS_S)
_PLACES = {"x", "y", "cx", "cy", "width", "height"}
_STRIP = 9
"""How high the strip of outages is."""
_TENTH = 0.1


class Svg(str):
    """A drawing, its texts escaped, which a template puts into the page as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the markup."""
        return str(self)


class Leads(Protocol):
    """Returns the address that a place of the chart leads to: of *series* in a step, or of the step itself."""

    def __call__(self, at: datetime, until: datetime, series: str | None) -> str | None:
        """Return it, or None."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The time that a chart shows: [*since*, *until*) in steps, the first of which begins at *since*."""

    since: datetime
    until: datetime
    step: timedelta

    @property
    def count(self) -> int:
        """How many there are, the last one begun."""
        return max(1, -((self.since - self.until) // self.step))

    def begin(self, number: int) -> datetime:
        """Return when a step begins."""
        return self.since + number * self.step

    def number(self, at: datetime) -> int:
        """Return the step that *at* lies in."""
        return (at - self.since) // self.step

    def label(self, number: int) -> str:
        """Return when a step begins, in words."""
        whole = self.count * self.step
        return f"{self.begin(number):%H:%M}" if whole <= _DAY else f"{self.begin(number):%d %b %H:%M}"

    def round_labels(self, most: int) -> list[str]:
        """Return the labels of steps that begin at a round time, no more than about *most*."""
        apart = next((one for one in _ROUND if self.count * self.step <= one * most), _ROUND[-1])
        begins = [(number, self.begin(number)) for number in range(self.count)]
        return [self.label(number) for number, begin in begins if not (begin - _EPOCH) % apart]

    @property
    def named(self) -> str:
        """How long a step is, in words."""
        if self.step == _MINUTE:
            return "minute"
        if self.step < _HOUR:
            return f"{self.step // _MINUTE} min"
        return f"{self.step // _HOUR} h" if self.step < _DAY else "day"


def outcomes_chart(
    counted: Sequence[MinuteCount], outages: Sequence[Outage], steps: Steps, leads: Leads | None = None
) -> Svg:
    """Draw what came of instances in each step."""
    columns: dict[str, dict[int, int]] = {name: defaultdict(int) for name, _ in SERIES}
    for one in counted:
        column = steps.number(one.at)
        for name, outcomes in SERIES:
            if one.outcome in outcomes and 0 <= column < steps.count:
                columns[name][column] += one.count
    drawn = [(name, colour) for colour, (name, _) in enumerate(SERIES) if columns[name]]

    def draw(kind: str, width: int, labels: int) -> str:
        chart = StackedBar(**_options(steps, kind, width, labels))
        for name, _ in drawn:
            chart.add(name, [columns[name].get(column) for column in range(steps.count)])
        if drawn:
            chart.add_xml_filter(lambda root: _with_places(root, chart, outages, steps, leads))
        said = f"Outcomes per {steps.named} from {steps.label(0)}, outages of connections above"
        return _drawn(chart, drawn, said, steps, leads)

    return Svg("".join(draw(*size) for size in _SIZES))


def waits_chart(waited: Sequence[Waits], steps: Steps) -> Svg:
    """Draw how long members waited from acceptance until Siebel was told, by step."""
    by_column: dict[int, list[Waits]] = defaultdict(list)
    for one in waited:
        by_column[steps.number(one.at)].append(one)
    found = {column: percentiles(ones) for column, ones in by_column.items()}
    shown = [getattr(one, field) for one in found.values() if one for _, field in WAITS]

    def draw(kind: str, width: int, labels: int) -> str:
        chart = Line(
            **_options(steps, kind, width, labels),
            logarithmic=True,
            dots_size=2,
            allow_interruptions=True,
            value_formatter=seconds,
        )
        if shown:
            _log_axis(chart, shown)
        for name, field in WAITS if found else ():
            columns = [found.get(column) for column in range(steps.count)]
            chart.add(name, [round(getattr(one, field), 3) if one else None for one in columns])
        said = f"Wait from acceptance to Siebel per {steps.named} from {steps.label(0)}"
        return _drawn(chart, [(name, number) for number, (name, _) in enumerate(WAITS)], said, steps, None)

    return Svg("".join(draw(*size) for size in _SIZES))


def latency_chart(
    counted: Sequence[Latency], incidents: Sequence[IncidentThen], marks: Sequence[MarkThen], steps: Steps, name: str
) -> Svg:
    """Draw what attempts of one stage took, by step; incidents on a strip above, marks as lines across."""
    found = {steps.number(one.at): one for one in counted}
    shown = [getattr(one, field) for one in found.values() for _, field in WAITS]

    def draw(kind: str, width: int, labels: int) -> str:
        options = _options(steps, kind, width, labels)
        chart = Line(**options, logarithmic=True, dots_size=2, allow_interruptions=True, value_formatter=seconds)
        if shown:
            _log_axis(chart, shown, _TOOK_TICKS_S)
        for title, field in WAITS if found else ():
            columns = [found.get(column) for column in range(steps.count)]
            chart.add(title, [round(getattr(one, field), 3) if one else None for one in columns])
        if found:
            chart.add_xml_filter(lambda root: _with_reasons(root, chart, incidents, marks, steps))
        said = f"What {name} took per {steps.named} from {steps.label(0)}, incidents above, new versions as lines"
        return _drawn(chart, [(title, number) for number, (title, _) in enumerate(WAITS)], said, steps, None)

    return Svg("".join(draw(*size) for size in _SIZES))


def _log_axis(chart: Line, shown: Sequence[float], ticks_s: Sequence[float] = _TICKS_S) -> None:
    """Let the logarithmic axis begin and end at a round duration."""
    below = max((one for one in ticks_s if one <= min(shown)), default=ticks_s[0])
    above = min((one for one in ticks_s if one >= max(shown) and one > below), default=ticks_s[-1])
    chart.y_labels = [one for one in ticks_s if below <= one <= above] or [below, above]
    chart.range = (chart.y_labels[0], chart.y_labels[-1])


def _with_reasons(
    root: "Element", chart: Graph, incidents: Sequence[IncidentThen], marks: Sequence[MarkThen], steps: Steps
) -> "Element":
    """Draw incidents on a strip above the lines, each leading to its page, and marks across them."""
    plot, view, node = chart.nodes["plot"], chart.view, chart.svg.node
    top, bottom = 0.0, float(view.height)
    last = max(1, steps.count - 1)

    def across(at: datetime) -> float:
        # A point stands for its step, so an instant within it lies half a step before to half a step behind.
        column = (at - steps.since) / steps.step - 0.5
        place: float = view.x(min(max(column / last, 0.0), 1.0))
        return place

    for one in incidents:
        left, right = across(one.from_at), across(one.to_at or steps.until)
        link = node(plot, "a", class_="shade down", href=f"/incidents/{one.incident_id}")
        node(link, "rect", x=left, y=top - _STRIP, width=max(3, right - left), height=_STRIP - 2)
        lasted = f"until {one.to_at:%d %b %H:%M:%S}" if one.to_at else "and goes on"
        said = f"incident {one.incident_id} from {one.from_at:%d %b %H:%M:%S} {lasted}: {one.cause}"
        node(link, "title").text = said
    for mark in marks:
        group = node(plot, "g", class_=f"shade mark {mark.kind}")
        node(group, "rect", x=across(mark.at), y=top, width=1.5, height=max(1, bottom - top))
        node(group, "title").text = f"{mark.at:%d %b %H:%M:%S} {mark.what}"
    return root


@dataclass(frozen=True, slots=True)
class Estimated:
    """What one run estimates: parts of all members, with the bounds of its interval; *label* says which run it is."""

    label: str
    estimate: float
    low: float
    high: float

    @property
    def whisker(self) -> dict[str, object]:
        """What pygal draws of it."""
        said = f"{share(self.estimate)}, between {share(self.low)} and {share(self.high)}"
        return {"value": self.estimate, "ci": {"low": self.low, "high": self.high}, "formatter": lambda _: said}


def drift_chart(estimated: Sequence[Estimated]) -> Svg:
    """Draw what runs estimate, oldest first, each with its interval as a whisker."""

    def draw(kind: str, width: int, labels: int) -> str:
        every = -(-len(estimated) // labels) or 1
        chart = Line(
            css=[], js=[], classes=["plot", kind], disable_xml_declaration=True, no_prefix=True, show_legend=False,
            width=width, height=_HEIGHT, margin=4, margin_right=40, margin_top=_STRIP + 4,
            spacing=4, min_scale=2, max_scale=5,
            truncate_label=-1, show_minor_x_labels=False, dots_size=3, no_data_text="nothing yet", include_x_axis=True,
            x_labels=[one.label for one in estimated], x_labels_major=[one.label for one in estimated[::every]],
            value_formatter=share,
        )  # fmt: skip
        if estimated:
            chart.range = (0, max(1e-6, *(one.high for one in estimated)))
            chart.add("differ", [one.whisker for one in estimated])
        said = "Part of all members that differ, by run, with its 95 % interval"
        return _drawn(chart, [("differ", 0)], said, None, None)

    return Svg("".join(draw(*size) for size in _SIZES))


def share(part: float | None) -> str:
    """Return a part of all members in per cent, with as many digits as say something."""
    if part is None:
        return ""
    return f"{100 * part:.2g} %" if part < _TENTH else f"{100 * part:.0f} %"


def _options(steps: Steps, kind: str, width: int, labels: int) -> dict[str, object]:
    return {
        "css": [],
        "js": [],
        "classes": ["plot", kind],
        "disable_xml_declaration": True,
        "no_prefix": True,
        "show_legend": False,
        "width": width,
        "height": _HEIGHT,
        "margin": 4,
        "margin_top": _STRIP + 4,
        "spacing": 4,
        "min_scale": 2,
        "max_scale": 5,
        "truncate_label": -1,
        "show_minor_x_labels": False,
        "x_labels": [steps.label(column) for column in range(steps.count)],
        "x_labels_major": steps.round_labels(labels),
        "no_data_text": "nothing yet",
    }


def _drawn(chart: Graph, names: Sequence[tuple[str, int]], said: str, steps: Steps | None, leads: Leads | None) -> str:
    """Render *chart*: its series have the *names*, each with the number of its colour; *said* is read aloud."""

    def ours(root: "Element") -> "Element":
        _strip(root)
        for number, (name, colour) in enumerate(names):
            for series in [one for one in root.iter() if f"serie-{number} " in one.get("class", "")]:
                series.set("class", f"series color-{colour}")
                _give_tooltips(series, name, steps, leads)
        root.attrib.pop("id", None)
        root.set("role", "group" if leads else "img")
        root.set("aria-label", said)
        return root

    chart.add_xml_filter(ours)
    svg: str = chart.render(is_unicode=True)
    return svg


def _with_places(
    root: "Element", chart: Graph, outages: Sequence[Outage], steps: Steps, leads: Leads | None
) -> "Element":
    """Draw, below the bars, the places that lead to a step, and the strip of outages."""
    plot, view, node = chart.nodes["plot"], chart.view, chart.svg.node
    top, bottom = view.y(view.box.ymax), view.y(view.box.ymin)
    bars = [one for one in plot if "serie-" in one.get("class", "")]
    for number in range(steps.count if leads else 0):
        if address := leads and leads(steps.begin(number), steps.begin(number + 1), None):
            left, right = view.x(number / steps.count), view.x((number + 1) / steps.count)
            link = node(plot, "a", class_="zoom", href=address, tabindex="-1")
            node(link, "rect", x=left, y=top, width=right - left, height=bottom - top)
            node(link, "title").text = f"{steps.label(number)}: look closer"
    for one in outages:
        begin = max(0.0, (one.from_at - steps.since) / (steps.count * steps.step))
        end = min(1.0, ((one.to_at or steps.until) - steps.since) / (steps.count * steps.step))
        if begin >= 1 or end <= 0:
            continue
        left, right = view.x(begin), view.x(max(begin, end))
        group = node(plot, "g", class_=f"shade {one.what}")
        node(group, "rect", x=left, y=top - _STRIP, width=max(3, right - left), height=_STRIP - 2)
        lasted = f"until {one.to_at:%H:%M:%S}" if one.to_at else "and still is"
        why = one.why or "no reason known"
        node(group, "title").text = f"{spoken(one.name)} {one.what} from {one.from_at:%H:%M:%S} {lasted}: {why}"
    for bar in bars:
        plot.remove(bar)
        plot.append(bar)
    return root


def _strip(root: "Element") -> None:
    """Take out styles, scripts, comments and pygal's own titles, and more digits than a screen shows."""
    for parent in list(root.iter()):
        for name in ("style", "rx", "ry"):
            parent.attrib.pop(name, None)
        for name in _PLACES & parent.attrib.keys():
            parent.set(name, f"{float(parent.attrib[name]):.4g}")
        ours = parent.get("class", "").startswith(("shade", "zoom"))
        unwanted = {"style", "script"} if ours else {"style", "script", "title"}
        for child in list(parent):
            if not isinstance(child.tag, str) or _tag(child) in unwanted:
                parent.remove(child)


def _give_tooltips(series: "Element", name: str, steps: Steps | None, leads: Leads | None) -> None:
    """Make one title of what pygal says of a bar or dot to its script, and of the bar a link."""
    marks = [one for one in series.iter() if one.get("class") in {"bar", "dots"}]
    parents = {child: parent for parent in series.iter() for child in parent}
    for number, mark in enumerate(marks):
        said = {one.get("class"): one.text for one in mark if _tag(one) == "desc"}
        if said.get("value") == "0":
            parents[mark].remove(mark)
            continue
        for one in [one for one in mark if _tag(one) == "desc"]:
            mark.remove(one)
        title = mark.makeelement("title", {})
        title.text = f"{said.get('x_label')} {name}: {said.get('value')}"
        mark.append(title)
        if address := leads and steps and leads(steps.begin(number), steps.begin(number + 1), name):
            mark.tag = mark.tag.replace("}g", "}a") if "}" in mark.tag else "a"
            mark.attrib |= {"href": address, "tabindex": "-1"}


def _tag(element: "Element") -> str:
    return element.tag.rpartition("}")[2]

"""Charts of outcomes and waits over time: SVG, drawn by pygal, styled by our CSS.

pygal brings styles and scripts of its own, which our pages do not allow; they are taken out, and what it writes for
its script becomes the tooltip that every browser shows.  A bar leads to the instances that it counts, the place of a
step to that step drawn larger; outages stand on a strip of their own above the bars.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pygal.graph.line import Line
from pygal.graph.stackedbar import StackedBar

from producers.console.rendering import seconds
from shared.ledger.tallies import MinuteCount, Outage, Waits, percentiles
from shared.pipeline import State, spoken

SERIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("completed", frozenset({State.COMPLETED})),
    ("Data Error", frozenset({State.REJECTED})),
    ("superseded", frozenset({State.SUPERSEDED})),
    ("tried again later", frozenset({State.WAITING})),
    ("dead letter", frozenset({State.DEAD})),
)
"""What is plotted, from the axis up: its name, and the outcomes that count."""
PARTS: tuple[tuple[str, str], ...] = (("half of them", "p50_s"), ("95 %", "p95_s"), ("99 %", "p99_s"))
"""The lines of the waits, and the percentile that each shows."""

_COLOURS = {name: number for number, (name, _) in enumerate(SERIES)}
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_WIDTH, _NARROW, _HEIGHT = 960, 460, 220
_LABELS, _LABELS_NARROW = 8, 4
_ROUND = tuple(timedelta(minutes=one) for one in (10, 15, 30, 60, 180, 360, 720, 1440, 2880, 10_080, 20_160))
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday
_TICKS_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36_000.0, 360_000.0)
_PLACES = {"x", "y", "cx", "cy", "width", "height"}
_STRIP = 9
"""How high the strip of outages is."""


class Leads(Protocol):
    """Gives the address that a place of the plot leads to: of *series* in a step, or of the step itself."""

    def __call__(self, at: datetime, until: datetime, series: str | None) -> str | None:
        """Give it, or None."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The time that a plot shows: [*since*, *until*) in steps, the first of which begins at *since*."""

    since: datetime
    until: datetime
    step: timedelta

    @property
    def count(self) -> int:
        """How many there are, the last one begun."""
        return max(1, -((self.since - self.until) // self.step))

    def begin(self, number: int) -> datetime:
        """Give when a step begins."""
        return self.since + number * self.step

    def number(self, at: datetime) -> int:
        """Give the step that *at* lies in."""
        return (at - self.since) // self.step

    def label(self, number: int) -> str:
        """Say when a step begins."""
        whole = self.count * self.step
        return f"{self.begin(number):%H:%M}" if whole <= _DAY else f"{self.begin(number):%d %b %H:%M}"

    def round_labels(self, most: int) -> list[str]:
        """Give the labels of steps that begin at a round time, no more than about *most*."""
        apart = next((one for one in _ROUND if self.count * self.step <= one * most), _ROUND[-1])
        begins = [(number, self.begin(number)) for number in range(self.count)]
        return [self.label(number) for number, begin in begins if not (begin - _EPOCH) % apart]

    @property
    def named(self) -> str:
        """Say how long a step is."""
        minutes = self.step // _MINUTE
        if minutes == 1:
            return "minute"
        return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h" if minutes < 1440 else "day"  # noqa: PLR2004


def plotted(
    counted: Sequence[MinuteCount],
    outages: Sequence[Outage],
    steps: Steps,
    *,
    leads: Leads | None = None,
    narrow: bool = False,
) -> str:
    """Draw what came of instances in each step; gives an `<svg>` element."""
    columns: dict[str, dict[int, int]] = {name: defaultdict(int) for name, _ in SERIES}
    for one in counted:
        column = steps.number(one.at)
        for name, outcomes in SERIES:
            if one.outcome in outcomes and 0 <= column < steps.count:
                columns[name][column] += one.count
    shades = [shade for outage in outages if (shade := _shade(outage, steps))]
    chart = _Bars(shades, steps, leads, **_options(steps, narrow=narrow))
    drawn = [name for name, values in columns.items() if values]
    for name in drawn:
        chart.add(name, [columns[name].get(column) for column in range(steps.count)])
    said = f"Outcomes per {steps.named} from {steps.label(0)}, outages of connections above"
    return _drawn(chart, steps, [(name, _COLOURS[name]) for name in drawn], said, leads)


def plotted_waits(waited: Sequence[Waits], steps: Steps, *, narrow: bool = False) -> str:
    """Draw how long members waited from acceptance until Siebel was told, by step; gives an `<svg>` element."""
    by_column: dict[int, list[Waits]] = defaultdict(list)
    for one in waited:
        by_column[steps.number(one.at)].append(one)
    found = {column: percentiles(ones) for column, ones in by_column.items()}
    chart = Line(
        **_options(steps, narrow=narrow),
        logarithmic=True,
        dots_size=2,
        allow_interruptions=True,
        value_formatter=seconds,
    )
    if shown := [getattr(one, field) for one in found.values() if one for _, field in PARTS]:
        chart.y_labels = ticks = _ticks(shown)
        chart.range = (ticks[0], ticks[-1])
    for name, field in PARTS if found else ():
        chart.add(
            name,
            [round(getattr(found[column], field), 3) if found.get(column) else None for column in range(steps.count)],
        )
    said = f"Wait from acceptance to Siebel per {steps.named} from {steps.label(0)}"
    return _drawn(chart, steps, [(name, number) for number, (name, _) in enumerate(PARTS)], said, None)


def _ticks(shown: Sequence[float]) -> list[float]:
    """Give the labels of an axis of waits that holds those *shown*."""
    below = max((one for one in _TICKS_S if one <= min(shown)), default=_TICKS_S[0])
    above = min((one for one in _TICKS_S if one >= max(shown)), default=_TICKS_S[-1])
    return [one for one in _TICKS_S if below <= one <= above] or [below, above]


def _options(steps: Steps, *, narrow: bool) -> dict[str, Any]:
    return {
        "css": [],
        "js": [],
        "classes": ["plot", "slim" if narrow else "broad"],
        "disable_xml_declaration": True,
        "no_prefix": True,
        "show_legend": False,
        "width": _NARROW if narrow else _WIDTH,
        "height": _HEIGHT,
        "margin": 4,
        "margin_top": _STRIP + 4,
        "spacing": 4,
        "min_scale": 2,
        "max_scale": 5,
        "truncate_label": -1,
        "show_minor_x_labels": False,
        "x_labels": [steps.label(column) for column in range(steps.count)],
        "x_labels_major": steps.round_labels(_LABELS_NARROW if narrow else _LABELS),
        "no_data_text": "nothing yet",
    }


def _drawn(
    chart: Any,  # noqa: ANN401  # pygal has no types
    steps: Steps,
    names: Sequence[tuple[str, int]],
    said: str,
    leads: Leads | None,
) -> str:
    chart.add_xml_filter(lambda root: _cleaned(root, steps, names, said, leads))
    svg: str = chart.render(is_unicode=True)
    return svg


def _shade(outage: Outage, steps: Steps) -> tuple[float, float, str, str] | None:
    """Give where an outage begins and ends in parts of the plot's width, its kind, and what it says."""
    whole = steps.count * steps.step
    begin = max(0.0, (outage.from_at - steps.since) / whole)
    end = min(1.0, ((outage.to_at or steps.until) - steps.since) / whole)
    if begin >= 1 or end <= 0:
        return None
    lasted = f"until {outage.to_at:%H:%M:%S}" if outage.to_at else "and still is"
    why = outage.why or "no reason known"
    said = f"{spoken(outage.name)} {outage.what} from {outage.from_at:%H:%M:%S} {lasted}: {why}"
    return begin, max(begin, end), outage.what, said


class _Bars(StackedBar):  # type: ignore[misc]  # pygal has no types
    """Bars, outages on a strip above them, and behind them the places that lead to a step."""

    def __init__(
        self,
        shades: Sequence[tuple[float, float, str, str]],
        steps: Steps,
        leads: Leads | None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self._shades = shades
        self._steps = steps
        self._leads = leads

    def _plot(self) -> None:
        top, bottom = self.view.y(self._box.ymax), self.view.y(self._box.ymin)
        for number in range(self._steps.count if self._leads else 0):
            if address := self._leads and self._leads(self._steps.begin(number), self._steps.begin(number + 1), None):
                left, right = self.view.x(number / self._steps.count), self.view.x((number + 1) / self._steps.count)
                link = self.svg.node(self.nodes["plot"], "a", class_="zoom", href=address, tabindex="-1")
                self.svg.node(link, "rect", x=left, y=top, width=right - left, height=bottom - top)
                self.svg.node(link, "title").text = f"{self._steps.label(number)}: look closer"
        for begin, end, what, said in self._shades:
            left, right = self.view.x(begin), self.view.x(end)
            group = self.svg.node(self.nodes["plot"], "g", class_=f"shade {what}")
            self.svg.node(group, "rect", x=left, y=top - _STRIP, width=max(3, right - left), height=_STRIP - 2)
            self.svg.node(group, "title").text = said
        super()._plot()


def _cleaned(
    root: Any,  # noqa: ANN401  # an element of whichever etree pygal found
    steps: Steps,
    names: Sequence[tuple[str, int]],
    said: str,
    leads: Leads | None,
) -> Any:  # noqa: ANN401  # as above
    """Take out styles, scripts and comments, and give every bar its tooltip and its link."""
    for parent in list(root.iter()):
        for name in ("style", "rx", "ry"):
            parent.attrib.pop(name, None)
        for name in _PLACES & parent.attrib.keys():
            parent.set(name, f"{float(parent.get(name)):.4g}")
        ours = parent.get("class", "").startswith(("shade", "zoom"))
        unwanted = {"style", "script"} if ours else {"style", "script", "title"}
        for child in list(parent):
            if not isinstance(child.tag, str) or _tag(child) in unwanted:
                parent.remove(child)
    for number, (name, colour) in enumerate(names):
        lead: Callable[[int], str | None] | None = None
        if leads is not None:
            lead = _of_series(steps, name, leads)
        for series in [one for one in root.iter() if f"serie-{number} " in one.get("class", "")]:
            series.set("class", f"series color-{colour}")
            _give_tooltips(series, name, lead)
    root.attrib.pop("id", None)
    root.set("role", "group" if leads else "img")
    root.set("aria-label", said)
    return root


def _of_series(steps: Steps, name: str, leads: Leads) -> Callable[[int], str | None]:
    return lambda number: leads(steps.begin(number), steps.begin(number + 1), name)


def _give_tooltips(series: Any, name: str, lead: Callable[[int], str | None] | None) -> None:  # noqa: ANN401  # as above
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
        if lead is not None and (address := lead(number)):
            mark.tag = mark.tag.replace("}g", "}a") if "}" in mark.tag else "a"
            mark.attrib |= {"href": address, "tabindex": "-1"}


def _tag(element: Any) -> str:  # noqa: ANN401  # as above
    return str(element.tag).rpartition("}")[2]

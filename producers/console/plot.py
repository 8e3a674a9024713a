"""Throughput and outcome per minute as a plot, outages of connections shaded: SVG, drawn by pygal, styled by our CSS.

pygal brings styles and scripts of its own, which our pages do not allow; they are taken out, and what it writes for
its script becomes the tooltip that every browser shows.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pygal.graph.stackedbar import StackedBar

from shared.ledger.history import MinuteCount, Outage
from shared.pipeline import State

SERIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("completed", frozenset({State.COMPLETED})),
    ("Data Error", frozenset({State.REJECTED})),
    ("superseded", frozenset({State.SUPERSEDED})),
    ("tried again later", frozenset({State.WAITING, "due_again"})),
    ("dead letter", frozenset({State.DEAD})),
)
"""What is plotted, from the axis up: its name, and the outcomes that count."""

_COLOURS = {name: number for number, (name, _) in enumerate(SERIES)}
_MINUTE = timedelta(minutes=1)
_WIDTH, _HEIGHT = 960, 220
_LABEL_EVERY = 10


def plotted(counted: Sequence[MinuteCount], outages: Sequence[Outage], *, since: datetime, until: datetime) -> str:
    """Draw the minutes of (*since*, *until*]; gives an `<svg>` element."""
    first = since.replace(second=0, microsecond=0) + _MINUTE
    count = max(1, round((until - first) / _MINUTE) + 1)
    columns: dict[str, dict[int, int]] = {name: defaultdict(int) for name, _ in SERIES}
    for one in counted:
        column = (one.at - first) // _MINUTE
        for name, outcomes in SERIES:
            if one.outcome in outcomes and 0 <= column < count:
                columns[name][column] += one.count
    chart = _Shaded(
        [_shade(outage, first, until, count) for outage in outages],
        css=[],
        js=[],
        classes=["plot"],
        disable_xml_declaration=True,
        no_prefix=True,
        show_legend=False,
        width=_WIDTH,
        height=_HEIGHT,
        margin=4,
        spacing=4,
        min_scale=2,
        max_scale=5,
        truncate_label=-1,
        show_minor_x_labels=False,
        x_labels_major_every=_LABEL_EVERY,
        no_data_text="nothing yet",
    )
    chart.x_labels = [f"{first + column * _MINUTE:%H:%M}" for column in range(count)]
    drawn = [name for name, values in columns.items() if values]
    for name in drawn:
        chart.add(name, [columns[name].get(column) for column in range(count)])
    chart.add_xml_filter(lambda root: _cleaned(root, drawn))
    svg: str = chart.render(is_unicode=True)
    return svg


def _shade(outage: Outage, first: datetime, until: datetime, count: int) -> tuple[float, float, str, str]:
    """Give where an outage begins and ends in parts of the plot's width, its kind, and what it says."""
    whole = count * _MINUTE
    begin = max(0.0, (outage.from_at - first) / whole)
    end = min(1.0, ((outage.to_at or until) - first) / whole)
    lasted = f"until {outage.to_at:%H:%M:%S}" if outage.to_at else "and still is"
    said = f"{outage.name} {outage.what} from {outage.from_at:%H:%M:%S} {lasted}: {outage.why or 'no reason known'}"
    return begin, max(begin, end), outage.what, said


class _Shaded(StackedBar):  # type: ignore[misc]  # pygal has no types
    """Bars in front of shades."""

    def __init__(self, shades: Sequence[tuple[float, float, str, str]], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._shades = shades

    def _plot(self) -> None:
        top, bottom = self.view.y(self._box.ymax), self.view.y(self._box.ymin)
        for begin, end, what, said in self._shades:
            left, right = self.view.x(begin), self.view.x(end)
            group = self.svg.node(self.nodes["plot"], "g", class_=f"shade {what}")
            self.svg.node(group, "rect", x=left, y=top, width=max(2, right - left), height=bottom - top)
            self.svg.node(group, "title").text = said
        super()._plot()


def _cleaned(root: Any, names: Sequence[str]) -> Any:  # noqa: ANN401  # an element of whichever etree pygal found
    """Take out styles, scripts and comments, and give every bar its tooltip."""
    for parent in list(root.iter()):
        parent.attrib.pop("style", None)
        unwanted = {"style", "script"} if "shade" in parent.get("class", "") else {"style", "script", "title"}
        for child in list(parent):
            if not isinstance(child.tag, str) or _tag(child) in unwanted:
                parent.remove(child)
    for number, name in enumerate(names):
        for series in [one for one in root.iter() if f"serie-{number} " in one.get("class", "")]:
            series.set("class", f"series color-{_COLOURS[name]}")
            _give_tooltips(series, name)
    root.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", "Outcomes per minute of the last hour, outages of connections shaded")
    return root


def _give_tooltips(series: Any, name: str) -> None:  # noqa: ANN401  # as above
    """Make one title of what pygal says of a bar to its script."""
    for bar in [one for one in series.iter() if one.get("class") == "bar"]:
        descriptions = [one for one in bar if _tag(one) == "desc"]
        said = {one.get("class"): one.text for one in descriptions}
        for one in descriptions:
            bar.remove(one)
        title = bar.makeelement("title", {})
        title.text = f"{said.get('x_label')} {name}: {said.get('value')}"
        bar.append(title)


def _tag(element: Any) -> str:  # noqa: ANN401  # as above
    return str(element.tag).rpartition("}")[2]

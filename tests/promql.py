"""The dashboard, the alerts and the scalers, and whether what they ask for is there in a scrape."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, Expr, MatchOp, VectorSelector

DEPLOY = Path(__file__).parents[1] / "deploy"
Series = tuple[str, dict[str, str]]
"""A metric's name and its labels."""

_WORDS = re.compile(r"\w+(\|\w+)+")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL = re.compile(r"\$labels\.(\w+)")


@dataclass(frozen=True)
class Asked:
    """An expression, where it stands, and the labels that its words show."""

    where: str
    expr: str
    shown: frozenset[str]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana/membersync.json").read_text())
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def scalers() -> dict[str, str]:
    """Return what KEDA asks of each worker, by its name."""
    found = {}
    for file in sorted((DEPLOY / "kubernetes/components/keda").glob("worker-*.yaml")):
        one = yaml.safe_load(file.read_text(encoding="utf-8"))
        (trigger,) = one["spec"]["triggers"]
        found[one["metadata"]["name"]] = str(trigger["metadata"]["query"])
    return found


def jobs() -> list[str]:
    """Name what the example scrapes."""
    return [job["job_name"] for job in _prometheus()["scrape_configs"]]


def _prometheus() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    return found


def asked() -> list[Asked]:
    """Return every expression of the dashboard, the alerts and the scalers."""
    of_panels = [
        Asked(panel["title"], target["expr"], frozenset(_LEGEND.findall(target["legendFormat"])))
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]
    of_alerts = [
        Asked(rule["alert"], rule["expr"], frozenset(_LABEL.findall(str(rule["annotations"])))) for rule in alerts()
    ]
    return of_panels + of_alerts + [Asked(name, query, frozenset()) for name, query in scalers().items()]


def parsed(expr: str) -> Expr:
    """Parse *expr*; Grafana's words become what Grafana puts there."""
    return promql_parser.parse(expr.replace("$__rate_interval", "1m"))


def parts(expr: str) -> list[Expr]:
    """Return *expr* and all that it is made of."""
    found: list[Expr] = []
    promql_parser.walk(parsed(expr), lambda part: found.append(part))  # noqa: PLW0108  # an answer would end the walk
    return found


def summed(expr: str) -> list[Expr]:
    """Return what *expr* adds up."""
    sums = [part for part in parts(expr) if isinstance(part, AggregateExpr) and str(part.op) == "sum"]
    return [one.expr for one in sums]


def is_one_of_each(part: Expr) -> bool:
    """Return whether *part* takes the largest or least of what several processes tell."""
    return isinstance(part, AggregateExpr) and str(part.op) in {"max", "min"}


def selectors(expr: str, prefix: str = "") -> Iterator[VectorSelector]:
    """Yield the selectors in *expr* of the metrics whose names begin with *prefix*."""
    for part in parts(expr):
        if isinstance(part, VectorSelector) and (part.name or "").startswith(prefix):
            yield part


def is_of_flower(expr: str) -> bool:
    """Return whether *expr* asks for Flower's metrics."""
    return any(selectors(expr, "flower_"))


def scraped(text: str) -> list[Series]:
    """Read an answer of `/metrics`."""
    return [
        (sample.name, sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    ]


def unmet(expr: str, series: list[Series]) -> list[str]:
    """Say what of *expr* matches nothing in *series*; each word of `a|b|c` has to match something."""
    return [complaint for selector in selectors(expr) for complaint in _unmet(selector, series)]


def _unmet(selector: VectorSelector, series: list[Series]) -> list[str]:
    of_name = [labels for name, labels in series if name == selector.name]
    if not of_name:
        return [f"{selector.name}: there is no such metric"]
    choices = [[(one.name, one.op, value) for value in _alternatives(one)] for one in selector.matchers.matchers]
    return [
        f"{selector.name}: nothing has {' '.join(f'{name} {value}' for name, _, value in tests)}"
        for tests in product(*choices)
        if not any(
            all(name in labels and _matches(labels[name], op, value) for name, op, value in tests) for labels in of_name
        )
    ]


def unlabelled(one: Asked, series: list[Series]) -> set[str]:
    """Name the labels that are grouped by or shown, and that the metrics do not have."""
    grouped: set[str] = set()
    wrong: set[str] = set()
    for part in parts(one.expr):
        if isinstance(part, AggregateExpr) and part.modifier:
            grouped |= set(part.modifier.labels)
            for selector in selectors(part.prettify()):
                wrong |= set(part.modifier.labels) - _labels(selector, series)
    plain = set[str]().union(*(_labels(selector, series) for selector in selectors(one.expr)))
    return wrong | (one.shown - (grouped or plain | {"job"}))


def _labels(selector: VectorSelector, series: list[Series]) -> set[str]:
    return {label for name, labels in series if name == selector.name for label in labels}


def _alternatives(matcher: promql_parser.Matcher) -> list[str]:
    words = matcher.op == MatchOp.Re and _WORDS.fullmatch(matcher.value)
    return matcher.value.split("|") if words else [matcher.value]


def _matches(found: str, op: MatchOp, value: str) -> bool:
    is_plain = op in (MatchOp.Equal, MatchOp.NotEqual)
    fits = found == value if is_plain else bool(re.fullmatch(value, found))
    return fits == (op in (MatchOp.Equal, MatchOp.Re))

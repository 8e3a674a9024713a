"""The Grafana dashboard and the Prometheus alerts ask only for what `/metrics` really gives."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from producers.site import create_app
from shared.ledger import call_limits
from shared.ledger.engine import transaction
from shared.lifecycle.concurrency import Rules
from shared.pipeline import Stage
from shared.settings import Settings
from tests import promql
from tests.calling import served
from tests.promql import Asked, Series
from tests.road import REFUSED, Road

SITUATIONS = sorted(Path(__file__).parents[1].glob("alert_rules*.yml"))
NAMES = {
    "MembersyncDown",
    "MembersyncLedgerDown",
    "MembersyncConnectionDown",
    "MembersyncBacklogOld",
    "MembersyncNothingFinishes",
    "MembersyncDeadLetters",
    "MembersyncBugs",
    "MembersyncDataErrorsRising",
    "MembersyncRefusalsRising",
    "MembersyncBudgetExhausted",
    "MembersyncMailStuck",
    "MembersyncSnapshotHeld",
    "MembersyncIncidentOpen",
    "MembersyncGuardHolds",
    "MembersyncMemberParked",
    "MembersyncSiebelSilent",
    "MembersyncReconcileOverdue",
    "MembersyncDrift",
    "MembersyncNoWorkers",
    "MembersyncSilent",
}
EACH = pytest.mark.parametrize("one", promql.asked(), ids=lambda one: one.where)


@pytest.fixture
def series(ledger: Engine, ledger_url: str) -> list[Series]:
    """What the api of a ledger with some traffic behind it tells Prometheus, and what Prometheus knows by itself."""
    settings = Settings(ledger_url=ledger_url)
    road = Road(ledger)
    road.accept("M-1", "M-2")
    road.travel(lambda work: REFUSED if work.member_number == "M-2" else None)
    road.dead("M-3")
    road.sql("""
        insert into reconciliation (state, mode, requested_by, asked, share, settle_s, seed, ended_at, drift)
        values ('done', 'full', 'oscar', '{}', 1, 0, 1, now(), '{"estimate": 0, "low": 0, "high": 0.1}')
    """)
    Bookkeeper(settings).turn()
    with transaction(ledger) as tx:
        call_limits.look(tx, {Stage.CROWDTWIST: Rules(1, 500, 10.0)})
    with served(create_app(settings)) as client:
        told = promql.scraped(client.get("/metrics").text)
    return [*told, *(("up", {"job": job, "instance": "x"}) for job in promql.jobs())]


@EACH
def test_every_expression_parses_and_asks_for_something(one: Asked) -> None:
    assert list(promql.selectors(one.expr)), one.expr


def test_every_metric_and_label_that_is_asked_for_is_there(series: list[Series]) -> None:
    for one in promql.asked():
        if not promql.is_of_flower(one.expr):  # these are tested where a Flower runs
            assert promql.unmet(one.expr, series) == [], one.where
            assert promql.unlabelled(one, series) == set(), one.where


@EACH
def test_what_two_processes_tell_is_never_added_up(one: Asked) -> None:
    for added in promql.summed(one.expr):
        ours = any(True for _ in promql.selectors(added.prettify(), "membersync_"))
        assert promql.is_one_of_each(added) or not ours


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("membersync_pendings", "no such metric"),
        ('membersync_pending{lanes="live"}', "nothing has lanes live"),
        ('membersync_pending{state="paused"}', "nothing has state paused"),
        ('membersync_pending{state=~"held|paused"}', "nothing has state paused"),
    ],
)
def test_a_slip_of_the_pen_would_be_found(expr: str, complaint: str, series: list[Series]) -> None:
    assert complaint in " ".join(promql.unmet(expr, series))


def test_the_alerts_are_those_that_the_runbook_knows_and_say_what_to_do() -> None:
    rules = promql.alerts()
    assert {rule["alert"] for rule in rules} == NAMES
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")
        assert rule["annotations"]["runbook_url"] == f"deploy/RUNBOOK.md#{rule['alert'].lower()}"


@pytest.mark.parametrize(
    "asked",
    [
        ["check", "rules", "--lint-fatal", str(promql.DEPLOY / "prometheus/alerts.yml")],
        ["test", "rules", *map(str, SITUATIONS)],
    ],
    ids=["check", "test"],
)
def test_prometheus_itself_finds_nothing_wrong_with_the_alerts(asked: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs promtool (Debian: prometheus)")
    ran = subprocess.run([promtool, *asked], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboard_can_be_imported_anywhere() -> None:
    dashboard = promql.dashboard()
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 39  # Grafana 11
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        for of in [panel, *panel.get("targets", [])]:
            if panel["type"] != "row":
                assert of["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in promql.dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells

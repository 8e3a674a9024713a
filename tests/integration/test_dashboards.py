"""The Grafana dashboard, the Prometheus alerts and the scalers ask only for what `/metrics` really gives."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from producers.site import create_app
from shared.ledger import call_limits
from shared.ledger.engine import transaction
from shared.lifecycle.concurrency import Rules
from shared.pipeline import Lane, Stage
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
    "MembersyncWebhookStuck",
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
    promtool(*asked)


def promtool(*asked: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs promtool (Debian: prometheus)")
    ran = subprocess.run([tool, *asked], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


WORKERS = 'membersync_processes{kind="worker",lane="%s",state="at_work"}'
USED = 'membersync_budget_used_ratio{name="crowdtwist"}'
DUE = 'membersync_pending{lane="%s",stage="oic",state="%s"}'


@pytest.mark.parametrize(
    ("lane", "series", "wanted"),
    [
        ("live", {DUE % ("live", "pending"): 0, WORKERS % "live": 8, USED: 0.1}, 0),
        # Three times what one worker has in its hands; the budget would feed twenty.
        ("live", {DUE % ("live", "pending"): 500, DUE % ("live", "running"): 100, WORKERS % "live": 8, USED: 0.1}, 3),
        # A million, and the budget is spent: no more than there are.
        ("live", {DUE % ("live", "pending"): 1_000_000, WORKERS % "live": 8, USED: 1}, 2),
        # Half of what loads may use is used.
        ("bulk", {DUE % ("bulk", "pending"): 1_000_000, WORKERS % "bulk": 8, USED: 0.4}, 4),
        # Nothing goes out: whoever is held will, all at once.  Whoever waits is not due.
        ("bulk", {DUE % ("bulk", "held"): 8_000, DUE % ("bulk", "waiting"): 9_000, WORKERS % "bulk": 4, USED: 0}, 5),
        # No budget is set.
        ("bulk", {DUE % ("bulk", "pending"): 16_000, WORKERS % "bulk": 4}, 10),
    ],
)
def test_a_scaler_wants_what_the_backlog_needs_and_the_budget_feeds(
    lane: str, series: dict[str, float], wanted: float, tmp_path: Path
) -> None:
    # Told by two processes, which are not added up.
    told = [
        {"series": f'{name[:-1]},instance="{instance}"}}', "values": f"{value}x9"}
        for name, value in series.items()
        for instance in "ab"
    ]
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump(
            {
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": told,
                        "promql_expr_test": [
                            {
                                "expr": promql.scalers()[f"membersync-worker-{lane}"],
                                "eval_time": "5m",
                                "exp_samples": [{"labels": "{}", "value": wanted}],
                            }
                        ],
                    }
                ]
            }
        ),
        encoding="utf-8",
    )
    promtool("test", "rules", str(tmp_path / "test.yml"))


def test_the_scalers_know_how_much_a_worker_has_in_its_hands() -> None:
    settings = Settings()
    asked = promql.scalers()
    assert len(asked) == len(Lane)
    for lane in Lane:
        hands = settings.dispatcher.batch(lane) * settings.worker.concurrency
        query = " ".join(asked[f"membersync-worker-{lane}"].split())
        assert f"}})) / {hands}, " in query
        assert f'state="at_work"}}) / {settings.worker.concurrency} /' in query
    assert f" / {1 - settings.crowdtwist.live_share}" in asked["membersync-worker-bulk"]


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

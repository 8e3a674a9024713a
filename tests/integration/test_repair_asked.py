"""Asking for a repair: over HTTP, at the command line, and what the console shows of it."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from producers.site import create_app
from shared.settings import Settings
from tests.calling import assert_problem, served
from tests.console import said
from tests.integration.test_repair import differs, read, reconciled, start, turn
from tests.road import Road
from tests.terminal import Terminal

WHY = ("--reason", "the workflow was inactive")


@pytest.fixture
def road(ledger: Engine) -> Road:
    """A ledger with a run of four differences."""
    road = Road(ledger)
    reconciled(road)
    road.accept("M-3")
    road.travel()
    for number, drift_class in (
        ("M-1", "never_sent"),
        ("M-2", "never_sent"),
        ("M-3", "missed_event"),
        ("M-4", "orphan"),
    ):
        differs(road, number, drift_class)
    return road


@pytest.fixture
def api(road: Road, ledger_url: str) -> Iterator[httpx.Client]:
    assert road.states() == {"completed": 1}
    with served(create_app(Settings(ledger_url=ledger_url))) as opened:
        yield opened


def test_a_repair_is_planned_then_made_then_followed_and_recorded(api: httpx.Client, road: Road) -> None:
    planned = api.post("/v1/repairs", json={"run": "1", "dry_run": True})
    assert (planned.status_code, planned.json()["kind"]) == (200, "repair")
    assert planned.json()["counts"] == {"send": 3, "overtaken": 0, "moving": 0, "refused": 1}
    asked = {"run": 1, "class": ["never_sent"], "reason": "the workflow was inactive"}
    made = api.post("/v1/repairs", json=asked)
    assert made.status_code == 202
    job = made.json()
    assert (job["kind"], job["total"], job["asked"]) == ("repair", 2, {"run": "1", "class": ["never_sent"]})
    assert made.headers["Location"] == f"/v1/repairs/{job['job_id']}"
    while not road.job(int(job["job_id"])).over:
        turn(road)
        read(road)
        road.travel()
    found = api.get(f"/v1/repairs/{job['job_id']}").json()
    assert (found["state"], found["counts"]["succeeded"]) == ("done", 2)
    assert [one["job_id"] for one in api.get("/v1/repairs").json()["items"]] == [job["job_id"]]
    assert api.get("/v1/reconciliations/1").json()["repaired"] == 2
    (line,) = road.sql("select what || ', ' || reason || ': ' || answer || ', ' || count from operator_action")
    assert line == f"repair, the workflow was inactive: job {job['job_id']}, 2"


def test_who_knows_which_of_two_masters_wins_forces_a_repair_and_the_audit_says_so(
    api: httpx.Client, road: Road, oscar: httpx.Client
) -> None:
    differs(road, "M-1", "never_sent", run=reconciled(road), repairs_so_far=2)
    asked = {"run": "1", "class": ["never_sent"]}
    counts = [
        api.post("/v1/repairs", json=asked | {"dry_run": True, "force": force}).json()["counts"]["send"]
        for force in (False, True)
    ]
    assert counts == [1, 2]
    plan = "/reconciliations/1/repair?class=never_sent"
    assert "1: two masters fight" in said(oscar.get(plan))
    assert f'href="{plan}&amp;force=yes"' in oscar.get(plan).text
    assert "Also what two masters fight about" in said(oscar.get(f"{plan}&force=yes"))
    assert api.post("/v1/repairs", json=asked | {"reason": "Siebel wins", "force": True}).json()["total"] == 2
    turn(road)
    assert road.sql("select count(*) from job_item where state in ('sent', 'planned')") == [2]
    assert road.sql("select asked from operator_action where what = 'repair'") == [asked | {"force": True}]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"reason": "x"}, 400, "invalid_parameter"),
        ({"run": "one", "reason": "x"}, 400, "invalid_parameter"),
        ({"run": "1", "class": ["rust"], "reason": "x"}, 400, "invalid_parameter"),
        ({"run": "1"}, 400, "invalid_parameter"),
        ({"run": "77", "reason": "x"}, 404, "no_such_reconciliation"),
        ({"run": "1", "class": ["orphan"], "reason": "x"}, 409, "all_refused"),
        ({"run": "1", "class": ["rolled_back"], "reason": "x"}, 409, "nothing_matched"),
    ],
)
def test_what_cannot_be_meant_is_said_to_be(api: httpx.Client, body: dict[str, object], status: int, code: str) -> None:
    assert_problem(api.post("/v1/repairs", json=body), status, code)
    assert_problem(api.get("/v1/repairs/77"), 404, "no_such_repair")


def test_the_command_plans_asks_and_makes_the_job(cli: Terminal, road: Road) -> None:
    planned = cli("repair", "1", "--dry-run", "--json")
    assert (planned.code, planned.json["plan"]["counts"]["send"]) == (0, 3)
    shown = cli("repair", "1", "--dry-run")
    assert "3  will be sent" in shown.out
    assert "no member in Siebel to make an event of" in shown.out
    made = cli("repair", "1", "--class", "never_sent", "--member", "M-1", *WHY, "--yes", "--no-wait", "--json")
    assert (made.code, made.json["job"]["total"]) == (0, 1)
    assert cli("repair", "77", *WHY, "--yes").code == 1
    assert cli("repair", "x", *WHY, "--yes").code == 2
    assert "--reason: say why" in cli("repair", "1", "--yes").err
    assert cli("repair", "1", "--class", "orphan", *WHY, "--yes").code == 1
    assert road.sql("select count(*) from job") == [1]


def test_what_a_repair_made_is_told_from_what_producers_sent(api: httpx.Client, cli: Terminal, road: Road) -> None:
    road.sql("update instance set origin = 'reconcile' where id = 1")
    road.accept("M-9")
    (found,) = api.get("/v1/instances?origin=reconcile").json()["items"]
    assert (found["instance_id"], found["origin"]) == ("1", "reconcile")
    assert [one["instance_id"] for one in cli("instances", "--origin", "reconcile", "--json").json["items"]] == ["1"]
    assert [one["origin"] for one in api.get("/v1/members/M-9").json()["instances"]] == [None]
    assert "origin reconcile" in cli("show", "1").out


def test_the_console_shows_it_beside_requeues(oscar: httpx.Client, road: Road) -> None:
    job = start(road)
    turn(road)
    assert f"repair {job}" in said(oscar.get("/jobs"))
    words = said(oscar.get(f"/jobs/{job}"))
    assert f"Repair {job}" in words
    assert "first 1 then 10 then the rest" in words
    while not road.job(job).over:
        read(road)
        road.travel()
        turn(road)
    words = said(oscar.get(f"/jobs/{job}"))
    assert "Finished: of 4, 3 succeeded, 1 refused." in words
    assert "no member in Siebel to make an event of" in words
    road.sql("update instance set origin = 'reconcile' where id = 1")
    assert "Origin reconcile: a repair made it" in said(oscar.get("/instances/1"))
    assert "origin reconcile" in said(oscar.get("/members/M-3"))

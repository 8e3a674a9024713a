"""Asking for a resend: over HTTP, at the command line, and what the console shows of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import Engine

from producers.site import create_app
from shared.ledger.transitions import resends
from shared.settings import Settings
from tests.calling import assert_problem, served
from tests.console import post, said
from tests.resending import GONE, Answering, errands_of, start, taken, until_over
from tests.road import Road
from tests.terminal import Terminal

SINCE = ("--acknowledged-since", "1h")
WHY = ("--reason", "CrowdTwist was restored")
TOKENS = {"v-token": {"name": "vera", "role": "viewer"}, "o-token": {"name": "oscar", "role": "operator"}}


@pytest.fixture
def road(ledger: Engine) -> Road:
    road = Road(ledger)
    road.accept("M-1", "M-2", "M-3")
    road.travel()
    return road


@pytest.fixture
def api(road: Road, ledger_url: str) -> Iterator[httpx.Client]:
    assert road.states() == {"completed": 3}
    with served(create_app(Settings(ledger_url=ledger_url))) as opened:
        yield opened


@contextmanager
def answering(road: Road, crowdtwist: Answering = taken) -> Iterator[None]:
    """Advance jobs and end their errands, all the time."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            road.turn()
            errands_of(road, crowdtwist)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def test_a_resend_is_planned_then_made_then_followed_and_recorded(api: httpx.Client, road: Road) -> None:
    asked = {"acknowledged_since": "1h", "reason": "restored"}
    planned = api.post("/v1/resends", json={"acknowledged_since": "1h", "dry_run": True})
    assert (planned.status_code, planned.json()["kind"]) == (200, "resend")
    assert planned.json()["counts"] == {"send": 3, "merged": 0, "superseded": 0, "refused": 0}
    made = api.post("/v1/resends", json=asked | {"recreate": True, "rate": 600, "filter": {"member": ["M-1", "M-2"]}})
    assert made.status_code == 202
    job = made.json()
    assert (job["kind"], job["total"], job["recreates"], job["rate_per_minute"]) == ("resend", 2, True, 600)
    assert set(job["asked"]) == {"acknowledged_since", "filter"}
    assert made.headers["Location"] == f"/v1/resends/{job['job_id']}"
    until_over(road, int(job["job_id"]))
    found = api.get(f"/v1/resends/{job['job_id']}").json()
    assert (found["state"], found["counts"]["succeeded"], found["counts"]["gone"]) == ("done", 2, 0)
    assert [one["job_id"] for one in api.get("/v1/resends").json()["items"]] == [job["job_id"]]
    assert api.get("/v1/requeues").json()["items"] == []
    assert_problem(api.get(f"/v1/requeues/{job['job_id']}"), 404, "no_such_requeue")
    assert_problem(api.get("/v1/resends/77"), 404, "no_such_resend")
    assert_problem(api.post(f"/v1/resends/{job['job_id']}/stop"), 409, "job_is_over")
    (line,) = road.sql(
        "select what || ', ' || reason || ': ' || answer || ', ' || count from operator_action where what = 'resend'"
    )
    assert line == f"resend, restored: job {job['job_id']}, 2"


def test_a_resend_that_goes_on_is_stopped(api: httpx.Client, road: Road) -> None:
    job = api.post("/v1/resends", json={"acknowledged_since": "1h", "reason": "restored"}).json()["job_id"]
    road.turn()
    stopped = api.post(f"/v1/resends/{job}/stop").json()
    assert (stopped["state"], stopped["counts"]["put_back"]) == ("stopped", 3)
    assert errands_of(road) == []


def test_what_was_acknowledged_after_the_end_is_left_alone(api: httpx.Client, road: Road) -> None:
    road.sql("update member set acknowledged_at = now() - interval '30 min' where member_number <> 'M-3'")
    body = {"acknowledged_since": "1h", "acknowledged_until": "10m", "dry_run": True}
    assert api.post("/v1/resends", json=body).json()["matched"] == 2
    assert api.post("/v1/resends", json=body | {"filter": {"limit": 1}}).json()["matched"] == 1
    assert api.post("/v1/resends", json=body | {"filter": {"member": ["M-1", "M-3"]}}).json()["matched"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"reason": "x"}, 400, "invalid_parameter", "acknowledged_since"),
        ({"acknowledged_since": "", "reason": "x"}, 400, "invalid_parameter", "acknowledged_since"),
        ({"acknowledged_since": "yesterday", "reason": "x"}, 400, "invalid_parameter", "acknowledged_since"),
        ({"acknowledged_since": "1h", "acknowledged_until": "?", "reason": "x"}, 400, "invalid_parameter", None),
        (
            {"acknowledged_since": "1h", "acknowledged_until": "2h", "dry_run": True},
            400,
            "invalid_parameter",
            "acknowledged_until",
        ),
        ({"acknowledged_since": "1h"}, 400, "invalid_parameter", "reason"),
        ({"acknowledged_since": "1h", "reason": " "}, 400, "invalid_parameter", "reason"),
        ({"acknowledged_since": "1h", "reason": "x", "ids": ["1"]}, 400, "invalid_parameter", "ids"),
        ({"acknowledged_since": "2100-01-01", "reason": "x"}, 409, "nothing_matched", None),
    ],
)
def test_what_cannot_be_meant_is_said_to_be(
    api: httpx.Client, body: dict[str, object], status: int, code: str, field: str | None
) -> None:
    answer = api.post("/v1/resends", json=body)
    assert_problem(answer, status, code)
    assert field is None or answer.json()["field"] == field


def test_a_viewer_may_look_and_not_ask(road: Road, ledger_url: str) -> None:
    of = Settings(ledger_url=ledger_url)
    guarded = of.model_copy(update={"api": of.api.model_validate({"tokens": TOKENS})})
    with served(create_app(guarded)) as api:
        body = {"acknowledged_since": "1h", "reason": "restored"}
        vera = {"Authorization": "Bearer v-token"}
        assert_problem(api.post("/v1/resends", json=body, headers=vera), 403, "forbidden")
        assert api.get("/v1/resends", headers=vera).json()["items"] == []
    assert road.sql("select who, what, denied from operator_action") == [("vera", "resend", True)]


def test_the_command_shows_the_plan_and_then_sends(cli: Terminal, road: Road) -> None:
    planned = cli("resend", *SINCE, "--dry-run")
    foreseen, sent = planned.out.splitlines()[:2]
    assert (planned.code, foreseen) == (0, "no forecast: no worker serves the bulk lane")
    assert sent.split()[:4] == ["3", "will", "be", "sent"]
    assert road.sql("select count(*) from job") == [0]
    with answering(road, lambda work: GONE if work.member_number == "M-2" else taken(work)):
        ran = cli("resend", *SINCE, *WHY, "--yes", "--json")
    assert (ran.code, ran.json["job"]["kind"], ran.json["job"]["state"]) == (0, "resend", "done")
    assert {state: count for state, count in ran.json["job"]["counts"].items() if count} == {"succeeded": 2, "gone": 1}
    shown = cli("jobs", ran.json["job"]["job_id"])
    assert f"instance 2 of member M-2: gone, {resends.MAY_BE_ERASED}" in shown.out


def test_the_command_asks_for_what_it_needs(cli: Terminal, road: Road) -> None:
    assert road.states() == {"completed": 3}
    assert cli("resend", *WHY).code == 2
    assert cli("resend", "--acknowledged-since", "yesterday", *WHY).code == 2
    backwards = cli("resend", *SINCE, "--acknowledged-until", "2d", "--dry-run")
    assert (backwards.code, "acknowledged_until: must be after" in " ".join(backwards.err.split())) == (2, True)
    assert "--reason: say why" in cli("resend", *SINCE, "--yes").err
    assert cli("resend", "--acknowledged-since", "2100-01-01", *WHY, "--yes").code == 1
    assert "add --yes" in cli("resend", *SINCE, *WHY, "--json").err
    assert road.sql("select count(*) from job") == [0]


def test_the_console_shows_it_beside_requeues(oscar: httpx.Client, road: Road) -> None:
    job = start(road)
    road.turn()
    assert f"resend {job}" in said(oscar.get("/jobs"))
    words = said(oscar.get(f"/jobs/{job}"))
    assert f"Resend {job}" in words
    assert "first 1 then 10 then the rest" in words
    assert "acknowledged since" in words
    assert "only named, never created again" in words
    until_over(road, job, lambda work: GONE if work.member_number == "M-2" else taken(work))
    words = said(oscar.get(f"/jobs/{job}"))
    assert "Finished: of 3, 2 succeeded, 1 gone in CrowdTwist." in words
    assert resends.MAY_BE_ERASED in words


def test_the_console_stops_it(oscar: httpx.Client, road: Road) -> None:
    job = start(road)
    road.turn()
    assert post(oscar, f"/jobs/{job}", f"/jobs/{job}/stop").status_code == 303
    assert road.counts(job) == {"put_back": 3}

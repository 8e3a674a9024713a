"""Dead letters over HTTP: causes, plans, jobs, roles, and what is recorded of operators."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from producers.site import create_app
from shared.settings import Settings
from tests.calling import assert_problem, served
from tests.road import ALWAYS_REFUSED, Road
from tests.unpacking import unpack_events

TOKENS = {
    "p-token": {"name": "siebel", "role": "producer"},
    "v-token": {"name": "vera", "role": "viewer"},
    "o-token": {"name": "oscar", "role": "operator"},
    "a-token": {"name": "ada", "role": "admin"},
}
WELL = "CrowdTwist is well again"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    with served(create_app(Settings(ledger_url=ledger_url))) as opened:
        yield opened


@pytest.fixture
def guarded(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    settings = Settings(ledger_url=ledger_url)
    api = settings.api.model_validate({"tokens": TOKENS, "host": "0.0.0.0"})  # noqa: S104  # nothing listens
    with served(create_app(settings.model_copy(update={"api": api})), host="membersync") as opened:
        yield opened


def test_dead_letters_are_grouped_or_listed(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    road.accept("M-3")
    road.travel(ALWAYS_REFUSED)
    (group,) = client.get("/v1/dead-letters").json()["items"]
    assert " ".join(group) == "stage code message count first_at last_at fixed coming fingerprint notes"
    assert (group["message"], group["count"]) == ("CrowdTwist: answered 503", 2)
    (refused,) = client.get("/v1/dead-letters", params={"state": "rejected"}).json()["items"]
    assert refused["code"] == "data_error"
    page = client.get("/v1/dead-letters", params={"list": True, "limit": 1}).json()
    assert ([one["member_number"] for one in page["items"]], page["next"]) == (["M-2"], "2")
    assert_problem(client.get("/v1/dead-letters?state=completed"), 400, "invalid_parameter")


def test_a_requeue_is_planned_then_made_then_followed(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    asked: dict[str, Any] = {"filter": {"code": ["unavailable"]}, "reason": WELL}
    planned = client.post("/v1/requeues", json=asked | {"dry_run": True})
    assert planned.status_code == 200
    assert planned.json()["counts"] == {"send": 2, "merged": 0, "superseded": 0, "refused": 0}
    made = client.post("/v1/requeues", json=asked | {"rate": 6000})
    assert (made.status_code, made.headers["location"]) == (202, "/v1/requeues/1")
    assert (made.json()["state"], made.json()["counts"]["planned"]) == ("planned", 2)
    road.until_over(1)
    seen = client.get("/v1/requeues/1").json()
    assert (seen["state"], seen["counts"]["succeeded"], seen["rate_per_minute"]) == ("done", 2, 6000)
    listed = client.get("/v1/requeues").json()
    assert ([one["job_id"] for one in listed["items"]], listed["next"]) == (["1"], None)
    assert_problem(client.post("/v1/requeues/1/stop"), 409, "job_is_over")


def test_a_requeue_is_stopped_and_put_back(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    client.post("/v1/requeues", json={"ids": [1, "2"], "reason": WELL})
    road.turn()
    stopped = client.post("/v1/requeues/1/stop")
    assert (stopped.status_code, stopped.json()["state"], stopped.json()["counts"]["put_back"]) == (200, "stopped", 2)
    assert stopped.json()["troubled"] == []
    assert road.states() == {"dead": 2}


def test_a_discard_is_made_and_followed(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    assert_problem(client.post("/v1/discards", json={"ids": ["1"]}), 400, "invalid_parameter")
    made = client.post("/v1/discards", json={"ids": ["1"], "reason": "a test member"})
    assert (made.status_code, made.headers["location"]) == (202, "/v1/discards/1")
    road.until_over(1)
    assert client.get("/v1/discards/1").json()["counts"]["closed"] == 1
    assert_problem(client.get("/v1/requeues/1"), 404, "no_such_requeue")
    assert_problem(client.get("/v1/discards/77"), 404, "no_such_discard")


def test_a_discard_is_listed_and_stopped_like_a_requeue(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    client.post("/v1/requeues", json={"ids": ["1"]})
    client.post("/v1/discards", json={"ids": ["2"], "reason": "a test member"})
    assert [one["job_id"] for one in client.get("/v1/requeues").json()["items"]] == ["1"]
    assert [one["job_id"] for one in client.get("/v1/discards").json()["items"]] == ["2"]
    assert_problem(client.post("/v1/discards/1/stop"), 404, "no_such_discard")
    stopped = client.post("/v1/discards/2/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert_problem(client.post("/v1/discards/2/stop"), 409, "job_is_over")
    road.turn()
    assert road.sql("select state from instance where id = 2") == ["dead"]
    stops = road.sql("select who, asked, answer from operator_action where what = 'stop discard' order by id")
    assert stops == [
        ("local", {"job": "2"}, "stopped"),
        ("local", {"job": "2"}, "refused: no such job, or it is over"),
    ]


def test_where_nothing_is_to_be_done_the_plan_says_why(client: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    assert_problem(client.post("/v1/requeues", json={"filter": {"code": ["bug"]}}), 409, "nothing_matched")
    refused = client.post("/v1/requeues", json={"ids": ["1"]})
    assert_problem(refused, 409, "all_refused")
    assert refused.json()["plan"]["reasons"] == [{"verdict": "refused", "reason": "it is pending", "count": 1}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", ""),
        ("{}", "ids"),
        ('{"ids": ["x"]}', "ids.0"),
        ('{"ids": [1], "filter": {"code": ["bug"]}}', "ids"),
        ('{"filter": {}}', "filter"),
        ('{"filter": {"state": ["lost"]}}', "filter.state.0"),
        ('{"filter": {"since": "soon"}}', "since"),
        ('{"ids": [1], "rate": 0}', "rate"),
        ('{"ids": [1], "rush": true}', "rush"),
        ('{"ids": [1], "reason": "a\\u0000b"}', "reason"),
        ('{"ids": [1], "rate": "6000"}', "rate"),
    ],
)
def test_a_body_that_cannot_be_meant_is_400_with_its_field(
    client: httpx.Client, road: Road, body: str, field: str
) -> None:
    road.dead("M-1", "M-2")
    answer = client.post("/v1/requeues", content=body)
    assert_problem(answer, 400, "invalid_parameter")
    assert answer.json()["field"] == field
    assert road.sql("select count(*) from job") == [0]


def test_who_requeues_more_than_one_is_asked_why(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    answer = client.post("/v1/requeues", json={"filter": {"state": ["dead"]}})
    assert_problem(answer, 409, "reason_required")
    assert (answer.json()["field"], answer.json()["detail"]) == ("reason", "reason: say why")
    assert road.sql("select count(*) from job") == [0]


def test_a_rehearsal_names_nobody(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    unpack_events(road.ledger)
    road.sql(
        """update payload set event_json = jsonb_set(cast(event_json as jsonb), '{member,first_name}', '"Anastasia"')"""
    )
    answer = client.post("/v1/requeues/rehearse", json={"ids": ["1"]})
    assert answer.status_code == 200
    (shown,) = answer.json()["items"]
    assert shown["outcome"] == "differs"
    assert {"field": "first_name", "change": "added", "before": None, "after": "A***"} in shown["changes"]
    assert "Anastasia" not in answer.text


def test_only_operators_change_things_and_who_else_tries_is_recorded(guarded: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    for token in ("p-token", "v-token"):
        for path in ("/v1/requeues", "/v1/discards", "/v1/requeues/rehearse", "/v1/requeues/1/stop"):
            assert_problem(guarded.post(path, content="{", headers=bearer(token)), 403, "forbidden")
    assert_problem(guarded.post("/v1/requeues", content="{"), 401, "unauthorised")
    assert guarded.get("/v1/dead-letters", headers=bearer("p-token")).status_code == 403
    assert guarded.get("/v1/dead-letters", headers=bearer("v-token")).status_code == 200
    denied = road.sql("select who, role, what from operator_action where denied order by id")
    assert denied[4:] == [
        ("vera", "viewer", "requeue"),
        ("vera", "viewer", "discard"),
        ("vera", "viewer", "rehearse"),
        ("vera", "viewer", "stop requeue"),
    ]


def test_what_was_denied_is_recorded_with_what_it_would_have_been_done_to(guarded: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    for body in (
        {"ids": ["1"], "reason": "x"},
        {"filter": {"state": ["dead"]}},
        {"ids": "?"},
        {"filter": {"text": "\0"}},
    ):
        assert guarded.post("/v1/requeues", json=body, headers=bearer("v-token")).status_code == 403
    asked = road.sql("select asked from operator_action where denied order by id")
    assert asked == [{"ids": ["1"]}, {"filter": {"states": ["dead"]}}, None, None]
    assert guarded.post("/v1/requeues", json={"ids": ["1"]}, headers=bearer("o-token")).status_code == 202
    assert road.sql("select who, role, what, asked, count, answer from operator_action where not denied") == [
        ("oscar", "operator", "requeue", {"ids": ["1"]}, 1, "job 1")
    ]
    assert guarded.get("/v1/requeues/1", headers=bearer("v-token")).json()["requested_by"] == "oscar"


def test_a_body_without_end_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/requeues", content=b"[" + b"1," * 1_500_000)
    assert_problem(answer, 413, "body_too_large")


def test_the_description_has_bodies_with_examples_that_work(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    described = client.get("/openapi.json").json()
    assert "$defs" not in str(described)
    for path in ("/v1/requeues", "/v1/discards", "/v1/requeues/rehearse"):
        content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"]["properties"]["filter"]
        for example in content["examples"].values():
            assert client.post(path, json=example["value"]).status_code in {200, 202, 409}

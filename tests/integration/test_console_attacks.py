"""What somebody who means harm, or clicks twice, sends to the console and to the api beside it."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import create_engine

from shared.settings import Settings
from tests.calling import assert_problem
from tests.console import console, hidden, logged_in, post, said
from tests.road import Road

PLAN = "/dead-letters/plan"
VIEWER = {"Authorization": "Bearer tok-vera", "Accept": "application/json"}
OPERATOR = VIEWER | {"Authorization": "Bearer tok-oscar"}
MANY = 5_000
SOON_S = 3.0
"""Of this process's CPU, the server's too, however busy the machine is."""


@pytest.fixture
def vera(client: httpx.Client) -> httpx.Client:
    return logged_in(client, "tok-vera")


def denied(road: Road) -> list[tuple[str, dict[str, object] | None]]:
    return road.sql("select what, asked from operator_action where denied order by id")


@pytest.mark.parametrize("page", ["/instances", "/instances.csv", "/dead-letters"])
def test_a_filter_with_thousands_of_members_is_refused_at_once(vera: httpx.Client, road: Road, page: str) -> None:
    road.dead("M-1")
    began = time.process_time()
    answer = vera.get(f"{page}?" + "&".join(f"member=M-{number}" for number in range(MANY // 2)))
    assert time.process_time() - began < SOON_S
    assert answer.status_code == 400
    assert "names more than 100" in said(answer)


@pytest.mark.parametrize("page", ["/instances", "/v1/instances", "/v1/dead-letters"])
def test_a_state_named_thousands_of_times_is_searched_once(vera: httpx.Client, road: Road, page: str) -> None:
    road.dead("M-1")
    began = time.process_time()
    answer = vera.get(f"{page}?text=M-1&" + "&".join(["state=dead"] * MANY), headers=VIEWER)
    assert time.process_time() - began < SOON_S
    assert answer.status_code == 200


def test_a_requeue_that_names_a_state_thousands_of_times_searches_it_once(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    began = time.process_time()
    asked = {"filter": {"state": ["dead"] * MANY * 10, "text": "M-"}, "dry_run": True}
    answer = oscar.post("/v1/requeues", json=asked, headers=OPERATOR)
    assert time.process_time() - began < SOON_S
    assert answer.json()["matched"] == 1


@pytest.mark.parametrize(
    "path", ["/instances/{}/unmask", "/members/{}/unmask", "/connections/{}/test", "/connections/{}/pause"]
)
@pytest.mark.parametrize("word", ["%00", "x%1By", "9" * 30, "a" * 5_000], ids=["NUL", "escape", "digits", "long"])
def test_what_is_denied_is_recorded_whatever_the_address_holds(
    vera: httpx.Client, road: Road, path: str, word: str
) -> None:
    assert post(vera, "/", path.format(word)).status_code == 403
    ((_, asked),) = denied(road)
    assert 0 < len(str(asked)) < 200


@pytest.mark.parametrize("path", ["/v1/connections/%00/test", f"/v1/requeues/{'9' * 30}/stop"])
def test_what_the_api_denies_is_recorded_whatever_the_address_holds(vera: httpx.Client, road: Road, path: str) -> None:
    assert_problem(vera.post(path, headers=VIEWER), 403, "forbidden")
    assert len(denied(road)) == 1


@pytest.mark.parametrize("action", ["pause", "resume", "test"])
def test_a_reason_with_control_characters_is_refused_and_nothing_is_done(
    oscar: httpx.Client, road: Road, action: str
) -> None:
    answer = post(oscar, "/connections", f"/connections/oic/{action}", reason="a\x00b")
    assert answer.status_code == 400
    assert "reason: contains a control character" in said(answer)
    assert road.sql("select count(*) from operator_action") == [0]
    assert road.sql("select name from connection where paused") == []


def test_a_form_sent_several_times_at_once_starts_one_job(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    address = f"{PLAN}?kind=requeue&ids=1&ids=2&ids=3"
    fields = hidden(oscar.get(address)) | {"reason": "twice", "rate": "1"}
    with ThreadPoolExecutor(4) as clicks:
        answers = list(clicks.map(lambda _: post(oscar, address, "/jobs", **fields), range(4)))
    assert [(one.status_code, one.headers["location"]) for one in answers] == [(303, "/jobs/1")] * 4
    assert road.sql("select count(*) from job") == [1]


def test_two_plans_of_the_same_instances_are_two_forms(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    address = f"{PLAN}?kind=requeue&ids=1"
    keys = [hidden(oscar.get(address))["idempotency_key"] for _ in range(2)]
    assert keys[0] != keys[1]


def test_a_plan_of_as_many_but_other_instances_is_shown_again(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    address = f"{PLAN}?kind=discard&state=dead"
    fields = hidden(oscar.get(address)) | {"reason": "test members"}
    road.sql("update instance set state = 'completed' where id = 1 returning id")
    road.dead("M-2")
    answer = post(oscar, address, "/jobs", **fields)
    assert answer.status_code == 409
    assert "meanwhile the plan is another" in said(answer)
    assert road.sql("select count(*) from job") == [0]


def test_a_cause_that_names_somebody_is_recorded_without_them(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    fields = {"state": "dead", "message": "zoe.x@example.org is known"}
    page = oscar.get(PLAN, params=fields)
    assert "zoe.x" not in said(page)


@pytest.mark.parametrize("address", ["/live/instances/99", "/live/instances/x", "/live/members/nobody"])
def test_a_stream_of_what_is_not_there_says_that_it_is_over(vera: httpx.Client, address: str) -> None:
    with vera.stream("GET", address) as answer:
        assert answer.read() == b"event: over\ndata: {}\n\n"


def test_only_a_page_that_was_looked_at_tries_again_when_the_ledger_is_away(ledger_url: str) -> None:
    away = create_engine(ledger_url).url.set(host="127.0.0.1", port=9).render_as_string(hide_password=False)
    with console(Settings(_env_file=None, ledger_url=away)) as client:
        logged_in(client, "tok-oscar")
        looked = client.get("/jobs")
        assert (looked.status_code, looked.headers["refresh"]) == (503, "5")
        done = post(client, "/login", "/connections/oic/resume")
        assert done.status_code == 503
        assert "refresh" not in done.headers
        assert "Go back, and do it again" in said(done)

"""The console's plan of a requeue or discard before it happens, and the rehearsal."""

import httpx
import pytest
from sqlalchemy import Engine

from producers.intake.accept import IntakeRules, accept
from shared.errors import UnavailableError
from shared.events import parse_event
from shared.pipeline import Lane
from shared.settings import OicSettings, Settings
from tests.console import console, hidden, link, logged_in, post, said
from tests.rig import member_event
from tests.road import Road

LETTERS = "/dead-letters"
PLAN = "/dead-letters/plan"
GARBLED = UnavailableError("CrowdTwist", "answered something that is not JSON", 200)


def confirm(client: httpx.Client, address: str, **fields: str) -> httpx.Response:
    return post(client, address, "/jobs", **hidden(client.get(address)) | fields)


def garbled(road: Road, *numbers: str) -> None:
    road.accept(*numbers)
    road.travel(lambda _: GARBLED)


def test_a_plan_says_before_anything_happens_what_becomes_of_each(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    road.accept("M-1", minute=1)
    road.travel()
    road.accept("M-2", minute=1)
    road.accept("M-4")
    words = said(oscar.get(f"{PLAN}?kind=requeue&ids=1&ids=2&ids=3&ids=6&ids=99"))
    assert "5 instances" in words
    assert "1 will be sent" in words
    assert "1 closed as superseded: a newer success overtook it" in words
    assert "1 merged into a newer pending event" in words
    assert "2 refused" in words
    assert "1: there is no such instance, or it was pruned" in words
    assert road.sql("select count(*) from job") == [0]


def test_a_confirmed_plan_becomes_a_job_of_exactly_that_cause(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    garbled(road, "M-3", "M-4")
    address = link(oscar.get(f"{LETTERS}?lane=live"), "Requeue …", 1)
    answer = confirm(oscar, address, reason="CrowdTwist is well again", rate="60000", from_start="yes")
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/1")
    assert road.sql("select instance_id from job_item order by 1") == [3, 4]
    ((who, rate, from_start, asked),) = road.sql("select requested_by, rate_per_minute, from_start, asked from job")
    assert (who, rate, from_start) == ("oscar", 60000, True)
    assert asked["message"] == "CrowdTwist: answered something that is not JSON"
    assert asked["filter"]["lane"] == "live"
    shown = oscar.get("/jobs/1")
    assert "The requeue was started" in said(shown)
    assert "The requeue was started" not in said(oscar.get("/jobs/1"))
    road.until_over(1)
    assert road.states() == {"dead": 2, "completed": 2}


def test_ticked_rows_are_planned_and_discarded(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    planned = post(oscar, LETTERS, PLAN, kind="discard", ids=["1", "3"], back=LETTERS)
    assert planned.status_code == 303
    address = planned.headers["location"]
    assert "2 will be discarded, for good" in said(oscar.get(address))
    assert confirm(oscar, address, reason="test members").headers["location"] == "/jobs/1"
    road.until_over(1)
    assert road.states() == {"dead": 1, "discarded": 2}


def test_nothing_ticked_is_never_everything(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    answer = post(oscar, LETTERS, PLAN, kind="discard", back=f"{LETTERS}?lane=live")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{LETTERS}?lane=live")
    assert "Tick at least one instance" in said(oscar.get(f"{LETTERS}?lane=live"))


def test_a_large_cause_is_carried_by_its_name_not_by_its_ids(oscar: httpx.Client, road: Road) -> None:
    road.dead(*[f"M-{number}" for number in range(300)])
    address = link(oscar.get(LETTERS), "Requeue …")
    page = oscar.get(address)
    assert "300 will be sent" in said(page)
    assert "ids" not in hidden(page)
    assert confirm(oscar, address, reason="well again").headers["location"] == "/jobs/1"
    assert road.sql("select count(*) from job_item") == [300]


def test_without_a_reason_nothing_starts_and_what_was_typed_stays(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    for fields in ({"reason": " ", "rate": "77"}, {"reason": "77", "rate": "many"}):
        answer = confirm(oscar, f"{PLAN}?kind=requeue&state=dead", from_start="yes", **fields)
        assert answer.status_code == 400
        assert "Nothing was started" in said(answer)
        assert 'aria-invalid="true"' in answer.text
        assert 'value="77"' in answer.text
        assert 'name="from_start" value="yes" checked' in answer.text
    assert confirm(oscar, f"{PLAN}?kind=discard&ids=1").status_code == 400
    assert road.sql("select count(*) from job") == [0]


def test_one_alone_is_requeued_without_a_reason(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    assert confirm(oscar, f"{PLAN}?kind=requeue&ids=1").headers["location"] == "/jobs/1"


def test_a_plan_that_is_another_by_now_is_shown_instead_of_started(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    address = f"{PLAN}?kind=requeue&state=dead"
    fields = hidden(oscar.get(address))
    road.dead("M-2")
    answer = post(oscar, address, "/jobs", **fields, reason="well again")
    assert answer.status_code == 409
    assert "meanwhile the plan is another" in said(answer)
    assert "2 will be sent" in said(answer)
    assert 'value="well again"' in answer.text
    assert road.sql("select count(*) from job") == [0]
    assert post(oscar, address, "/jobs", **hidden(answer), reason="well again").headers["location"] == "/jobs/1"


def test_what_was_requeued_too_often_is_sent_by_force_after_the_plan_said_so(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    road.sql("update instance set resubmits = 10")
    address = f"{PLAN}?kind=requeue&ids=1"
    assert "MEMBERSYNC_REQUEUE_MAX" in said(oscar.get(address))
    assert "Requeue 1 instance" not in said(oscar.get(address))
    again = post(oscar, address, PLAN, kind="requeue", ids="1", force="yes").headers["location"]
    assert "Requeue 1 instance" in said(oscar.get(again))
    assert confirm(oscar, again, force="yes").headers["location"] == "/jobs/1"


def test_nothing_that_matches_is_said_plainly(oscar: httpx.Client, road: Road) -> None:
    assert road.states() == {}
    assert "Nothing matches" in said(oscar.get(f"{PLAN}?kind=requeue&state=dead"))
    empty = post(oscar, LETTERS, "/jobs", kind="requeue", state="dead", planned="", reason="x")
    assert empty.status_code == 409


@pytest.mark.parametrize(
    "query",
    ["", "kind=delete&ids=1", "ids=x", "state=dead&message=a%00", "state=running&message=a", "ids=1&cursor=2&kind="],
)
def test_a_plan_that_cannot_be_read_is_a_page_that_says_why(oscar: httpx.Client, query: str) -> None:
    answer = oscar.get(f"{PLAN}?{query}")
    assert answer.status_code == 400
    assert "<h1>Bad Request</h1>" in answer.text


def test_a_rehearsal_shows_field_by_field_what_would_be_sent_now(oscar: httpx.Client, road: Road) -> None:
    items = [(number, parse_event(member_event(f"M-{number}"), max_bytes=64_000)) for number in (1, 2)]
    accept(road.ledger, items, IntakeRules(Lane.LIVE))
    road.dead("M-3")
    page = post(oscar, LETTERS, "/dead-letters/rehearse", ids=["1", "2", "3"], back=LETTERS)
    words = said(page)
    assert "3 instances: 2 would be sent differently, 0 the same, 1 would be refused by the mapping" in words
    assert "last_name added nothing L***" in words
    assert "Contact First Name is missing" in words
    assert "example.org" not in page.text
    assert road.sql("select what, answer, count from operator_action") == [("rehearse", "shown", 3)]
    again = post(oscar, LETTERS, PLAN, **hidden(page, PLAN)).headers["location"]
    assert 'name="from_start" value="yes" checked' in oscar.get(again).text


def test_a_rehearsal_that_cannot_be_held_says_why(ledger: Engine, ledger_url: str) -> None:
    road = Road(ledger)
    road.dead("M-1")
    remote = OicSettings(mode="remote", base_url="http://127.0.0.1:9", username="u", password="p")
    with console(Settings(_env_file=None, ledger_url=ledger_url, oic=remote)) as client:
        oscar = logged_in(client, "tok-oscar")
        answer = post(oscar, LETTERS, "/dead-letters/rehearse", ids="1", back=LETTERS)
        assert answer.headers["location"] == LETTERS
        assert "the mapping runs in Oracle Integration" in said(oscar.get(LETTERS))


def test_a_way_back_leads_to_pages_of_ours_only(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    page = oscar.get(f"{PLAN}?ids=1&back=//evil.example")
    assert "evil" not in link(page, "Back")

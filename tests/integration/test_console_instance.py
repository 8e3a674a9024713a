"""One instance and one member in the console: their story, who may act, who may see people."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, accept
from producers.site import create_app
from shared.events import parse_event
from shared.pipeline import Lane
from shared.settings import Settings, Token
from tests.calling import served
from tests.console import HTML, logged_in, post
from tests.road import NOW, Road

TOKENS = {
    "tok-vera": Token(name="vera", role="viewer"),
    "tok-oscar": Token(name="oscar", role="operator"),
    "tok-ada": Token(name="ada", role="admin"),
}
HOSTILE = "<script>alert('1')</script>\"&"
PERSON = {"first_name": "Andy", "last_name": HOSTILE, "email_address": "andy.cole@example.org", "postal_code": "10010"}
CALL = {
    "method": "PUT",
    "url": "/v2/users/A-1?id_type=third_party_id",
    "http_status": 503,
    "took_ms": 12.5,
    "request": {"first_name": "A***", "note": f"{HOSTILE}\x1b"},
    "response": "<html>busy</html>",
}
HURT = text("""
    update instance set error = :hostile, code = :hostile, reason = :hostile, state = 'rejected', failed_stage = 'oic',
                        status = 'Data Error', finished_at = now()
""")
TOLD = text("update member set told_status = :hostile, told_error = :hostile, told_id = 1, told_at = now()")


@contextmanager
def console(ledger_url: str, tokens: dict[str, Token]) -> Iterator[httpx.Client]:
    of = Settings(_env_file=None, ledger_url=ledger_url)
    with served(create_app(of.model_copy(update={"api": of.api.model_copy(update={"tokens": tokens})}))) as one:
        one.headers.update(HTML)
        yield one


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    with console(ledger_url, TOKENS) as one:
        yield one


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def take(ledger: Engine, number: str, **fields: Any) -> None:  # noqa: ANN401
    """Accept an event of one member with these fields."""
    member = {"member_number": number, **fields}
    raw = {"event_id": f"E-{number}", "operation": "update", "occurred_at": NOW.isoformat(), "member": member}
    accept(ledger, [(0, parse_event(raw, max_bytes=64_000))], IntakeRules(Lane.LIVE))


def note_call(ledger: Engine, instance_id: int, call: dict[str, Any]) -> None:
    """Add an attempt with one call to an instance's activity."""
    line = text("""
        insert into activity (instance_id, stage, attempt, state, what, code, took_ms, task_id, calls)
        values (:id, 'crowdtwist', 2, 'waiting', 'could not serve us', 'unavailable', 12.5, 'T/9',
                cast(:calls as jsonb))
    """)
    with ledger.begin() as tx:
        tx.execute(line, {"id": instance_id, "calls": json.dumps([call])})


def said(page: str, name: str) -> str:
    """Return a section's text without tags."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found, name
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0])))


def audit(road: Road) -> list[Any]:
    return road.sql("select who, what, denied, asked, count from operator_action order by id")


def test_an_instance_tells_its_way_and_every_attempt_with_its_calls(client: httpx.Client, road: Road) -> None:
    road.dead("A-1")
    note_call(road.ledger, 1, CALL)
    page = logged_in(client, "tok-vera").get("/instances/1").text
    facts = said(page, "facts")
    assert "dead letter at CrowdTwist" in facts
    assert "Would be told CT Failure: nobody has been told it yet" in facts
    assert "look at what one of them sends" in facts
    way = said(page, "way")
    assert re.search("Siebel sent this update .*OIC done .*CrowdTwist given up .*Siebel not reached", way)
    activity = said(page, "activity")
    assert re.search(r"Intake .*pending .*accepted .*OIC .*attempt 1 .*CrowdTwist .*dead", activity)
    assert "PUT /v2/users/A-1?id_type=third_party_id 503, 12 ms" in activity
    assert "<html>busy</html>" in activity
    assert re.search(r'href="[^"]+/task/T/9"', page)
    assert 'href="/members/A-1"' in page


def test_hostile_text_is_text_in_every_place(client: httpx.Client, road: Road) -> None:
    fields = ("row_id", "status", "language", "first_name", "middle_name", "city", "country_code", "ct_city_id")
    take(road.ledger, HOSTILE, **PERSON, **dict.fromkeys(set(fields) - PERSON.keys(), HOSTILE))
    note_call(road.ledger, 1, {**CALL, "method": HOSTILE, "url": HOSTILE})
    with road.ledger.begin() as tx:
        tx.execute(HURT, {"hostile": f"{HOSTILE}\x1b\u202e"})
        tx.execute(TOLD, {"hostile": f"{HOSTILE}\x1b\u202e"})
    admin = logged_in(client, "tok-ada")
    member = "/members/" + httpx.URL("", params={"x": HOSTILE}).query.decode()[2:].replace("+", "%20")
    for page in (
        admin.get("/instances/1"),
        admin.get(member),
        post(admin, "/instances/1", "/instances/1/unmask"),
        post(admin, member, f"{member}/unmask"),
    ):
        assert page.status_code == 200
        for raw in ("<script>alert", 'alert("', "\x1b", "\u202e"):
            assert raw not in page.text
        assert "&lt;script&gt;alert" in page.text


def test_only_operators_are_shown_what_they_may_do(client: httpx.Client, road: Road) -> None:
    road.dead("A-1")
    road.accept("A-2")
    shown = logged_in(client, "tok-vera").get("/instances/1").text
    for action in ("/dead-letters/plan", "/dead-letters/rehearse", "/unmask"):
        assert action not in shown
    operator = logged_in(client, "tok-oscar")
    dead, pending = operator.get("/instances/1").text, html.unescape(operator.get("/instances/2").text)
    assert 'href="/dead-letters/plan?kind=requeue&ids=1"' in html.unescape(dead)
    assert 'href="/dead-letters/plan?kind=discard&ids=1"' in html.unescape(dead)
    assert 'action="/dead-letters/rehearse"' in dead
    assert "/unmask" not in dead
    assert "kind=requeue" not in pending
    assert "kind=discard&ids=2" in pending


def test_an_instance_leads_to_those_beside_it_of_the_same_member(client: httpx.Client, road: Road) -> None:
    for minute in range(3):
        road.accept("A-1", minute=minute)
        road.accept("B-1", minute=minute)
    page = logged_in(client, "tok-vera").get("/instances/3").text
    assert re.search(r'href="/instances/1" rel="prev"', page)
    assert re.search(r'href="/instances/5" rel="next"', page)


@pytest.mark.parametrize("address", ["/instances/9", "/instances/x", "/instances/" + "9" * 40, "/members/nobody"])
def test_what_is_not_there_is_a_page_that_says_so(client: httpx.Client, address: str) -> None:
    answer = logged_in(client, "tok-vera").get(address)
    assert answer.status_code == 404
    assert "There is no such instance" in answer.text or "No event of this member" in answer.text


def test_people_are_masked_until_an_admin_asks_and_that_is_recorded(client: httpx.Client, road: Road) -> None:
    take(road.ledger, "A-1", **PERSON)
    road.sql(
        'insert into mapping (instance_id, user_object) values (1, \'{"email_address": "andy.cole@example.org"}\')'
    )
    road.sql("update member set applied_id = 1")
    admin = logged_in(client, "tok-ada")
    for page, asked in (("/instances/1", {"ids": ["1"]}), ("/members/A-1", {"member": "A-1"})):
        assert "andy.cole" not in admin.get(page).text
        answer = post(admin, page, f"{page}/unmask")
        assert answer.status_code == 200
        assert "andy.cole@example.org" in answer.text
        assert "data-live" not in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert audit(road)[-1] == ("ada", "unmask", False, asked, 1)
        assert admin.get(f"{page}/unmask").headers["location"] == page
        assert "andy.cole" not in admin.get(page).text
    assert len(audit(road)) == 2


@pytest.mark.parametrize("token", ["tok-vera", "tok-oscar"])
def test_who_may_not_see_people_is_denied_and_that_is_recorded(client: httpx.Client, road: Road, token: str) -> None:
    take(road.ledger, "A-1", **PERSON)
    somebody = logged_in(client, token)
    for page, asked in (("/instances/1", {"ids": ["1"]}), ("/members/A-1", {"member": "A-1"})):
        answer = post(somebody, page, f"{page}/unmask")
        assert answer.status_code == 403
        assert "may not see people" in answer.text
        assert audit(road)[-1] == (TOKENS[token].name, "unmask", True, asked, 0)


def test_a_form_that_is_not_ours_unmasks_nobody(client: httpx.Client, road: Road) -> None:
    take(road.ledger, "A-1", **PERSON)
    admin = logged_in(client, "tok-ada")
    for key in ({}, {"form_key": "0" * 64}):
        assert admin.post("/instances/1/unmask", data=key).status_code == 403
        assert admin.post("/members/A-1/unmask", data=key).status_code == 403
    assert audit(road) == []


def test_without_tokens_nobody_sees_people(road: Road, ledger_url: str) -> None:
    road.dead("A-1")
    with console(ledger_url, {}) as local:
        assert "Show people" not in local.get("/instances/1").text
        assert post(local, "/instances/1", "/instances/1/unmask").status_code == 403
    assert [row[:3] for row in audit(road)] == [("local", "unmask", True)]


def test_a_member_shows_what_both_systems_hold_beside_its_newest_event(client: httpx.Client, road: Road) -> None:
    viewer = logged_in(client, "tok-vera")
    road.accept("A-1")
    road.travel()
    facts = said(viewer.get("/members/A-1").text, "facts")
    assert "ROW_ID 1-R" in facts
    assert "User id 42" in facts
    assert "Yes : it shows the outcome of the newest event." in facts
    assert "Yes : it accepted the newest event." in facts
    road.accept("A-1", minute=1)
    facts = said(viewer.get("/members/A-1").text, "facts")
    assert facts.count("Not yet : the newest event is pending at OIC.") == 2
    road.dead("A-1", minute=2)
    page = viewer.get("/members/A-1").text
    assert "No : the newest event is a dead letter." in said(page, "facts")
    assert re.findall(r'<h3><a href="/instances/(\d)">', page) == ["3", "2", "1"]
    assert "superseded" in said(page, "events")


def test_all_events_of_a_member_can_be_paged_through(client: httpx.Client, road: Road) -> None:
    for minute in range(25):
        road.accept("A/1", minute=minute)
    viewer = logged_in(client, "tok-vera")
    found, address = [], "/members/A%2F1"
    for _ in range(2):
        page = viewer.get(address).text
        found += re.findall(r'<h3><a href="/instances/(\d+)">', page)
        address = html.unescape((re.findall(r'href="([^"]+)" rel="next"', page) or [""])[0])
    assert [int(one) for one in found] == list(range(25, 0, -1))
    assert address == ""
    assert viewer.get("/members/A%2F1?cursor=x").status_code == 400


def test_an_unfinished_instance_and_a_member_follow_the_ledger(client: httpx.Client, road: Road) -> None:
    road.accept("A/1")
    viewer = logged_in(client, "tok-vera")
    for page, parts in (("/instances/1", {"facts", "way", "activity"}), ("/members/A%2F1", {"facts", "events"})):
        live = re.findall(r'data-live="([^"]+)"', viewer.get(page).text)
        assert live == [f"/live{page}"]
        with viewer.stream("GET", live[0]) as stream:
            line = next(line for line in stream.iter_lines() if line.startswith("data: "))
        sent = json.loads(line.removeprefix("data: "))
        assert parts <= sent.keys()
        assert "pending" in sent["facts"]
        assert "/live" not in "".join(sent.values())
    road.travel()
    assert "data-live" not in viewer.get("/instances/1").text

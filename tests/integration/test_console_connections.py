"""The console's connections and its audit."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from producers.operations.job_control import Operator
from shared.ledger.audit import Action, record
from shared.ledger.engine import transaction
from shared.settings import CrowdTwistSettings, Settings
from tests.console import console, logged_in, post, said
from tests.road import Road

OLGA = Operator("olga", "operator")


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    crowdtwist = CrowdTwistSettings(base_url="http://127.0.0.1:9", api_key="k", timeout_s=1)
    with console(Settings(_env_file=None, ledger_url=ledger_url, crowdtwist=crowdtwist)) as one:
        yield one


def paused(road: Road) -> list[str]:
    return road.sql("select name from connection where paused order by name")


def card(page: httpx.Response, name: str) -> str:
    """Return what the article of one connection says."""
    found = re.search(rf'<article[^>]*aria-labelledby="{name}">(.*?)</article>', page.text, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", " ", found[1]).split())


def test_a_pause_needs_a_reason_and_is_shown_with_who_and_why(oscar: httpx.Client, road: Road) -> None:
    post(oscar, "/connections", "/connections/crowdtwist/pause", reason=" ")
    assert "CrowdTwist is not paused: say why" in said(oscar.get("/connections"))
    assert paused(road) == []
    answer = post(oscar, "/connections", "/connections/crowdtwist/pause", reason="their window <b>")
    assert (answer.status_code, answer.headers["location"]) == (303, "/connections")
    page = oscar.get("/connections")
    assert "CrowdTwist: paused: what is due there is held" in said(page)
    assert "Paused by oscar : their window &lt;b&gt;" in card(page, "crowdtwist")
    assert "Budget used 0 of" in card(page, "crowdtwist")
    assert "no limit" in card(page, "oic")
    assert paused(road) == ["crowdtwist"]
    assert re.search(r"CrowdTwist paused [\d: -]+ now 0 s their window <b> oscar", said(page))


def test_a_resume_leads_back_to_where_one_came_from(oscar: httpx.Client, road: Road) -> None:
    post(oscar, "/connections", "/connections/siebel/pause", reason="x", next="/dead-letters?lane=live")
    answer = post(oscar, "/connections", "/connections/siebel/resume", next="/dead-letters?lane=live")
    assert answer.headers["location"] == "/dead-letters?lane=live"
    assert "Siebel: resumed" in said(oscar.get("/dead-letters"))
    again = post(oscar, "/connections", "/connections/siebel/resume", next="//evil.example/")
    assert again.headers["location"] == "/connections"
    assert "refused: it is not paused" in said(oscar.get("/connections"))
    assert paused(road) == []


def test_a_test_says_what_it_came_to(oscar: httpx.Client, road: Road) -> None:
    assert post(oscar, "/connections", "/connections/crowdtwist/test").headers["location"] == "/connections"
    assert re.search(r"Test of CrowdTwist: failed: .* \(\d+ ms\)", said(oscar.get("/connections")))
    ((what, answer),) = road.sql("select what, answer from operator_action")
    assert what == "test"
    assert answer.startswith("failed")


def test_who_is_held_is_counted_and_linked(oscar: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    road.sql("update instance set state = 'held', stage = 'crowdtwist', due_stage = 'crowdtwist'")
    page = oscar.get("/connections")
    assert "Held 1 instance" in card(page, "crowdtwist")
    assert '<a href="/instances?state=held&amp;stage=crowdtwist">1 instance</a>' in page.text


def test_how_many_calls_it_takes_is_shown_with_the_reason(oscar: httpx.Client, road: Road) -> None:
    assert "Calls in flight" not in card(oscar.get("/connections"), "crowdtwist")
    known = '{"limit": 12, "reason": "9 of 80 calls were lost: 9 timed out", "backoffs": 4, "unloaded": {}}'
    road.sql(f"""update call_limit set known = '{known}', in_flight = 11, wanted = 40, changed_at = now()
                 where name = 'crowdtwist'""")
    shown = card(oscar.get("/connections"), "crowdtwist")
    assert "Calls in flight 11 of 12 that it takes at once" in shown
    assert "Why 12 9 of 80 calls were lost: 9 timed out" in shown


def test_a_viewer_may_look_but_neither_test_nor_pause(client: httpx.Client, road: Road) -> None:
    vera = logged_in(client, "tok-vera")
    page = vera.get("/connections")
    assert "Pause" not in said(page)
    assert "connections/oic" not in page.text
    for what in ("test", "pause", "resume"):
        assert post(vera, "/connections", f"/connections/oic/{what}", reason="x").status_code == 403
    denied = road.sql("select what, asked from operator_action where denied order by id")
    assert denied == [(what, {"name": "oic"}) for what in ("test", "pause", "resume")]
    assert paused(road) == []


def test_a_pause_without_the_forms_key_does_nothing(oscar: httpx.Client, road: Road) -> None:
    assert oscar.post("/connections/oic/pause", data={"reason": "x"}).status_code == 403
    assert paused(road) == []


def test_a_connection_that_is_none_is_a_page_that_says_so(oscar: httpx.Client) -> None:
    answer = post(oscar, "/connections", "/connections/twitter/test")
    assert answer.status_code == 404
    assert "the connections are oic, crowdtwist, siebel" in said(answer)


def test_connections_are_live_and_what_one_types_is_a_part_of_its_own(oscar: httpx.Client, road: Road) -> None:
    with oscar.stream("GET", "/live/connections") as answer:
        lines = answer.iter_lines()
        first = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
        assert {"oic-state", "oic-actions", "crowdtwist-state", "siebel-actions", "outages"} <= first.keys()
        road.accept("M-1")
        road.sql("update instance set state = 'held', stage = 'oic'")
        second = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    assert "1 instance" in second["oic-state"]
    assert "oic-actions" not in second


def test_the_audit_shows_who_did_what_to_what_with_links(oscar: httpx.Client, road: Road) -> None:
    road.dead(*[f"M-{number}" for number in range(8)])
    post(oscar, "/connections", "/connections/oic/pause", reason="their <i>window</i>")
    plan = oscar.get("/dead-letters/plan?kind=discard&ids=" + "&ids=".join(map(str, range(1, 9))))
    found = re.search(r'name="planned" value="([^"]*)"', plan.text)
    assert found
    fields = {"kind": "discard", "ids": [str(number) for number in range(1, 9)], "planned": found[1], "reason": "test"}
    post(oscar, "/connections", "/jobs", **fields)
    page = oscar.get("/audit")
    words = said(page)
    assert "oscar (operator) pause connection OIC their <i>window</i> paused: what is due there is held" in words
    assert "discard instance 1 instance 2 instance 3 instance 4 instance 5 and 3 more 8 test job 1" in words
    assert words.index("discard instance") < words.index("pause connection")
    for link in ("/jobs/1", "/instances/1", "/connections#oic"):
        assert f'href="{link}"' in page.text
    assert "<i>window" not in page.text


def test_the_audit_is_filtered_by_who_what_and_when_and_marks_what_was_denied(client: httpx.Client, road: Road) -> None:
    vera = logged_in(client, "tok-vera")
    post(vera, "/connections", "/connections/oic/pause", reason="x")
    with transaction(road.ledger) as tx:
        record(tx, Action(OLGA.name, OLGA.role, "unmask", "shown", None, {"member": "M/1"}, 2))
    everything = vera.get("/audit")
    assert "vera (viewer) pause denied connection OIC" in said(everything)
    assert 'href="/members/M%2F1"' in everything.text
    for query, expected in (
        ("who=vera", ["vera"]),
        ("what=unmask", ["olga"]),
        ("denied=true", ["vera"]),
        ("denied=false", ["olga"]),
        ("since=1h", ["olga", "vera"]),
        ("until=1h", []),
        ("who=nobody", []),
        ("who=&what=&denied=&since=&until=", ["olga", "vera"]),
    ):
        page = vera.get(f"/audit?{query}")
        assert re.findall(r"<td>(olga|vera) <small>", page.text) == expected, query
    assert "Nothing matches the filter" in said(vera.get("/audit?who=nobody"))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=foo", "since: must be an instant"),
        ("denied=maybe", "denied: must be true or false"),
        ("who=a%00", "who: contains a control character"),
        ("cursor=-1", "cursor: is none of ours"),
    ],
)
def test_an_audit_filter_that_cannot_be_read_is_named(oscar: httpx.Client, query: str, says: str) -> None:
    page = oscar.get(f"/audit?{query}&what=%22pause")
    assert page.status_code == 400
    assert says in said(page)
    assert 'value="&#34;pause"' in page.text


def test_older_actions_are_on_the_next_page_of_the_same_filter(oscar: httpx.Client, road: Road) -> None:
    with road.ledger.begin() as tx:
        for number in range(60):
            record(tx, Action("olga", "operator", "test", f"answer-{number}"))
            record(tx, Action("ada", "admin", "test", "another"))
    first = oscar.get("/audit?who=olga")
    found = re.search(r'href="(/audit\?cursor=[^"]*)"', first.text)
    assert found
    second = oscar.get(found[1].replace("&amp;", "&"))
    answers = [int(one) for page in (first, second) for one in re.findall(r"answer-(\d+)", page.text)]
    assert answers == list(range(59, -1, -1))


def test_a_ledger_that_is_away_is_a_page_that_says_so(ledger_url: str) -> None:
    gone = Settings(_env_file=None, ledger_url=ledger_url.rpartition("/")[0] + "/nowhere")
    with console(gone) as client:
        oscar = logged_in(client, "tok-oscar")
        for address in ("/dead-letters", "/connections", "/jobs", "/audit", "/dead-letters/plan?ids=1"):
            answer = oscar.get(address)
            assert answer.status_code == 503, address
            assert "The ledger cannot be reached just now" in said(answer)

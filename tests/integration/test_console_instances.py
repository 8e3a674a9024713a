"""The list of instances in the console, its CSV file, the search and what fields suggest."""

import csv
import html
import io
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, create_engine, text

from producers.console.instances import exported
from producers.intake.accept import IntakeRules, accept
from producers.site import create_app
from shared.events import parse_event
from shared.ledger.filters import Filter
from shared.ledger.records import InstanceRecord
from shared.pipeline import Lane
from shared.settings import Settings, Token
from tests.calling import served
from tests.console import HTML, logged_in, said
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, NOW, Road

HOSTILE = "<script>alert('1')</script>\"&"
COLUMNS = list(InstanceRecord.__dataclass_fields__)


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    of = Settings(_env_file=None, ledger_url=ledger_url)
    tokens = {"tok-vera": Token(name="vera", role="viewer"), "tok-ada": Token(name="ada", role="admin")}
    with served(create_app(of.model_copy(update={"api": of.api.model_copy(update={"tokens": tokens})}))) as one:
        one.headers.update(HTML)
        yield one


@pytest.fixture
def viewer(client: httpx.Client) -> httpx.Client:
    return logged_in(client, "tok-vera")


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def take(ledger: Engine, event_id: str, number: str, **fields: Any) -> None:  # noqa: ANN401
    """Accept one event as it is."""
    raw = {
        "event_id": event_id,
        "operation": "update",
        "occurred_at": NOW.isoformat(),
        "member": {"member_number": number, **fields},
    }
    accept(ledger, [(0, parse_event(raw, max_bytes=64_000))], IntakeRules(Lane.LIVE))


def shown(page: str) -> list[str]:
    """Return the instances of the table, from the top."""
    return re.findall(r'<td><a href="/instances/(\d+)">', page)


def rows(answer: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer, newline="")))


def test_the_list_shows_the_newest_first_with_state_and_status(viewer: httpx.Client, road: Road) -> None:
    road.accept("A-1")
    road.travel(ALWAYS_REFUSED)
    road.accept("A-2")
    page = viewer.get("/instances").text
    assert shown(page) == ["2", "1"]
    assert 'href="/members/A-1"' in page
    assert "Email Address is already taken" in page
    for state in ("rejected", "pending"):
        assert f'<span class="badge {state}">' in page
    assert "Data Error" in page


def test_conditions_narrow_the_list_and_each_can_be_taken_away(viewer: httpx.Client, road: Road) -> None:
    road.dead("A-1")
    road.accept("A-2", "A-3")
    page = viewer.get("/instances?state=dead&state=pending&member=A-1&member=A-2").text
    assert shown(page) == ["2", "1"]
    without = html.unescape(re.findall(r'<li><a href="([^"]+)"[^>]*>Member <b>A-1</b>', page)[0])
    assert without == "/instances?state=dead&state=pending&member=A-2"
    assert shown(viewer.get(without).text) == ["2"]
    assert re.search(r'name="state" value="dead" checked', page)


def test_empty_fields_of_the_form_do_not_stay_in_the_address(viewer: httpx.Client) -> None:
    answer = viewer.get("/instances?state=dead&code=&member=&lane=&since=2h&until=&text=+")
    assert (answer.status_code, answer.headers["location"]) == (303, "/instances?state=dead&since=2h")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "<b>Since</b>: must be an instant"),
        ("state=nonsense", "<b>State</b>: Input should be"),
        ("lane=slow", "<b>Lane</b>: Input should be"),
        ("cursor=x", "<b>Cursor</b>: is none of ours"),
        ("text=%00", "<b>Text</b>: contains a control character"),
    ],
)
def test_what_cannot_be_understood_is_named_and_stays_as_it_was_typed(
    viewer: httpx.Client, query: str, said: str
) -> None:
    answer = viewer.get(f"/instances?{query}&member=A-1")
    assert answer.status_code == 400
    assert said in answer.text
    assert re.search(r'name="member" value="A-1"', answer.text)
    if query.startswith("since"):
        assert re.search(r'name="since" value="yesterday"', answer.text)


def test_older_pages_go_on_where_the_newer_ended(viewer: httpx.Client, road: Road) -> None:
    road.accept(*(f"A-{number}" for number in range(60)), "B-1")
    page = viewer.get("/instances?text=A-").text
    assert len(shown(page)) == 50
    older = html.unescape(re.findall(r'href="([^"]+)" rel="next"', page)[0])
    below = viewer.get(older).text
    assert [int(one) for one in shown(page) + shown(below)] == list(range(60, 0, -1))
    assert 'rel="next"' not in below
    assert re.search(r'href="/instances\?text=A-">Newest<', below)


def test_people_are_masked_and_hostile_text_stays_text(viewer: httpx.Client, road: Road) -> None:
    take(road.ledger, HOSTILE, HOSTILE)
    road.sql("update instance set code = 'bug', error = 'andy.cole@example.org \x1b[31m \u202e<img src=x>'")
    page = viewer.get("/instances").text
    assert "a***@e***.org" in page
    assert "andy.cole" not in page
    for raw in ("<script>alert", "<img", "\x1b", "\u202e"):
        assert raw not in page
    assert "&lt;script&gt;" in page
    link = html.unescape(re.findall(r'href="(/members/[^"]+)"', page)[0])
    assert viewer.get(link).status_code == 200


def test_nobody_sees_the_list_who_is_not_logged_in(client: httpx.Client) -> None:
    for address in ("/instances?state=dead", "/instances.csv", "/search?q=1", "/suggestions?field=code"):
        answer = client.get(address)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")


def test_the_file_holds_the_whole_filter_under_the_names_of_the_fields(viewer: httpx.Client, road: Road) -> None:
    road.accept(*(f"A-{number}" for number in range(1_003)), "B-1")
    road.sql("update instance set error = 'of andy.cole@example.org, \"x\"' where id = 7")
    answer = viewer.get("/instances.csv?text=A-")
    assert answer.headers["content-type"].startswith("text/csv")
    assert re.fullmatch(
        r'attachment; filename="membersync-instances-[0-9-]+T[0-9]{6}Z\.csv"', answer.headers["content-disposition"]
    )
    found = rows(answer.text)
    assert answer.text.splitlines()[0].split(",") == [*COLUMNS, "status_told"]
    assert [int(one["instance_id"]) for one in found] == list(range(1_003, 0, -1))
    assert found[-7]["error"] == 'of a***@e***.org, "x"'
    assert datetime.fromisoformat(found[0]["accepted_at"]).tzinfo is not None


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_cell_of_the_file_is_a_formula(viewer: httpx.Client, road: Road, formula: str) -> None:
    take(road.ledger, formula, "M-1")
    road.sql("update instance set error = E'\\t=1+1'")
    (one,) = rows(viewer.get("/instances.csv").text)
    assert (one["event_id"], one["error"]) == (f"'{formula}", "'\t=1+1")


def test_a_file_of_a_wrong_filter_is_a_page_that_says_so(viewer: httpx.Client) -> None:
    answer = viewer.get("/instances.csv?since=yesterday")
    assert answer.status_code == 400
    assert "since: must be an instant" in answer.text


def test_a_file_says_at_its_end_that_the_ledger_went_away(road: Road, ledger_url: str) -> None:
    road.accept(*(f"A-{number}" for number in range(1_500)))
    own = create_engine(ledger_url)
    parts = exported(own, Filter())
    assert len(rows(next(parts))) == 1_000
    with own.connect() as tx:
        mine = tx.execute(text("select pg_backend_pid()")).scalar_one()
    road.sql(f"select pg_terminate_backend({mine})")
    rest = list(parts)
    own.dispose()
    assert rest == ["# incomplete: the ledger went away; for the rest add cursor=501 to the query\r\n"]


def test_a_file_ends_at_its_most_rows_and_says_how_to_go_on(viewer: httpx.Client, road: Road) -> None:
    road.accept(*(f"A-{number}" for number in range(1_500)))
    whole = "".join(exported(road.ledger, Filter(), rows_max=1_000))
    assert whole.splitlines()[-1] == "# incomplete: 1000 rows are the most; for the rest add cursor=501 to the query"
    assert len(rows(viewer.get("/instances.csv?cursor=501").text)) == 500


def test_the_search_finds_members_by_the_ids_of_both_sides(viewer: httpx.Client, road: Road) -> None:
    road.accept("M-1", "M-2", "M-3")
    road.sql("update member set row_id = '1-ABC', ct_user_id = 4711 where member_number = 'M-1'")
    road.sql("update member set row_id = '1-DEF' where member_number in ('M-2', 'M-3')")
    road.sql("update member set ct_user_id = 2 where member_number = 'M-2'")
    for words, address in {
        "1-ABC": "/members/M-1",
        "4711": "/members/M-1",
        "1-DEF": "/instances?member=M-2&member=M-3",
        "2": "/instances/2",  # an instance has that id too: it is named on its page
        "1-abc": "/instances?text=1-abc",
    }.items():
        assert viewer.get("/search", params={"q": words}).headers["location"] == address, words


def test_who_may_see_people_finds_them_by_an_exact_address_and_nobody_else_does(
    viewer: httpx.Client, road: Road
) -> None:
    take(road.ledger, "E-1", "M-1", email_address="ann.lee@example.org")
    by_address = {"q": "Ann.Lee@example.org"}
    assert viewer.get("/search", params=by_address).headers["location"].startswith("/instances?text=")
    admin = logged_in(viewer, "tok-ada")
    assert admin.get("/search", params=by_address).headers["location"] == "/members/M-1"
    assert admin.get("/search", params={"q": "lee@example.org"}).headers["location"].startswith("/instances?text=")
    (row,) = road.sql("select who || ' ' || what || ' ' || count || ' ' || cast(asked as text) from operator_action")
    assert row == 'ada unmask 1 {"search": "e-mail address"}'


NEEDS_ADMIN = "An e-mail address is found for an admin's token only"


def test_a_search_by_address_that_may_not_be_made_says_what_it_needs(
    viewer: httpx.Client, road: Road, ledger_url: str
) -> None:
    take(road.ledger, "E-1", "M-1", email_address="ann.lee@example.org")
    address = viewer.get("/search", params={"q": "ann.lee@example.org"}).headers["location"]
    assert f"{NEEDS_ADMIN}: log in with one" in said(viewer.get(address))
    assert NEEDS_ADMIN not in said(viewer.get("/instances?text=nobody"))
    assert NEEDS_ADMIN not in said(logged_in(viewer, "tok-ada").get("/instances?text=nobody@example.org"))
    with served(create_app(Settings(_env_file=None, ledger_url=ledger_url))) as local:
        words = said(local.get(address, headers=HTML))
        assert "none is set here: MEMBERSYNC_API__TOKENS gives one" in words
        assert "log in" not in words


def test_the_search_leads_to_what_is_meant(viewer: httpx.Client, road: Road) -> None:
    take(road.ledger, "E/1 <x>", "2")
    take(road.ledger, "E-2", "M/7 ?")
    for words, address in {
        "2": "/members/2",
        " M/7 ? ": "/members/M%2F7%20%3F",
        "1": "/instances/1",
        "E/1 <x>": "/instances/1",
        "nobody\x00 knows": "/instances?text=nobody+knows",
        "9" * 30: f"/instances?text={'9' * 30}",
        "   ": "/instances",
    }.items():
        answer = viewer.get("/search", params={"q": words})
        assert (answer.status_code, answer.headers["location"]) == (303, address), words
    assert viewer.get("/search").status_code == 303


def test_fields_suggest_what_the_ledger_knows(viewer: httpx.Client, road: Road) -> None:
    road.accept("A-1", "A-2", "B-1")
    road.travel(ALWAYS_DOWN)
    members = viewer.get("/suggestions", params={"field": "member", "beginning": "A-"})
    assert [one["value"] for one in members.json()["items"]] == ["A-1", "A-2"]
    assert viewer.get("/suggestions?field=code&beginning=una").json() == {
        "items": [{"value": "unavailable", "count": 3}]
    }
    assert viewer.get("/suggestions?field=member&beginning=%00A-2").json()["items"][0]["value"] == "A-2"
    assert viewer.get("/suggestions?field=last_name").status_code == 400


def test_a_list_with_the_ledger_away_is_a_page_that_tries_again() -> None:
    away = Settings(_env_file=None, ledger_url="postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with served(create_app(away)) as local:
        answer = local.get("/instances", headers=HTML)
        assert (answer.status_code, answer.headers["refresh"]) == (503, "5")
        assert "The ledger cannot be reached" in answer.text
        assert local.get("/instances.csv", headers=HTML).status_code == 503


def test_unfinished_instances_show_how_long_they_have_taken_so_far(viewer: httpx.Client, road: Road) -> None:
    road.accept("A-1")
    road.sql("update instance set accepted_at = now() - interval '90 min'")
    assert "1 h 30 min so far" in viewer.get("/instances").text

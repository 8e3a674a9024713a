"""The console's dead letters and Data Errors, and who may do what about them."""

import csv
import io
import re
from typing import Any

import httpx
import pytest

from shared.errors import DataError, UnavailableError
from tests.console import link, logged_in, post, said
from tests.road import ALWAYS_REFUSED, Road, start

LETTERS = "/dead-letters"
PLAN = "/dead-letters/plan"
HOSTILE = """<script>alert("x")</script>'&<b>"""
GARBLED = UnavailableError("CrowdTwist", "answered something that is not JSON", 200)


def denials(road: Road) -> list[Any]:
    return road.sql("select who, what, asked ->> 'ids' from operator_action where denied order by id")


def garbled(road: Road, *numbers: str) -> None:
    road.accept(*numbers)
    road.travel(lambda _: GARBLED)


def test_what_failed_is_shown_by_cause_with_what_to_do_and_one_by_one(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    garbled(road, "M-3")
    page = oscar.get(LETTERS)
    words = said(page)
    causes = re.findall(r'<p class="message">(.*?)</p>', page.text)
    assert causes == ["CrowdTwist: answered 503", "CrowdTwist: answered something that is not JSON"]
    assert "Not CrowdTwist itself answered, but what the message shows" in words
    assert [f"/members/M-{n}" in page.text for n in (1, 2, 3)] == [True] * 3
    assert words.count("Requeue …") == 2


def test_data_errors_have_their_own_tab_and_say_what_to_correct(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    road.accept("M-2")
    road.travel(ALWAYS_REFUSED)
    assert "Email Address is already taken" not in oscar.get(LETTERS).text
    page = oscar.get(link(oscar.get(LETTERS), "Data Errors"))
    assert "Correct Email Address of the member's contact in Siebel" in said(page)
    assert "/members/M-1" not in page.text
    plan = oscar.get(link(page, "Requeue …"))
    assert "the fix normally comes from Siebel" in said(plan)
    assert "the fix normally comes from Siebel" in said(oscar.get(f"{PLAN}?ids=2"))


def test_a_cause_says_how_many_a_newer_event_has_fixed(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    road.accept("M-1", minute=1)
    road.travel()
    road.accept("M-2", minute=1)
    words = said(oscar.get(LETTERS))
    assert "of 1 a newer event has already succeeded; of 1 a newer event is on its way" in words


def test_a_cause_leads_to_its_own_instances_and_no_others(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    garbled(road, "M-3")
    road.accept("R-4")
    road.travel(ALWAYS_REFUSED)
    for number, overview in ((2, "2"), (1, "1")):
        for page in (
            oscar.get(link(oscar.get("/"), overview)),
            oscar.get(link(oscar.get(LETTERS), "List", 2 - number)),
        ):
            assert len(re.findall(r'name="ids"', page.text)) == number
            assert f"{number} will be sent" in said(oscar.get(link(page, "Requeue all that match …")))
    page = oscar.get(link(oscar.get("/"), "1", 1))
    assert re.findall(r'href="/members/(.*?)"', page.text) == ["R-4"]


def test_a_cause_of_several_lines_can_be_requeued(oscar: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    road.travel(lambda _: UnavailableError("CrowdTwist", "said: no\n  way\x1b", 500))
    assert "1 will be sent" in said(oscar.get(link(oscar.get(LETTERS), "Requeue …")))


def test_rows_say_what_a_newer_event_has_fixed_and_which_job_has_them(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    road.accept("M-1", minute=1)
    road.travel()
    job = start(road, 2)
    rows = re.findall(r"<tr>.*?</tr>", oscar.get(LETTERS).text, re.DOTALL)
    assert [bool(re.search(r"newer event has fixed", row)) for row in rows[1:]] == [False, False, True]
    assert [f'href="/jobs/{job}"' in row for row in rows[1:]] == [False, True, False]
    fixed, taken = said(oscar.get("/instances/1")), said(oscar.get("/instances/2"))
    assert "Nothing to do: instance 4 , newer, has succeeded" in fixed
    assert "when it passes, requeue" not in fixed
    assert f"Job {job} has it" in taken


def test_the_filter_narrows_causes_and_rows(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    page = oscar.get(f"{LETTERS}?member=M-1")
    assert "/members/M-1" in page.text
    assert "/members/M-2" not in page.text
    plan = oscar.get(link(page, "Requeue …"))
    assert "1 will be sent" in said(plan)
    assert "No dead letters match the filter" in said(oscar.get(f"{LETTERS}?stage=siebel"))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=foo", "since: must be an instant"),
        ("stage=nowhere", "stage: "),
        ("state=running", "state: must be dead or rejected"),
        ("cursor=x", "cursor: is none of ours"),
        ("text=a%00b", "text: contains a control character"),
        ("message=a%00b", "message: contains a control character"),
    ],
)
def test_a_filter_that_cannot_be_read_is_named_and_stays_as_it_was_typed(
    oscar: httpx.Client, query: str, says: str
) -> None:
    page = oscar.get(f"{LETTERS}?{query}&member=M-%22%3E1")
    assert page.status_code == 400
    assert says in said(page)
    assert 'value="M-&#34;&gt;1"' in page.text


def test_older_rows_are_on_the_next_page(oscar: httpx.Client, road: Road) -> None:
    road.dead(*[f"M-{number}" for number in range(60)])
    first = oscar.get(LETTERS)
    second = oscar.get(link(first, "Older"))
    ids = [re.findall(r'name="ids" value="(\d+)"', page.text) for page in (first, second)]
    assert [len(one) for one in ids] == [50, 10]
    assert len({*ids[0], *ids[1]}) == 60
    assert "Newest" in second.text
    assert "By cause" not in second.text


def test_hostile_text_is_shown_as_text(oscar: httpx.Client, road: Road) -> None:
    error = DataError("CrowdTwist", f"no such city: {HOSTILE}", 400)
    road.accept(HOSTILE[:40])
    road.travel(lambda _: error)
    for address in (f"{LETTERS}?state=rejected", f"{PLAN}?ids=1", f"{PLAN}?state=rejected&text={'<script>'}"):
        page = oscar.get(address)
        assert page.status_code == 200
        assert "<script>alert" not in page.text, address
        assert "<script>alert" in said(page).replace("  ", " "), address
    page = oscar.get(f"{LETTERS}?state=rejected")
    planned = oscar.get(link(page, "Requeue …"))
    assert "1 will be sent" in said(planned)


def test_a_viewer_sees_no_buttons_and_what_they_try_is_denied_and_recorded(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    vera = logged_in(client, "tok-vera")
    page = vera.get(LETTERS)
    assert "/members/M-1" in page.text
    assert not re.search(r"Requeue …|Discard|Rehearse|checkbox", page.text)
    assert vera.get(f"{PLAN}?kind=discard&ids=1").status_code == 403
    for address, fields in (
        (PLAN, {"kind": "requeue", "ids": "1"}),
        ("/jobs", {"kind": "discard", "ids": "1", "reason": "x", "planned": "discard:1 refused:0"}),
        ("/dead-letters/rehearse", {"ids": "1"}),
    ):
        assert post(vera, LETTERS, address, **fields).status_code == 403
    assert denials(road) == [("vera", what, '["1"]') for what in ("discard", "requeue", "discard", "rehearse")]
    assert road.states() == {"dead": 1}


def test_a_form_that_is_not_ours_does_nothing(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    fields = {"kind": "discard", "ids": "1", "reason": "x", "planned": "discard:1 refused:0"}
    for address in ("/jobs", PLAN, "/dead-letters/rehearse"):
        assert oscar.post(address, data=fields).status_code == 403
    assert road.sql("select count(*) from job") == [0]


def test_dead_letters_are_exported_as_they_are_filtered(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    garbled(road, "M-3")
    road.accept("M-4")
    road.travel(ALWAYS_REFUSED)
    page = oscar.get(LETTERS)
    assert numbers_in(oscar, link(page, "Export as CSV")) == ["M-3", "M-2", "M-1"]
    assert numbers_in(oscar, link(oscar.get(link(page, "List")), "Export as CSV")) == ["M-2", "M-1"]
    assert numbers_in(oscar, link(oscar.get(f"{LETTERS}?state=rejected"), "Export as CSV")) == ["M-4"]
    assert numbers_in(oscar, "/dead-letters.csv") == ["M-3", "M-2", "M-1"]
    assert oscar.get("/dead-letters.csv?state=completed").status_code == 400


def numbers_in(client: httpx.Client, address: str) -> list[str]:
    """Return the members of an exported file."""
    answer = client.get(address)
    assert answer.status_code == 200
    assert re.search(r'filename="membersync-dead-letters-[\dTZ-]+\.csv"', answer.headers["content-disposition"])
    return [row["member_number"] for row in csv.DictReader(io.StringIO(answer.text))]

"""Cases are found by id and by whatever a member is called, and no page says that all is well over open ones."""

import re

import httpx
import pytest

from tests.road import ALWAYS_REFUSED, Road
from tests.terminal import Terminal

ADA = {"Authorization": "Bearer tok-ada"}


@pytest.fixture
def refused(road: Road) -> None:
    """Members 2 and M/1 have the cases 1 and 2."""
    road.accept("2")
    road.travel(ALWAYS_REFUSED)
    road.accept("M/1")
    road.travel(ALWAYS_REFUSED)


@pytest.mark.usefixtures("refused")
def test_an_id_goes_before_a_member_number_and_it_is_said(cli: Terminal, oscar: httpx.Client) -> None:
    ran = cli("cases", "2", "--json")
    assert ran.json["member_number"] == "M/1"
    assert "2 is taken for the id of a case; the open case of member 2 is 1" in ran.err
    assert cli("cases", "1").err == ""
    assert cli("cases", "02").code == 1
    assert "the open case of member" in oscar.get("/cases/2").text


@pytest.mark.usefixtures("refused")
def test_a_member_number_with_a_slash_is_reached_everywhere(oscar: httpx.Client) -> None:
    for path in ("members/M%2F1", "members/M%2F1/comparison", "cases/M%2F1"):
        answer = oscar.get(f"/v1/{path}", headers=ADA)
        assert (answer.status_code, answer.json()["member_number"]) == (200, "M/1"), path
        if "comparison" not in path:
            assert "M/1" in oscar.get(f"/{path}").text
    answer = oscar.post("/v1/cases/M%2F1/acknowledge", json={"note": "mine"}, headers=ADA)
    assert answer.json()["case"]["note"] == "mine"
    assert oscar.get("/v1/cases/M%2F1/acknowledge", headers=ADA).status_code == 405


@pytest.mark.usefixtures("refused")
def test_open_cases_are_counted_on_every_page_and_led_to(oscar: httpx.Client, cli: Terminal) -> None:
    page = oscar.get("/").text
    assert re.search(r'<span id="count-cases"[^>]*>2</span>', page)
    assert "All well" not in page
    assert '<a href="/cases">Cases</a> say who must correct what' in page
    verdict = cli("status", "--json").json
    assert verdict["cases"] == {"other": 2}
    assert "All well" not in verdict["verdict"]["sentence"]


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("path", ["/", "/cases", "/cases/1", "/members/2", "/jobs", "/guards", "/reconciliations"])
def test_no_page_has_a_backtick(oscar: httpx.Client, path: str) -> None:
    answer = oscar.get(path)
    assert (answer.status_code, "`" in answer.text) == (200, False)

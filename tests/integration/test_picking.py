"""Times to choose from above lists and charts, and filters that are saved by name, one's own and those for all."""

import html
import re

import httpx
import pytest

from producers.operations.saved_filter_control import PAGES
from shared.ledger.saved_filters import OWN_MAX
from tests.console import logged_in, post, said
from tests.road import Road


def chosen(client: httpx.Client, address: str) -> list[str]:
    """What of the presets is marked as chosen."""
    return re.findall(r'<a class="button" href="[^"]*" aria-current="true">([^<]*)</a>', client.get(address).text)


def addresses(page: httpx.Response) -> list[str]:
    return [html.unescape(one) for one in re.findall(r'<a class="button" href="([^"]*)"', page.text)]


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/history"])
def test_a_time_is_chosen_and_the_rest_of_the_filter_stays(client: httpx.Client, road: Road, path: str) -> None:
    road.dead("M-1")
    logged_in(client, "tok-vera")
    word = {"/audit": "who", "/incidents": "x"}.get(path, "member")
    page = client.get(f"{path}?{word}=M-1&until=2026-11-23")
    preset = next(one for one in addresses(page) if "since=24h" in one)
    assert (f"{word}=M-1" in preset, "until" in preset) == (True, False)
    assert client.get(preset).status_code == 200
    assert chosen(client, preset) == ["24h"]
    both = client.get(f"{path}?since=2026-11-23T08:51&until=2026-11-23T09:00:00Z&{word}=M-1")
    assert (both.status_code, both.text.count('value="2026-11-23T08:51"')) == (
        200,
        both.text.count('2026-11-23T08:51"'),
    )
    assert 'name="until" value="2026-11-23T09:00"' in both.text


def test_the_charts_show_from_and_to(client: httpx.Client) -> None:
    logged_in(client, "tok-vera")
    page = client.get("/history?since=3h&until=1h")
    assert page.status_code == 200
    earlier = next(one for one in addresses(page) if "since=" in one)
    assert client.get(earlier).status_code == 200
    for wrong in ("since=2026-01-01", "since=1h&until=2h", "since=x", "range=2h", "since=2190-01-01", "until=x"):
        assert client.get(f"/history?{wrong}").status_code == 400, wrong
    for fine in ("since=90d", "since=20d&until=19d", "since=1s", "range=7d&since=1h", "until=1900-01-01"):
        assert client.get(f"/history?{fine}").status_code == 200, fine


def test_incidents_are_those_that_went_on_then(client: httpx.Client, road: Road) -> None:
    for hours in (9, 5, 1):
        road.sql(f"""
            with made as (
                insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto,
                                      resolved_at, closed_at)
                select 'connection', 'closed', 'oic', '{hours} hours ago', 'oic-1', at, at, at, at, at
                from (select now() - interval '{hours} hours' as at) as t returning id, from_at)
            insert into incident_span (incident_id, stage, from_at, to_at)
            select id, 'oic', from_at, from_at + interval '30 minutes' from made
        """)
    vera = {"Authorization": "Bearer tok-vera"}

    def listed(**asked: str) -> list[str]:
        items = client.get("/v1/incidents", params=asked, headers=vera).json()["items"]
        return [one["cause"].partition(" ")[0] for one in items]

    assert (listed(), listed(since="6h"), listed(until="2h")) == (["1", "5", "9"], ["1", "5"], ["5", "9"])
    assert listed(since="5h", until="4h") == ["5"], "it went on then, though it began before"
    assert client.get("/v1/incidents", params={"since": "x"}, headers=vera).status_code == 400
    logged_in(client, "tok-vera")
    page = client.get("/incidents?since=6h")
    assert ("5 hours ago" in said(page), "9 hours ago" in said(page)) == (True, False)
    assert 'data-live="/live/incidents?since=6h"' in page.text
    assert client.get("/incidents?until=x").status_code == 400


def save(client: httpx.Client, name: str, query: str = "state=dead", page: str = "/instances", **more: str) -> None:
    answer = post(client, f"{page}?{query}", "/saved-filters", page=page, query=query, name=name, **more)
    assert answer.status_code in {303, 403}, answer.text


def test_filters_are_saved_by_name_for_oneself_or_for_all(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    logged_in(client, "tok-vera")
    save(client, "mine <b>", "state=dead&since=1h&cursor=9")
    page = client.get("/instances")
    assert 'href="/instances?state=dead&amp;since=1h"' in page.text
    assert ("mine &lt;b&gt;" in page.text, "<b>&gt;" in page.text) == (True, False)
    refused = post(
        client, "/instances?state=dead", "/saved-filters", page="/instances", query="x=1", name="n", shared="1"
    )
    assert refused.status_code == 403
    logged_in(client, "tok-oscar")
    assert "mine" not in client.get("/instances").text
    save(client, "night", "state=dead&lane=bulk", shared="yes")
    save(client, "night", "state=dead&lane=live", shared="yes")
    logged_in(client, "tok-vera")
    assert "night shared by oscar" in said(client.get("/instances"))
    assert "lane=bulk" not in client.get("/instances").text, "the same name is the same filter"
    (night,) = road.sql("select id from saved_filter where name = 'night'")
    assert "no such filter" in said(
        client.get(post(client, "/jobs", f"/saved-filters/{night}/remove", back="/").headers["location"])
    )
    logged_in(client, "tok-ada")
    post(client, "/jobs", f"/saved-filters/{night}/remove", back="/")
    assert road.sql("select name from saved_filter") == ["mine <b>"]
    assert road.sql("select who || ' ' || what from operator_action where not denied order by id") == [
        "oscar share filter",
        "oscar share filter",
        "ada remove shared filter",
    ]


def test_what_cannot_be_saved_says_why(client: httpx.Client, road: Road) -> None:
    logged_in(client, "tok-vera")
    for name, query, page in (
        ("", "state=dead", "/instances"),
        ("x" * 61, "state=dead", "/instances"),
        ("a\x07", "state=dead", "/instances"),
        ("ann@example.org", "state=dead", "/instances"),
        ("ann", "text=ann@example.org", "/instances"),
        ("long", "text=" + "x" * 4001, "/instances"),
        ("elsewhere", "x=1", "//evil.example"),
    ):
        answer = post(client, "/instances?state=dead", "/saved-filters", page=page, query=query, name=name)
        assert answer.headers["location"].startswith("/")
        assert not answer.headers["location"].startswith("//")
        assert "Nothing is saved" in said(client.get("/jobs")), name
    road.sql(
        "insert into saved_filter (owner, shared, page, name, query) "
        f"select 'vera', false, '/audit', 'n' || n, 'x' from generate_series(1, {OWN_MAX}) as n"
    )
    save(client, "one more")
    assert road.sql("select count(*) from saved_filter") == [OWN_MAX]

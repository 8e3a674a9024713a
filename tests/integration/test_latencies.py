"""What attempts take by stage over time, from the roll-up's own rows, beside incidents and new versions."""

import re
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from shared.ledger import latencies, marks
from shared.ledger.engine import transaction
from shared.settings import Settings
from tests.console import logged_in, said
from tests.road import Road

VERA = {"Authorization": "Bearer tok-vera"}


def attempts(road: Road, stage: str, *took_ms: float, ago: str = "5 minutes") -> None:
    values = ", ".join(f"(1, now() - interval '{ago}', '{stage}', 1, 'running', 'done', {one})" for one in took_ms)
    road.sql(f"insert into activity (instance_id, at, stage, attempt, state, what, took_ms) values {values}")


def counted(road: Road, *, again: bool = False) -> None:
    """Let the bookkeeper count from two hours ago on, or from where it was."""
    if not again:
        road.sql("update bookmark set upto = now() - interval '2 hours' where name = 'tally'")
    bookkeeper = Bookkeeper(Settings(_env_file=None, ledger_url=road.ledger.url.render_as_string(hide_password=False)))
    while bookkeeper.turn():
        pass


def test_each_stage_has_its_percentiles_by_minute_and_by_hour(client: httpx.Client, road: Road) -> None:
    attempts(road, "crowdtwist", *[20] * 90, *[200] * 8, *[2000] * 2)
    attempts(road, "siebel", 3, 4)
    attempts(road, "crowdtwist", 700, ago="90 minutes")
    counted(road)
    found = client.get("/v1/latencies", params={"since": "1h"}, headers=VERA).json()
    assert found["step_s"] == 60
    assert [(one["stage"], one["count"]) for one in found["items"]] == [("crowdtwist", 100), ("siebel", 2)]
    crowdtwist = found["items"][0]
    assert crowdtwist["p50_s"] < 0.025
    assert 0.025 < crowdtwist["p95_s"] <= 0.25
    assert 1 < crowdtwist["p99_s"] <= 2.5
    hourly = client.get("/v1/latencies", params={"since": "1d"}, headers=VERA).json()
    assert hourly["step_s"] == 3600
    assert sum(one["count"] for one in hourly["items"] if one["stage"] == "crowdtwist") == 101
    now = datetime.now(UTC)
    with transaction(road.ledger) as tx:
        took = latencies.latencies(tx, since=now - timedelta(hours=2), until=now, step=timedelta(minutes=1))
    assert {stage: one.count for stage, one in took.whole.items()} == {"crowdtwist": 101, "siebel": 2}
    counted(road, again=True)
    assert sum(road.sql("select count from latency where per = 'minute'")) == 103, "counted once"
    for wrong in ("x", "2026-13-01"):
        assert client.get("/v1/latencies", params={"since": wrong}, headers=VERA).status_code == 400
    assert client.get("/v1/latencies", params={"since": "1h", "until": "2h"}, headers=VERA).json()["items"] == []


def test_the_charts_show_incidents_and_new_versions_where_they_were(
    client: httpx.Client, road: Road, ledger: Engine
) -> None:
    attempts(road, "crowdtwist", *[20] * 10)
    attempts(road, "crowdtwist", *[400] * 10, ago="20 minutes")
    counted(road)
    road.sql("""
        with made as (
            insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto)
            values ('connection', 'open', 'crowdtwist', 'CrowdTwist: <b>503</b>', 'crowdtwist-1', now(), now(), now())
            returning id)
        insert into incident_span (incident_id, stage, from_at)
        select id, 'crowdtwist', now() - interval '30 minutes' from made
    """)
    for version in ("1.4.0", "1.5.0"):
        with ledger.begin() as tx:
            marks.begun(tx, version, {"MEMBERSYNC_SHARE": version})
    page = logged_in(client, "tok-vera").get("/history")
    assert page.status_code == 200
    drawn = re.findall(
        r'<figure class="card plotted"[^>]*aria-labelledby="took-(\w+)">(.*?)</figure>', page.text, re.DOTALL
    )
    assert [stage for stage, _ in drawn] == ["oic", "crowdtwist", "siebel"]
    oic, crowdtwist, _ = (svg for _, svg in drawn)
    assert ("nothing yet" in oic, "nothing yet" in crowdtwist) == (True, False)
    assert re.search(r'href="/incidents/\d+"', crowdtwist)
    assert "and goes on: CrowdTwist: &lt;b&gt;503&lt;/b&gt;" in crowdtwist
    assert "version 1.4.0 became version 1.5.0" in crowdtwist
    assert "<b>503" not in page.text
    assert "In all 20 attempts" in said(page)
    assert not re.search(r"<script(?![^>]*src)|style=", crowdtwist)
    for address in ("/history?since=3h&until=2h", "/history?range=90d", "/history?since=1s"):
        assert client.get(address).status_code == 200, address

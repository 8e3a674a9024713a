"""The first page says how it goes, what failed, and what to do about it."""

import json
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Engine

from deploy.local.programs import free_port
from producers.console.charts import outcomes_chart
from producers.console.history import Range
from producers.site import create_app
from shared.ledger import connections
from shared.ledger.engine import engine
from shared.ledger.tallies import MinuteCount, Outage
from shared.pipeline import Stage
from shared.settings import Settings, Token
from tests.calling import served
from tests.console import logged_in
from tests.console_stack import serves
from tests.mailing import goes_down
from tests.rig import Pipeline, eventually
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road

TOKENS = {"tok-vera": Token(name="vera", role="viewer"), "tok-oscar": Token(name="oscar", role="operator")}
NOW = datetime(2026, 11, 23, 9, 0, 30, tzinfo=UTC)


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    of = Settings(_env_file=None, ledger_url=ledger_url)
    with served(create_app(of.model_copy(update={"api": of.api.model_copy(update={"tokens": TOKENS})}))) as one:
        one.headers["Accept"] = "text/html"
        yield one


def part(page: str, name: str) -> str:
    """Return a section's text without tags."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found, name
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))


def test_an_empty_ledger_is_a_calm_page(client: httpx.Client) -> None:
    page = logged_in(client, "tok-vera").get("/").text
    assert "No dead letters" in part(page, "causes")
    assert part(page, "connections").count("up") == 3
    assert "Nothing waits" in part(page, "lanes")


def test_a_paused_connection_says_by_whom_and_why_and_offers_resume_to_operators(
    client: httpx.Client, ledger: Engine
) -> None:
    with ledger.begin() as tx:
        connections.pause(tx, Stage.OIC, by="olga", reason="maintenance <of OIC>")
    shown = logged_in(client, "tok-oscar").get("/").text
    assert re.search(r"OIC paused Paused by olga ,.* ago : maintenance &lt;of OIC&gt;", part(shown, "connections"))
    assert 'action="/connections/oic/resume"' in shown
    assert "/resume" not in logged_in(client, "tok-vera").get("/").text


@pytest.mark.parametrize(("probes", "said"), [(0, "0 probes, "), (1, "1 probe, "), (1200, "1 200 probes, ")])
def test_a_connection_that_is_down_says_how_often_it_was_probed(
    client: httpx.Client, ledger: Engine, probes: int, said: str
) -> None:
    road = Road(ledger)
    goes_down(road, Stage.SIEBEL)
    road.sql(f"update connection set probes = {probes} where name = 'siebel'")
    shown = part(logged_in(client, "tok-vera").get("/").text, "connections")
    assert said in shown


def test_dead_letters_and_data_errors_stand_by_cause_with_what_to_do(client: httpx.Client, ledger: Engine) -> None:
    road = Road(ledger)
    road.accept("D-1", "D-2", "D-3")
    road.travel(ALWAYS_DOWN)
    road.accept("R-1", "R-2")
    road.travel(ALWAYS_REFUSED)
    page = logged_in(client, "tok-oscar").get("/").text
    said = part(page, "causes")
    assert re.search(r"unavailable at CrowdTwist 3 CrowdTwist: answered 503", said)
    assert "its test passes and says nothing about them" in said
    assert re.search(r"Data Error at CrowdTwist 2 .*Email Address is already taken", said)
    assert "Correct Email Address of the member's contact in Siebel" in said.replace("&#39;", "'")
    assert 'href="/dead-letters/plan?kind=requeue' in page
    assert "/dead-letters/plan" not in logged_in(client, "tok-vera").get("/").text


def test_a_data_error_that_a_newer_event_has_fixed_asks_for_nothing(client: httpx.Client, ledger: Engine) -> None:
    road = Road(ledger)
    road.accept("R-1", "R-2")
    road.travel(ALWAYS_REFUSED)
    road.accept("R-1", minute=1)
    road.travel()
    road.accept("R-2", minute=1)
    said = part(logged_in(client, "tok-vera").get("/").text, "causes")
    assert "has already fixed 1" in said
    assert "For 1 a newer event is on its way" in said
    road.travel()
    fixed = "Nothing to do: a newer event has fixed all of them"
    eventually(lambda: fixed in part(client.get("/").text, "causes"), "a newer look")


def test_parts_that_change_come_by_themselves(client: httpx.Client, ledger: Engine) -> None:
    logged_in(client, "tok-vera")
    with client.stream("GET", "/live/overview") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        first = parts(lines)
        assert {"connections", "lanes", "outcomes", "causes"} <= first.keys()
        with ledger.begin() as tx:
            connections.pause(tx, Stage.SIEBEL, by="olga", reason="window")
        changed = parts(lines)
    assert "Paused by" in changed["connections"]
    assert "causes" not in changed


def parts(lines: Iterator[str]) -> dict[str, str]:
    """Return the parts of the next event."""
    for line in lines:
        if line.startswith("data:"):
            found: dict[str, str] = json.loads(line.removeprefix("data:"))
            return found
    raise AssertionError("the stream has ended")


def test_a_stream_needs_a_login(client: httpx.Client) -> None:
    assert client.get("/live/overview").status_code == 303


def test_a_ledger_that_is_away_is_a_page_that_tries_again(ledger_url: str) -> None:
    away = ledger_url.rpartition("/")[0] + "/nowhere"
    with served(create_app(Settings(_env_file=None, ledger_url=away))) as client:
        page = client.get("/", headers={"Accept": "text/html"})
    engine(away).dispose()
    assert page.status_code == 503
    assert "nothing is lost" in page.text
    assert page.headers["refresh"]


HOUR = Range("1h", NOW, is_now=True).steps


def test_the_plot_shows_what_happened_when_and_marks_outages_above_it() -> None:
    at = NOW.replace(second=0)
    svg = outcomes_chart(
        [MinuteCount(at, "siebel", "completed", 7), MinuteCount(at, "crowdtwist", "rejected", 2)],
        [Outage("crowdtwist", "down", NOW - timedelta(minutes=30), None, "answered 503 <b>", None)],
        HOUR,
    )
    assert "<title>09:00 completed: 7</title>" in svg
    assert "<title>09:00 Data Error: 2</title>" in svg
    shade = re.search(r'class="shade down"><rect x="([\d.]+)" y="(-?[\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg)
    assert shade
    assert float(shade[3]) == pytest.approx(float(shade[1]), rel=0.1)  # the second half of the hour
    tallest = max(float(height) for height in re.findall(r'class="bar"><rect [^>]*height="([\d.]+)"', svg))
    assert float(shade[4]) < tallest / 10  # a strip, which paints no bar over
    assert float(shade[2]) + float(shade[4]) <= 0
    assert "CrowdTwist down from 08:30:30 and still is: answered 503 &lt;b&gt;" in svg
    assert "<style" not in svg
    assert "<script" not in svg
    assert "style=" not in svg


def test_an_hour_of_nothing_is_an_empty_plot() -> None:
    assert outcomes_chart([], [], HOUR).startswith("<svg")


def test_streams_do_not_keep_the_api_from_stopping(pipeline: Pipeline) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with pipeline.process("-m", "producers.cli", "api", "--port", str(port)) as api, httpx.Client() as browser:
        eventually(lambda: serves(url), "the api's start")
        with browser.stream("GET", f"{url}/live/overview") as stream:
            lines = stream.iter_lines()
            parts(lines)
            api.send_signal(signal.SIGTERM)
            list(lines)
        assert api.wait(5) == 0

"""The plots of an hour to ninety days: what they count, where they lead, and how long members waited."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape

import httpx
import pytest
from sqlalchemy import Engine

from producers.console.history import RANGES, Range
from producers.dispatch.bookkeeper import Bookkeeper
from producers.metrics import registry_of
from shared.ledger import tallies
from shared.ledger.engine import transaction
from shared.ledger.tallies import WAIT_BOUNDS_S, WaitTotal, percentiles
from shared.settings import Settings
from tests.console import console, logged_in, said
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def settings(ledger_url: str) -> Settings:
    return Settings(_env_file=None, ledger_url=ledger_url)


@pytest.fixture
def client(settings: Settings, ledger: Engine) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    with console(settings) as one:
        yield logged_in(one, "tok-vera")


def counted(settings: Settings) -> None:
    bookkeeper = Bookkeeper(settings)
    while bookkeeper.turn():
        pass


def titles(page: httpx.Response) -> list[str]:
    return [unescape(one) for one in re.findall(r"<title>([^<]*)</title>", page.text)]


def bar(page: httpx.Response, name: str) -> str:
    """Return where the first bar of *name* leads."""
    found = re.search(rf'href="([^"]*)"[^>]*class="bar"[^>]*><rect[^>]*/><title>[^<]* {name}: ', page.text)
    found = found or re.search(rf'class="bar" href="([^"]*)"[^>]*><rect[^>]*/><title>[^<]* {name}: ', page.text)
    assert found, name
    return unescape(found[1])


def test_a_bar_leads_to_the_instances_that_it_counts(client: httpx.Client, road: Road, settings: Settings) -> None:
    road.accept("M-1", "M-2", "M-3")
    road.travel()
    road.accept("R-1")
    road.travel(ALWAYS_REFUSED)
    counted(settings)
    for address in ("/", "/history", "/history?range=24h", "/history?range=90d"):
        page = client.get(address)
        assert any(title.endswith(" completed: 3") for title in titles(page)), address
        listed = client.get(bar(page, "completed"))
        assert "3 instances came to this" in said(listed)
        assert all(f">{number}<" in listed.text for number in ("M-1", "M-2", "M-3"))
        assert ">R-1<" not in listed.text
        assert ">R-1<" in client.get(bar(page, "Data Error")).text


def test_it_counts_what_happened_also_where_it_has_been_put_right_since(
    client: httpx.Client, road: Road, settings: Settings
) -> None:
    road.accept("D-1", "D-2")
    road.travel(ALWAYS_DOWN)
    road.sql("update instance set state = 'discarded' where state = 'dead'")
    counted(settings)
    page = client.get("/")
    assert any(title.endswith(" dead letter: 2") for title in titles(page))
    assert re.search(r"Last hour Accepted 2 dead letters 2", said(page))


def test_a_longer_range_is_entered_by_its_steps_and_a_shorter_one_left_by_links(
    client: httpx.Client, road: Road, settings: Settings
) -> None:
    road.accept("M-1")
    road.travel()
    counted(settings)
    address, seen = "/history?range=90d", []
    while closer := re.findall(r'class="zoom" xlink:href="([^"]*)"', client.get(address).text):
        address = unescape(closer[-1])
        seen.append(httpx.URL(address).params["range"])
    assert seen == ["24h", "1h"]
    page = client.get("/history?range=24h&until=3d")
    assert 'rel="prev"' in page.text
    assert 'rel="next"' in page.text


@pytest.mark.parametrize("name", RANGES)
def test_a_range_ends_where_it_was_asked_to_and_has_whole_steps(name: str) -> None:
    length, step = RANGES[name]
    now = datetime.now(UTC)
    for until in (now, now - timedelta(days=40), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)):
        steps = Range(name, until, is_now=False).steps
        assert steps.until - step < until <= steps.until
        assert steps.until - steps.since == length
        assert steps.count == length / step
        assert steps.since.timestamp() % step.total_seconds() == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("/history?range=2h", "Range : must be one of 1h, 6h, 24h, 7d, 30d, 90d"),
        ("/history?until=yesterday", "Until : "),
        ("/outcomes?outcome=lost", "Outcome : must be one of completed"),
        ("/outcomes?outcome=completed&since=x", "Since : "),
        ("/outcomes?outcome=completed&cursor=x", "Cursor : is none of ours"),
    ],
)
def test_what_cannot_be_understood_is_named(client: httpx.Client, query: str, words: str) -> None:
    answer = client.get(query)
    assert answer.status_code == 400
    assert words in said(answer)


def test_waits_are_counted_once_by_lane_and_for_good(road: Road, settings: Settings, ledger: Engine) -> None:
    road.accept("M-1", "M-2")
    road.sql("update instance set accepted_at = now() - interval '20 seconds' where member_number = 'M-2'")
    road.travel()
    road.accept("R-1")
    road.travel(ALWAYS_REFUSED)
    counted(settings)
    counted(settings)
    soon = datetime.now(UTC) + timedelta(hours=1)
    with transaction(ledger) as tx:
        whole = tallies.wait_totals(tx)
        found = tallies.waits(tx, since=soon - timedelta(hours=2), until=soon, step=timedelta(minutes=1))
        hourly = tallies.waits(tx, since=soon - timedelta(hours=25), until=soon, step=timedelta(hours=1))
    assert sum(one.count for one in whole) == sum(one.count for one in found) == sum(one.count for one in hourly) == 3
    assert {one.lane for one in whole} == {"live"}
    assert [one.count for one in whole if one.bucket == WAIT_BOUNDS_S.index(30.0)] == [1]
    assert 20 <= sum(one.waited_s for one in whole) < 40
    scraped = registry_of(settings)
    assert scraped.get_sample_value("membersync_sync_seconds_count", {"lane": "live"}) == 3
    assert scraped.get_sample_value("membersync_sync_seconds_bucket", {"lane": "live", "le": "10.0"}) == 2
    assert scraped.get_sample_value("membersync_sync_seconds_count", {"lane": "bulk"}) == 0


def test_a_wait_is_on_the_page(client: httpx.Client, road: Road, settings: Settings) -> None:
    road.accept("M-1")
    road.sql("update instance set accepted_at = now() - interval '20 seconds'")
    road.travel()
    counted(settings)
    assert "In all 1 told: half within 20.0 s" in said(client.get("/history"))
    assert "From acceptance to Siebel, last hour: half within 20.0 s" in said(client.get("/"))


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({0: 100}, (0.0125, 0.02375, 0.02475)),
        ({5: 50, 9: 50}, (1.0, 28.0, 29.6)),
        ({0: 99, 16: 1}, (0.0126, 0.024, 0.025)),
        ({16: 10}, (86400.0, 86400.0, 86400.0)),
    ],
)
def test_percentiles_lie_in_their_bucket_by_proportion(
    buckets: dict[int, int], expected: tuple[float, float, float]
) -> None:
    found = percentiles([WaitTotal("live", bucket, count, 0.0) for bucket, count in buckets.items()])
    assert found is not None
    assert (found.p50_s, found.p95_s, found.p99_s) == pytest.approx(expected, rel=0.02)
    assert percentiles([]) is None

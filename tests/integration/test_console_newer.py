"""Lists say what has come since they were drawn, and streams cost what has changed."""

import json
import re
import zlib
from collections.abc import Iterator
from html import unescape

import httpx
import pytest
from sqlalchemy import Engine

from shared.ledger import connections
from shared.ledger.jobs import Kind
from shared.pipeline import Stage
from shared.settings import Settings
from tests.console import console, logged_in, post
from tests.road import Road, start


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def client(ledger_url: str, ledger: Engine) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    with console(Settings(_env_file=None, ledger_url=ledger_url)) as one:
        yield logged_in(one, "tok-oscar")


def stream_of(client: httpx.Client, address: str) -> str:
    found = re.search(r'data-live="([^"]*)"', client.get(address).text)
    assert found, address
    return unescape(found[1])


def parts(lines: Iterator[str]) -> dict[str, str]:
    """Return the parts of the next event that has any but the verdict, the counts and no trouble, as on every page."""
    for line in lines:
        if line.startswith("data:"):
            sent = json.loads(line.removeprefix("data:"))
            everywhere = {"verdict": sent.get("verdict"), "trouble": ""}.items()
            found = dict(part for part in sent.items() if part not in everywhere and not part[0].startswith("count-"))
            if found:
                return found
    raise AssertionError("the stream has ended")


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_a_list_says_how_many_are_new_and_leads_to_them(client: httpx.Client, road: Road) -> None:
    road.accept("M-1", "M-2")
    address = stream_of(client, "/instances?state=pending")
    with client.stream("GET", address) as stream:
        lines = stream.iter_lines()
        assert parts(lines) == {"newer": ""}
        road.accept("M-3", "M-4", "M-5")
        found = parts(lines)["newer"]
    assert words(found) == "3 new: show"
    assert 'href="/instances?state=pending"' in found


def test_a_list_says_when_what_it_shows_has_changed(client: httpx.Client, road: Road) -> None:
    road.accept("M-1", "M-2")
    with client.stream("GET", stream_of(client, "/instances")) as stream:
        lines = stream.iter_lines()
        assert parts(lines) == {"newer": ""}
        road.travel()
        assert words(parts(lines)["newer"]) == "what is shown has changed: show"
        road.accept("M-3")
        assert words(parts(lines)["newer"]) == "1 new, and others have changed: show"


def test_more_than_can_be_counted_are_said_to_be_more(client: httpx.Client, road: Road) -> None:
    with client.stream("GET", stream_of(client, "/instances")) as stream:
        lines = stream.iter_lines()
        assert parts(lines) == {"newer": ""}
        road.accept(*(f"M-{number}" for number in range(130)))
        assert words(parts(lines)["newer"]).startswith("99+ new")


def test_dead_letters_say_so_too_also_those_of_one_cause(client: httpx.Client, road: Road) -> None:
    road.dead("D-1", "D-2")
    cause = client.get("/dead-letters")
    of_cause = re.search(r'href="([^"]*message=[^"]*)">List<', cause.text)
    assert of_cause
    for page in ("/dead-letters", unescape(of_cause[1])):
        with client.stream("GET", stream_of(client, page)) as stream:
            lines = stream.iter_lines()
            assert parts(lines) == {"newer": ""}
            road.dead(f"D-3-{len(page)}")
            assert words(parts(lines)["newer"]).startswith("1 new")


def test_the_audit_says_so_too_and_keeps_its_filter(client: httpx.Client, road: Road) -> None:
    assert post(client, "/", "/connections/oic/pause", reason="window").status_code == 303
    with client.stream("GET", stream_of(client, "/audit?what=pause")) as stream:
        lines = stream.iter_lines()
        assert parts(lines) == {"newer": ""}
        assert post(client, "/", "/connections/siebel/pause", reason="window").status_code == 303
        found = parts(lines)["newer"]
    assert words(found) == "1 new: show"
    assert 'href="/audit?what=pause"' in found
    assert road.sql("select count(*) from operator_action") == [2]


def test_the_list_of_requeues_draws_itself_anew(client: httpx.Client, road: Road) -> None:
    with client.stream("GET", stream_of(client, "/jobs")) as stream:
        lines = stream.iter_lines()
        assert "None so far" in parts(lines)["jobs"]
        road.dead("D-1")
        start(road, 1, kind=Kind.DISCARD)
        assert "discard 1" in words(parts(lines)["jobs"])


def test_older_pages_and_pages_of_a_mistake_follow_nothing(client: httpx.Client, road: Road) -> None:
    road.dead(*(f"D-{number}" for number in range(60)))
    for address in ("/instances?cursor=30", "/dead-letters?cursor=30", "/instances?since=x", "/audit?since=x"):
        assert "data-live" not in client.get(address).text, address


@pytest.mark.parametrize(
    "address", ["/live/instances?after=-1", "/live/instances?after=x", "/live/instances?since=x", "/live/audit?since=x"]
)
def test_a_stream_that_cannot_be_understood_is_refused(client: httpx.Client, address: str) -> None:
    assert client.get(address).status_code in {400, 422}


def test_a_part_that_has_hardly_changed_costs_next_to_nothing(client: httpx.Client, ledger: Engine) -> None:
    with client.stream("GET", "/live/overview", headers={"Accept-Encoding": "gzip"}) as stream:
        assert stream.headers["content-encoding"] == "gzip"
        raw = stream.iter_raw()
        unpacked = zlib.decompressobj(wbits=31)
        first = next(raw)
        assert b"event: parts" in unpacked.decompress(first)
        with ledger.begin() as tx:
            connections.pause(tx, Stage.SIEBEL, by="olga", reason="window")
        second = next(raw)
        said = unpacked.decompress(second)
    assert b"Paused by" in said
    assert len(second) < len(said) / 4


def test_who_takes_no_compression_gets_none(client: httpx.Client) -> None:
    with client.stream("GET", "/live/overview", headers={"Accept-Encoding": "identity"}) as stream:
        assert "content-encoding" not in stream.headers
        assert parts(stream.iter_lines())["lanes"]

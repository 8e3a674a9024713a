"""How it goes and how it went: the outages and minutes of the ledger, `/v1/status` and `/v1/throughput`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from producers.site import create_app
from shared.ledger import connections, tallies
from shared.ledger.engine import transaction
from shared.ledger.tallies import Outage
from shared.pipeline import Stage
from shared.settings import Settings
from tests.calling import assert_problem, event, served
from tests.road import REFUSED, Road, start

AT = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=1)
TOKENS = {
    "p-token": {"name": "siebel", "role": "producer"},
    "v-token": {"name": "vera", "role": "viewer"},
}
VERA = {"Authorization": "Bearer v-token"}


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def settings(ledger_url: str) -> Settings:
    return Settings(ledger_url=ledger_url)


@pytest.fixture
def client(settings: Settings, road: Road) -> Iterator[httpx.Client]:
    assert road.states() == {}
    api = settings.api.model_validate({"tokens": TOKENS})
    with served(create_app(settings.model_copy(update={"api": api}))) as opened:
        yield opened


def change(road: Road, minute: int, name: str, what: str, *said: str) -> None:
    """Write down that a connection changed *minute* minutes after `AT`; *said*: why, and who."""
    why, who, *_ = *said, "", ""
    values = f"'{AT + timedelta(minutes=minute)}', '{name}', '{what}', nullif('{why}', ''), nullif('{who}', '')"
    road.sql(f"insert into connection_change (at, name, what, why, who) values ({values})")


def outages(road: Road, minute: int) -> list[Outage]:
    with transaction(road.ledger) as tx:
        return tallies.outages(tx, since=AT + timedelta(minutes=minute))


def spans(found: list[Outage]) -> list[tuple[str, str, int, int | None]]:
    """Return outages with their beginning and end in minutes after `AT`."""
    return [(one.name, one.what, minutes_of(one.from_at) or 0, minutes_of(one.to_at)) for one in found]


def minutes_of(at: datetime | None) -> int | None:
    return None if at is None else int((at - AT).total_seconds() // 60)


def test_an_outage_lasts_from_down_to_up_and_a_pause_until_it_is_resumed(road: Road) -> None:
    change(road, 0, "crowdtwist", "down", "CrowdTwist: answered 503")
    change(road, 1, "siebel", "down")
    change(road, 2, "crowdtwist", "paused", "their window", "olga")
    change(road, 3, "crowdtwist", "up")
    change(road, 4, "crowdtwist", "down")
    change(road, 9, "crowdtwist", "resumed", "", "olga")
    assert spans(outages(road, 0)) == [
        ("crowdtwist", "down", 0, 3),
        ("siebel", "down", 1, None),
        ("crowdtwist", "paused", 2, 9),
        ("crowdtwist", "down", 4, None),
    ]


def test_an_outage_that_began_before_is_shown_from_its_beginning_unless_it_was_over(road: Road) -> None:
    change(road, 0, "oic", "down")
    change(road, 5, "oic", "up")
    change(road, 1, "siebel", "down")
    assert spans(outages(road, 4)) == [("oic", "down", 0, 5), ("siebel", "down", 1, None)]
    assert spans(outages(road, 6)) == [("siebel", "down", 1, None)]


def test_an_outage_says_why_and_who_without_anybodys_address(road: Road) -> None:
    with transaction(road.ledger) as tx:
        connections.pause(tx, Stage.OIC, by="olga", reason="as ann.lee@example.org asked")
    (found,) = outages(road, 0)
    assert (found.name, found.what, found.who, found.to_at) == ("oic", "paused", "olga", None)
    assert found.why == "as a***@e***.org asked"


def test_minutes_are_those_that_reach_into_the_time_asked_for(road: Road) -> None:
    for minute in range(5):
        road.sql(f"insert into minute values ('{AT + timedelta(minutes=minute)}', 'oic', 'done', {minute + 1})")
    with transaction(road.ledger) as tx:
        found = tallies.minutes(tx, since=AT + timedelta(minutes=1, seconds=30), until=AT + timedelta(minutes=3))
    assert [(one.at, one.stage, one.outcome, one.count) for one in found] == [
        (AT + timedelta(minutes=1), "oic", "done", 2),
        (AT + timedelta(minutes=2), "oic", "done", 3),
    ]


def test_the_status_is_the_overview(client: httpx.Client, road: Road, settings: Settings) -> None:
    road.accept("M-1", "M-2")
    road.travel(lambda work: REFUSED if work.member_number == "M-2" else None)
    road.dead("M-3")
    road.accept("M-4")
    Bookkeeper(settings).turn()
    status = client.get("/v1/status", headers=VERA).json()
    assert [one["name"] for one in status["connections"]] == ["oic", "crowdtwist", "siebel"]
    assert [(one["lane"], one["stage"], one["state"], one["count"]) for one in status["backlog"]] == [
        ("live", "oic", "pending", 1)
    ]
    (letters,) = status["dead_letters"]
    assert (letters["stage"], letters["code"], letters["count"]) == ("crowdtwist", "unavailable", 1)
    assert [(one["period_s"], one["accepted"]) for one in status["rates"]] == [(60, 4), (3600, 4)]
    assert status["rates"][1]["finished"] == {"completed": 1, "dead": 1, "rejected": 1}


def test_the_verdict_tells_causes_apart_as_their_cards_do(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3", "M-4", "M-5", "M-6")
    road.sql("update instance set error = 'CrowdTwist: could not serve us (HTTP 500)' where id in (1, 2, 3)")
    road.sql("update instance set error = 'CrowdTwist: answered something that is not JSON (HTTP 200)' where id = 4")
    road.sql("update instance set code = 'unauthorised', suspect = true where id in (5, 6)")
    status = client.get("/v1/status", headers=VERA).json()
    (letters,) = [one for one in status["verdict"]["troubles"] if "dead letters" in one["short"]]
    causes = "3 CrowdTwist failed on these members, 2 CrowdTwist refused these members, 1 more cause"
    assert letters["what"] == f"6 dead letters need you: {causes}"
    (first_at,) = road.sql("select min(finished_at) from instance")
    assert datetime.fromisoformat(letters["since"]) == first_at
    assert [(one["code"], one["count"], len(one)) for one in status["dead_letters"]] == [
        ("unavailable", 4, 4),
        ("unauthorised", 2, 4),
    ]


def test_the_last_hour_counts_a_dead_letter_that_has_been_requeued_since(
    client: httpx.Client, road: Road, settings: Settings
) -> None:
    road.dead("M-1", "M-2")
    road.until_over(start(road, 1))
    Bookkeeper(settings).turn()
    assert client.get("/v1/status", headers=VERA).json()["rates"][1]["finished"] == {"completed": 1, "dead": 2}


def test_throughput_is_minutes_and_outages_since_then(client: httpx.Client, road: Road, settings: Settings) -> None:
    client_now = datetime.now(UTC)
    road.accept("M-1")
    Bookkeeper(settings).turn()
    road.sql(f"insert into minute values ('{AT}', 'siebel', 'completed', 7)")
    change(road, 0, "siebel", "down", "Siebel: no connection")
    answer = client.get("/v1/throughput", headers=VERA).json()
    assert [(one["stage"], one["outcome"], one["count"]) for one in answer["items"]] == [("intake", "accepted", 1)]
    assert datetime.fromisoformat(answer["items"][0]["at"]) >= client_now - timedelta(minutes=1)
    assert answer["next"] is None
    assert [(one["name"], one["what"], one["to_at"], one["why"]) for one in answer["outages"]] == [
        ("siebel", "down", None, "Siebel: no connection")
    ]
    for since in ("2d", "7d", "8d", "2020-01-01", "", AT.isoformat()):
        longer = client.get("/v1/throughput", params={"since": since}, headers=VERA).json()
        assert [one["count"] for one in longer["items"]] == [7, 1]


def test_a_since_that_cannot_be_meant_is_refused(client: httpx.Client) -> None:
    answer = client.get("/v1/throughput", params={"since": "soon"}, headers=VERA)
    assert_problem(answer, 400, "invalid_parameter")
    assert answer.json()["detail"].startswith("since: must be an instant")


@pytest.mark.parametrize("path", ["/v1/status", "/v1/throughput"])
def test_who_watches_needs_a_token_that_may_read(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers=VERA).status_code == 200
    assert_problem(client.get(path), 401, "unauthorised")
    assert_problem(client.get(path, headers={"Authorization": "Bearer p-token"}), 403, "forbidden")


@pytest.mark.parametrize("path", ["/v1/status", "/v1/throughput"])
def test_the_example_in_the_description_is_like_the_answer(client: httpx.Client, road: Road, path: str) -> None:
    road.dead("M-1")
    road.accept("M-2")
    road.sql("insert into minute values (now(), 'oic', 'done', 1)")
    change(road, 0, "oic", "down")
    road.sql("insert into heartbeat values ('worker', 'w-1', '{live}', 1, now(), now())")
    described: dict[str, Any] = client.get("/openapi.json").json()["paths"][path]["get"]["responses"]["200"]
    example = described["content"]["application/json"]["example"]
    answer = client.get(path, headers=VERA).json()
    assert example.keys() == answer.keys()
    for name in ("refused_last_day", "parked_late"):
        assert isinstance(answer.pop(name, 0), int), name
    assert all(isinstance(count, int) for count in answer.pop("cases", {}).values())  # open ones, by kind
    for name in answer.keys() - {"at", "next"}:
        shown, given = ([value] if isinstance(value, dict) else value for value in (example[name], answer[name]))
        assert [one.keys() for one in shown[:1] if given] == [one.keys() for one in given[:1] if shown], name


def test_masked_text_reaches_the_viewer(client: httpx.Client, road: Road) -> None:
    change(road, 0, "siebel", "down", "Siebel: ann.lee@example.org is unknown")
    client.post("/v1/member-events", json=event(), headers={"Authorization": "Bearer p-token"})
    for path in ("/v1/status", "/v1/throughput"):
        assert "ann.lee" not in client.get(path, headers=VERA).text

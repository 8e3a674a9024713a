"""An operator sends a member again from its page: forced, with a reason, recorded, and never over newer content."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from shared.settings import Settings
from tests.console import console, hidden, logged_in, post, said
from tests.road import Road
from tests.unpacking import unpack_events

PAGE = "/members/M-1"
AGAIN = f"{PAGE}/send-again"


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def client(ledger_url: str, ledger: Engine) -> Iterator[httpx.Client]:  # noqa: ARG001  # emptied
    with console(Settings(_env_file=None, ledger_url=ledger_url)) as one:
        yield one


@pytest.fixture
def oscar(client: httpx.Client) -> httpx.Client:
    return logged_in(client, "tok-oscar")


def states(road: Road) -> list[str]:
    return [str(state) for state in road.sql("select state from instance order by id")]


def test_what_crowdtwist_is_believed_to_have_is_sent_again(oscar: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.accept("M-1")
    assert states(road) == ["completed"]  # the same event is a duplicate
    answer = post(oscar, PAGE, AGAIN, reason="Siebel was restored")
    assert answer.headers["location"] == PAGE
    (newest,) = road.sql("select max(id) from instance")
    assert f"It is sent again as instance {newest}." in said(oscar.get(PAGE))
    road.travel()
    assert states(road) == ["completed", "completed"]
    unpack_events(road.ledger)
    first, second = road.sql("select event_json->'member' from payload order by instance_id")
    assert first == second
    (line,) = road.sql("select who || ': ' || what || ', ' || reason || ': ' || answer from operator_action")
    assert line == f"oscar: send again, Siebel was restored: instance {newest}"


def test_a_form_that_is_sent_twice_sends_once(oscar: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    road.travel()
    fields = hidden(oscar.get(PAGE), AGAIN)
    for _ in range(2):
        assert post(oscar, PAGE, AGAIN, reason="x", **fields).status_code == 303
    assert len(states(road)) == 2


def test_a_pending_event_is_overtaken_by_its_own_content_and_a_newer_one_goes_on(
    oscar: httpx.Client, road: Road
) -> None:
    road.accept("M-1")
    road.travel()
    road.accept("M-1", minute=1)
    post(oscar, PAGE, AGAIN, reason="x")
    assert states(road) == ["completed", "superseded", "pending"]
    unpack_events(road.ledger)
    names = road.sql("select event_json->'member'->>'last_name' from payload order by instance_id")
    assert names == ["Lee the 0th", "Lee the 1th", "Lee the 1th"]
    road.accept("M-1", minute=2)
    assert states(road) == ["completed", "superseded", "superseded", "pending"]


def test_without_a_reason_or_a_member_nothing_is_sent(oscar: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    road.travel()
    post(oscar, PAGE, AGAIN, reason="  ")
    assert "Nothing was sent: reason: say why." in said(oscar.get(PAGE))
    assert len(states(road)) == 1
    answer = post(oscar, PAGE, "/members/nobody/send-again", reason="x")
    assert answer.status_code == 303
    assert len(states(road)) == 1


def test_a_viewer_is_offered_nothing_and_denied_on_record(client: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    vera = logged_in(client, "tok-vera")
    assert "Send again" not in vera.get(PAGE).text
    assert post(vera, PAGE, AGAIN, reason="x").status_code == 403
    assert road.sql("select who, what, denied from operator_action") == [("vera", "send again", True)]

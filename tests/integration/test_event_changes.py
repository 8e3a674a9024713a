"""What changed between two events of a member, field by field: who sees which values, and of which two events."""

import httpx
import pytest
from sqlalchemy import Engine

from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.pipeline import Lane
from tests.console import logged_in, post, said
from tests.rig import member_event
from tests.road import Road
from tests.terminal import Terminal

CHANGES = "/v1/members/M-1/changes"


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def three(ledger: Engine) -> list[str]:
    """Three events of a member and one of another; the instances of the three."""
    events = [
        member_event("M-1", 0, last_name="Quuxley", city="Ousterville", country_code="GB"),
        member_event("M-1", 1, last_name="Quuxley", country_code="US", shoe_size="44"),
        member_event("M-1", 2, last_name="Quuxbury", country_code="US", shoe_size="44"),
        member_event("M-2", 0),
    ]
    parsed = [(at, parse_event(one, max_bytes=64_000)) for at, one in enumerate(events)]
    return [receipt.instance_id or "" for receipt in accept(ledger, parsed, IntakeRules(Lane.LIVE))][:3]


def changed(answer: dict[str, object]) -> dict[str, tuple[object, ...]]:
    changes: list[dict[str, object]] = answer["changes"]  # type: ignore[assignment]
    return {str(one["field"]): (one["change"], one["before"], one["after"]) for one in changes}


def test_the_newest_two_are_compared_unless_others_are_named_and_people_are_masked(
    client: httpx.Client, road: Road, three: list[str]
) -> None:
    first, second, third = three
    newest = client.get(CHANGES, headers=as_("tok-vera")).json()
    assert (newest["older"]["instance_id"], newest["newer"]["instance_id"]) == (second, third)
    assert set(changed(newest)) == {"last_name"}
    assert "uux" not in str(newest)
    chosen = client.get(CHANGES, params={"from": third, "to": first}, headers=as_("tok-vera")).json()
    assert (chosen["older"]["instance_id"], chosen["newer"]["instance_id"]) == (first, third)
    found = changed(chosen)
    assert found["country_code"] == ("changed", "GB", "US")
    assert (found["city"][0], found["city"][2], found["shoe_size"][0]) == ("removed", None, "added")
    assert not any(canary in str(found) for canary in ("uux", "Ouster", "44"))
    begun = client.get(CHANGES, params={"to": first}, headers=as_("tok-vera")).json()
    assert (begun["older"], {one[0] for one in changed(begun).values()}) == (None, {"added"})
    assert road.sql("select count(*) from operator_action") == [0]
    shown = client.get(CHANGES, headers=as_("tok-ada")).json()
    assert changed(shown)["last_name"] == ("changed", "Quuxley", "Quuxbury")
    assert road.sql("select who from operator_action where what = 'unmask' and asked ? 'changes'") == ["ada"]


def test_what_cannot_be_compared_says_why(client: httpx.Client, road: Road, three: list[str], cli: Terminal) -> None:
    other = str(road.sql("select id from instance where member_number = 'M-2'")[0])
    for chosen in ({"from": other}, {"to": other}, {"to": "999"}, {"to": "x"}, {"from": "9" * 30}, {"to": "-1"}):
        answer = client.get(CHANGES, params=chosen, headers=as_("tok-vera"))
        is_one = len(*chosen.values()) < 5 and str(*chosen.values()).isdecimal()
        assert (answer.status_code, answer.json()["field"]) == (404 if is_one else 400, next(iter(chosen))), chosen
    assert client.get(CHANGES, params={"from": three[2]}, headers=as_("tok-vera")).json()["changes"] == []
    assert client.get("/v1/members/nobody/changes", headers=as_("tok-vera")).status_code == 404
    road.sql(f"delete from payload where instance_id = {three[1]}")
    assert client.get(CHANGES, headers=as_("tok-vera")).json()["older"]["kept"] is False
    assert "cannot be compared" in said(logged_in(client, "tok-vera").get("/members/M-1/changes"))
    assert cli("changes", "nobody").code == 1
    assert cli("changes", "M-1", "--to", other).code == 2


def test_the_page_shows_two_events_and_only_an_admin_their_people(
    client: httpx.Client, three: list[str], cli: Terminal
) -> None:
    page = logged_in(client, "tok-vera").get("/members/M-1/changes", params={"from": three[0]})
    assert "country_code changed GB US" in said(page)
    assert "uux" not in page.text
    assert "Show people" not in page.text
    assert post(client, "/members/M-1/changes", "/members/M-1/changes").status_code == 403
    logged_in(client, "tok-ada")
    shown = post(client, "/members/M-1/changes", "/members/M-1/changes", **{"from": three[0], "to": three[2]})
    assert "last_name changed Quuxley Quuxbury" in said(shown)
    typed = cli("changes", "M-1", "--from", three[0])
    assert (typed.code, "uux" in typed.out, "GB" in typed.out) == (0, False, True)
    assert changed(cli("changes", "M-1", "--json", "--unmasked").json)["last_name"][1] == "Quuxley"

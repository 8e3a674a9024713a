"""Data Errors as cases: found, explained, closed by themselves; sent again when an address is free."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from producers.dispatch.desk import Desk
from producers.operations import cases as desk
from producers.operations.case_records import CaseRecord
from producers.operations.cases import Sees
from producers.operations.job_control import Operator
from producers.site import create_app
from shared.ledger.case_facts import CaseFilter
from shared.lifecycle.cases import CaseKind
from shared.settings import Settings, settings
from tests.calling import served
from tests.rig import Pipeline, eventually, member_event
from tests.terminal import Terminal

W, X, Y, Z = (f"{name}@example.org" for name in "wxyz")
ALL = Sees(holder=True)
NOT_BY_ITSELF = {"MEMBERSYNC_CASES__LOOK_UPS_PER_MINUTE": "0"}


def moves(pipeline: Pipeline, *moves: tuple[str, str], minute: int = 1) -> None:
    pipeline.send(*(member_event(number, minute=minute, email_address=address) for number, address in moves))


def settle(pipeline: Pipeline, *have: tuple[str, str]) -> None:
    """Let members have addresses."""
    moves(pipeline, *have, minute=0)
    eventually(lambda: pipeline.states() == {"completed": len(have)}, "they have them")


def open_cases(ledger: Engine) -> dict[str, CaseRecord]:
    page = desk.listed(ledger, CaseFilter(), ALL, limit=100)
    return {one.member_number: one for one in page.items}


def kinds(ledger: Engine) -> dict[str, str]:
    return {number: one.kind for number, one in open_cases(ledger).items()}


def closed(ledger: Engine) -> dict[str, str | None]:
    page = desk.listed(ledger, CaseFilter(is_open=False), ALL, limit=100)
    return {one.member_number: one.closed_how for one in page.items}


def addresses(pipeline: Pipeline, *numbers: str) -> list[str | None]:
    return [(pipeline.sandbox.control.user(number) or {}).get("email_address") for number in numbers]


def refused(pipeline: Pipeline, ledger: Engine, *numbers: str) -> None:
    eventually(lambda: set(numbers) <= open_cases(ledger).keys() and pipeline.settled(), f"{numbers} are refused")


def test_an_address_of_an_active_member(pipeline: Pipeline, ledger: Engine) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        moves(pipeline, ("B-1", X.upper()))
        refused(pipeline, ledger, "B-1")
        eventually(lambda: open_cases(ledger)["B-1"].looked_up == "found", "CrowdTwist is asked")
        one = open_cases(ledger)["B-1"]
    assert (one.kind, one.field, one.label, one.who) == (
        "taken_by_active",
        "email_address",
        "Email Address",
        "siebel",
    )
    assert one.value == "X***@E***.ORG"
    assert one.holder is not None
    assert (one.holder.member_number, one.holder.active, one.holder.found_by) == ("A-1", True, "crowdtwist")
    assert one.holder.age_s is not None
    assert "member B-1 or of member A-1" in one.what_to_do
    assert "Email Address is already taken" in one.message


def test_two_calls_at_most_and_no_page_makes_one(pipeline: Pipeline, ledger: Engine) -> None:
    pipeline.settings.update(NOT_BY_ITSELF)
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        pipeline.sandbox.control.set("crowdtwist", email_finds_inactive=False)
        pipeline.send(member_event("A-1", minute=1, email_address=X) | {"operation": "delete"})
        eventually(lambda: pipeline.states() == {"completed": 2}, "it is deleted")
        moves(pipeline, ("B-1", X))
        refused(pipeline, ledger, "B-1")
    before = pipeline.sandbox.control.state("crowdtwist")["calls_total"]
    first = open_cases(ledger)["B-1"]
    assert desk.find(ledger, first.case_id, ALL) is not None
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] == before
    answer = desk.look_up(ledger, Operator("olga", "cli"), "B-1", settings_of(pipeline), ALL)
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] == before + 2
    assert answer is not None
    assert answer.done
    assert (answer.case.kind, answer.case.who) == ("taken_by_inactive", "crowdtwist")
    assert answer.case.holder is not None
    assert (answer.case.holder.member_number, answer.case.holder.active) == ("A-1", False)


def settings_of(pipeline: Pipeline) -> Settings:
    connection = {"base_url": pipeline.sandbox.crowdtwist, "api_key": "sandbox-key"}
    return Settings(_env_file=None, ledger_url=pipeline.ledger_url, crowdtwist=connection)


def test_who_took_a_refused_address_is_sent_again_when_the_holder_moves(pipeline: Pipeline, ledger: Engine) -> None:
    pipeline.settings.update(NOT_BY_ITSELF)
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        moves(pipeline, ("B-1", X))
        refused(pipeline, ledger, "B-1")
        moves(pipeline, ("A-1", Y))
        eventually(lambda: addresses(pipeline, "A-1", "B-1") == [Y, X] and pipeline.settled(), "both have their own")
    assert kinds(ledger) == {}
    assert closed(ledger) == {"B-1": "holder_moved"}
    (lines,) = pipeline.sql("select count(*) from activity where what like 'sent again: the e-mail address%'")
    assert lines == 1


def test_nobody_is_sent_again_because_the_holder_changes_something_else(pipeline: Pipeline, ledger: Engine) -> None:
    pipeline.settings.update(NOT_BY_ITSELF)
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        moves(pipeline, ("B-1", X))
        refused(pipeline, ledger, "B-1")
        pipeline.send(member_event("A-1", minute=2, email_address=X, last_name="Other"))
        eventually(lambda: pipeline.states().get("completed") == 2, "A has another name")
        assert pipeline.sql("select retries from data_case") == [0]
    assert kinds(ledger) == {"B-1": "taken_by_active"}


def test_a_chain_of_ten_refused_in_the_worst_order_comes_loose_by_itself(pipeline: Pipeline, ledger: Engine) -> None:
    pipeline.settings.update(NOT_BY_ITSELF)
    numbers = [f"M-{at}" for at in range(10)]
    have = [f"a{at}@example.org" for at in range(10)]
    with pipeline.whole():
        settle(pipeline, *zip(numbers, have, strict=True))
        for at in range(9, 0, -1):
            moves(pipeline, (numbers[at], have[at - 1]))
            refused(pipeline, ledger, numbers[at])
        assert kinds(ledger)["M-1"] == "taken_by_active"
        assert {kinds(ledger)[number] for number in numbers[2:]} == {"chain"}
        found = open_cases(ledger)
        assert list(found) == numbers[1:]  # what unblocks most is first
        assert [one.unblocks for one in found.values()] == list(range(8, -1, -1))
        assert found["M-9"].path == numbers[8::-1]
        before = pipeline.sandbox.control.state("crowdtwist")["calls_total"]
        moves(pipeline, (numbers[0], "new@example.org"))
        eventually(lambda: pipeline.settled() and not kinds(ledger), "all have their own")
        assert addresses(pipeline, *numbers) == ["new@example.org", *have[:-1]]
        assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] - before == 10
    assert set(closed(ledger).values()) == {"holder_moved"}


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_cycle_is_seen_as_one(pipeline: Pipeline, ledger: Engine, size: int) -> None:
    numbers = [f"M-{at}" for at in range(size)]
    have = [f"a{at}@example.org" for at in range(size)]
    with pipeline.whole():
        settle(pipeline, *zip(numbers, have, strict=True))
        moves(pipeline, *zip(numbers, have[1:] + have[:1], strict=True))
        refused(pipeline, ledger, *numbers)
        eventually(lambda: set(kinds(ledger).values()) == {"cycle"}, "seen")
    one = open_cases(ledger)["M-0"]
    assert one.path == numbers[1:]
    assert one.unblocks == size - 1
    assert all(number in one.what_to_do for number in numbers)


@pytest.mark.parametrize("number", [None, "999-1"])
def test_an_outside_holder(pipeline: Pipeline, ledger: Engine, number: str | None) -> None:
    with pipeline.whole():
        user: dict[str, Any] = {"first_name": "Una", "last_name": "Foreign", "email_address": X, "postal_code": "10010"}
        key = {"api_key": "sandbox-key"}
        url = f"{pipeline.sandbox.crowdtwist}/v2/users"
        assert httpx.post(url, params=key, json=user | {"third_party_id": number}, trust_env=False).status_code == 200
        moves(pipeline, ("B-1", X))
        refused(pipeline, ledger, "B-1")
        eventually(lambda: kinds(ledger) == {"B-1": "outside_holder"}, "found")
        one = open_cases(ledger)["B-1"]
        assert (one.who, one.holder and one.holder.member_number) == ("crowdtwist", number)
        assert httpx.put(
            f"{url}/{one.holder and one.holder.ct_user_id}", params=key, json={"email_address": Y}, trust_env=False
        ).is_success
        answer = desk.look_up(ledger, Operator("olga", "cli"), "B-1", settings_of(pipeline), ALL)
        assert answer is not None
        eventually(lambda: addresses(pipeline, "B-1") == [X] and pipeline.settled(), "it is sent again")
    assert kinds(ledger) == {}
    assert closed(ledger) == {"B-1": "holder_moved"}


def test_a_holder_that_events_begin_to_come_of_gives_the_address_up(pipeline: Pipeline, ledger: Engine) -> None:
    user = {"first_name": "Una", "last_name": "Foreign", "email_address": X, "postal_code": "10010"}
    with pipeline.whole():
        users = f"{pipeline.sandbox.crowdtwist}/v2/users"
        body = user | {"third_party_id": "A-1"}
        assert httpx.post(users, params={"api_key": "sandbox-key"}, json=body, trust_env=False).is_success
        moves(pipeline, ("B-1", X))
        refused(pipeline, ledger, "B-1")
        eventually(lambda: kinds(ledger) == {"B-1": "outside_holder"}, "found")
        moves(pipeline, ("A-1", Y))
        eventually(lambda: addresses(pipeline, "A-1", "B-1") == [Y, X] and pipeline.settled(), "both have their own")
    assert closed(ledger) == {"B-1": "holder_moved"}


def test_a_wrong_character_a_missing_name_and_another_word(pipeline: Pipeline, ledger: Engine) -> None:
    def says(number: str, message: str) -> None:
        body = {"error": "input_error", "message": message}
        pipeline.sandbox.control.fault("crowdtwist", "status", status=400, body=body, member=number)

    with pipeline.whole():
        says("B-1", "Email Address is invalid")
        says("B-4", "You are too young")
        pipeline.send(
            member_event("B-1", email_address="o'brien@example.org"),
            member_event("B-2", last_name=""),
            member_event("B-3", first_name="Ann<b>"),
            member_event("B-4"),
        )
        refused(pipeline, ledger, "B-1", "B-2", "B-3", "B-4")
    found = open_cases(ledger)
    assert {number: (one.kind, one.field) for number, one in found.items()} == {
        "B-1": ("format", "email_address"),
        "B-2": ("missing", "last_name"),
        "B-3": ("format", "first_name"),
        "B-4": ("other", None),
    }
    assert found["B-1"].character == "' (APOSTROPHE, U+0027)"
    assert "before the @" in (found["B-1"].rule or "")
    assert found["B-3"].character == "< (LESS-THAN SIGN, U+003C)"
    assert found["B-2"].what_to_do == "Fill in Contact Last Name of member B-2 in Siebel."


def test_a_case_closes_itself_and_says_how(pipeline: Pipeline, ledger: Engine) -> None:
    with pipeline.whole():
        pipeline.send(*(member_event(f"B-{at}", last_name="") for at in range(4)))
        refused(pipeline, ledger, *(f"B-{at}" for at in range(4)))
        first = open_cases(ledger)["B-2"]
        pipeline.send(
            member_event("B-0", minute=1),
            member_event("B-1", minute=1) | {"operation": "delete"},
            member_event("B-2", minute=1, last_name="", first_name=""),
        )
        eventually(lambda: pipeline.settled() and open_cases(ledger).keys() == {"B-2", "B-3"}, "closed")
    assert closed(ledger) == {"B-0": "corrected", "B-1": "deleted"}
    again = open_cases(ledger)["B-2"]
    assert (again.case_id, again.field) == (first.case_id, "first_name")
    assert again.instance_id != first.instance_id


def test_the_desk_asks_no_more_than_it_may_in_a_minute(pipeline: Pipeline, ledger: Engine) -> None:
    pipeline.settings.update(NOT_BY_ITSELF)
    with pipeline.whole():
        settle(pipeline, *((f"A-{at}", f"a{at}@example.org") for at in range(4)))
        moves(pipeline, *((f"B-{at}", f"a{at}@example.org") for at in range(4)))
        refused(pipeline, ledger, *(f"B-{at}" for at in range(4)))
    of = settings_of(pipeline)
    one = Desk(of.model_copy(update={"cases": of.cases.model_copy(update={"look_ups_per_minute": 3})}))
    before = pipeline.sandbox.control.state("crowdtwist")["calls_total"]
    for _ in range(3):
        one.turn()
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] - before == 3
    assert sorted(one.looked_up or "" for one in open_cases(ledger).values()) == ["", "found", "found", "found"]


TOKENS = {
    "v-token": {"name": "vera", "role": "viewer"},
    "o-token": {"name": "oscar", "role": "operator"},
    "a-token": {"name": "ada", "role": "admin"},
}


@pytest.fixture
def client(pipeline: Pipeline) -> Iterator[httpx.Client]:
    of = settings_of(pipeline)
    with served(create_app(of.model_copy(update={"api": of.api.model_validate({"tokens": TOKENS})}))) as opened:
        yield opened


@pytest.fixture
def cli(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    for name, value in pipeline.environment.items():
        if name.startswith("MEMBERSYNC_"):
            monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield Terminal(capsys)
    settings.cache_clear()


def as_(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role[0]}-token"}


@pytest.fixture
def taken(pipeline: Pipeline, ledger: Engine) -> None:
    """B wants what A has, and says it beside a formula."""
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        moves(pipeline, ("@B-1", X))
        refused(pipeline, ledger, "@B-1")
        eventually(lambda: open_cases(ledger)["@B-1"].looked_up == "found", "CrowdTwist is asked")


@pytest.mark.usefixtures("taken")
def test_the_api_shows_each_role_what_it_may_see(client: httpx.Client, pipeline: Pipeline) -> None:
    (shown,) = client.get("/v1/cases", headers=as_("operator")).json()["items"]
    one = client.get(f"/v1/cases/{shown['case_id']}", headers=as_("operator")).json()
    assert one["holder"]["member_number"] == "A-1"
    assert "example" not in json.dumps(one)
    beside = {row["field"]: row for row in one["beside"]}
    assert (beside["email_address"]["member"], beside["email_address"]["holder"]) == ("x***@e***.org", "x***@e***.org")
    assert beside["email_address"]["same"]
    assert beside["first_name"]["holder"] == "A***"
    assert (beside["status"]["member"], beside["status"]["holder"]) == ("active", "active")
    viewer = client.get(f"/v1/cases/{shown['case_id']}", headers=as_("viewer")).json()
    assert "A-1" not in json.dumps(viewer)
    assert viewer["holder"]["member_number"] == "***"
    admin = client.get(f"/v1/cases/{shown['case_id']}", headers=as_("admin")).json()
    assert (admin["value"], admin["beside"][0]["same"]) == (X, False)
    assert pipeline.sql("select who from operator_action where what = 'unmask'") == ["ada"]
    assert client.get("/v1/cases/77", headers=as_("viewer")).json()["code"] == "no_such_case"
    assert client.get("/v1/cases", params={"kind": "cycle"}, headers=as_("viewer")).json()["items"] == []
    wrong = client.get("/v1/cases", params={"kind": "nonsense"}, headers=as_("viewer"))
    assert (wrong.status_code, wrong.json()["field"]) == (400, "kind")


@pytest.mark.usefixtures("taken")
def test_metrics_count_the_open_cases_by_kind(client: httpx.Client) -> None:
    text = client.get("/metrics", headers={**as_("viewer"), "Accept": "text/plain"}).text
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "membersync_cases"]
    counts = {one.labels["kind"]: one.value for one in family.samples}
    assert counts == dict.fromkeys(CaseKind, 0) | {"taken_by_active": 1}


@pytest.mark.usefixtures("taken")
def test_a_case_is_acknowledged_and_looked_up_by_who_may(client: httpx.Client, pipeline: Pipeline) -> None:
    (shown,) = client.get("/v1/cases", headers=as_("operator")).json()["items"]
    address = f"/v1/cases/{shown['case_id']}"
    assert client.post(f"{address}/acknowledge", json={"note": "x"}, headers=as_("viewer")).status_code == 403
    answer = client.post(f"{address}/acknowledge", json={"note": "ticket 7"}, headers=as_("operator")).json()
    assert (answer["done"], answer["case"]["acknowledged_by"], answer["case"]["note"]) == (True, "oscar", "ticket 7")
    before = pipeline.sandbox.control.state("crowdtwist")["calls_total"]
    answer = client.post(f"{address}/look-up", headers=as_("operator")).json()
    assert (answer["done"], answer["answer"]) == (True, "CrowdTwist shows: who has the address")
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] == before + 1
    assert client.post(f"{address}/look-up", headers=as_("viewer")).status_code == 403
    done = pipeline.sql("select what from operator_action where who = 'oscar' order by id")
    assert done == ["acknowledge", "look up"]


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("by_path", [True, False])
def test_the_export_is_safe_to_open(client: httpx.Client, *, by_path: bool) -> None:
    path, accept = ("/v1/cases.csv", "*/*") if by_path else ("/v1/cases", "text/csv")
    answer = client.get(path, headers=as_("operator") | {"Accept": accept})
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["member_number"] == "'@B-1"
    assert (row["kind"], row["holder_member_number"], row["holder_active"]) == ("taken_by_active", "A-1", "true")
    assert not any(str(cell).startswith(("=", "+", "-", "@")) for cell in row.values())
    assert "example" not in answer.text


@pytest.mark.usefixtures("taken")
def test_the_command_line_lists_shows_exports_and_acknowledges(cli: Terminal) -> None:
    ran = cli("cases", "--json")
    (one,) = ran.json["items"]
    assert (ran.code, one["kind"], one["holder"]["member_number"]) == (0, "taken_by_active", "A-1")
    assert "@B-1" in cli("cases").out
    assert "x***@e***.org" in cli("cases", one["case_id"]).out
    assert cli("cases", "@B-1", "--json").json["case_id"] == one["case_id"]
    assert len(list(csv.reader(io.StringIO(cli("cases", "--csv").out)))) == 2
    assert [cli("cases", *more).code for more in (("--kind", "cycle"), ("4711",), ("--kind", "x"))] == [1, 1, 2]
    assert cli("cases", "--acknowledge").code == 2
    for more in (("--kind", "cycle"), ("--csv",), ("--state", "all"), ("--limit", "7"), ("--member", "A-1")):
        ran = cli("cases", one["case_id"], *more)
        assert (ran.code, f"{more[0]}: is of a list" in ran.err) == (2, True)
    assert cli("cases", "--csv", "--json").code == 2
    unkept = cli("cases", one["case_id"], "--note", "mine")
    assert (unkept.code, "--note: goes with --acknowledge" in unkept.err) == (2, True)
    assert cli("cases", one["case_id"], "--acknowledge", "--note", "mine").code == 0
    ran = cli("cases", one["case_id"], "--look-up", "--json")
    assert (ran.code, ran.json["case"]["note"]) == (0, "mine")

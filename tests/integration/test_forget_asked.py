"""Who may see everything that is kept of a person, and have it erased: from the command line and over HTTP."""

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from shared.page_settings import ApiSettings
from shared.settings import Settings
from tests.console import console, link, logged_in, post
from tests.integration.test_forget import found_in
from tests.rig import member_event
from tests.road import Road
from tests.terminal import Terminal
from tests.whole_person import CANARIES, NUMBER, filled

PERSON, FORGET = f"/v1/members/{NUMBER}/person", f"/v1/members/{NUMBER}/forget"


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_person_is_shown_on_the_terminal_and_exported_for_whoever_asked_alone(
    cli: Terminal, ledger: Engine, tmp_path: Path
) -> None:
    filled(ledger)
    shown = cli("person", NUMBER)
    assert (shown.code, "Quuxley" in shown.out) == (0, False)
    assert "named in activity, instance_id 1, id " in shown.out
    export = tmp_path / "person.json"
    assert cli("person", NUMBER, "--export", export, "--unmasked").code == 0
    assert export.stat().st_mode & 0o777 == 0o600
    written = export.read_text(encoding="utf-8")
    assert [one for one in CANARIES if one not in written] == []
    assert json.loads(written)["rows"]["instance"] == cli("person", NUMBER, "--json").json["rows"]["instance"] == 2
    assert cli("person", "never-heard-of").code == 1
    assert cli("person", NUMBER, "--export", tmp_path / "no" / "where.json").code == 2
    assert Road(ledger).sql("select count(*) from operator_action where what = 'unmask' and asked ? 'person'") == [1]


def test_a_member_is_forgotten_from_the_terminal(cli: Terminal, ledger: Engine) -> None:
    filled(ledger)
    assert cli("forget", NUMBER).code == 2
    assert cli("forget", NUMBER, "--reason", " ").code == 2
    Road(ledger).sql("update reconciliation set state = 'running', ended_at = null")
    not_now = cli("forget", NUMBER, "--reason", "letter 7")
    assert (not_now.code, "reconciliation 1 is under way" in not_now.err) == (1, True)
    Road(ledger).sql("update reconciliation set state = 'done', ended_at = now()")
    done = cli("forget", NUMBER, "--reason", "letter 7")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        f"member {NUMBER} is forgotten, with 2 events, 1 of which were not sent yet",
    )
    assert found_in(ledger) == {}
    again = cli("forget", NUMBER, "--reason", "letter 7")
    assert (again.code, again.err.strip()) == (1, f"nothing is kept of a member {NUMBER}")


def test_at_a_terminal_it_is_shown_what_would_be_erased_and_asked(
    cli: Terminal, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(ledger)
    before = found_in(ledger)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked: list[str] = []

    def answer(question: str, *, err: bool) -> bool:
        asked.append(question)
        return not err

    monkeypatch.setattr("typer.confirm", answer)
    refused = cli("forget", NUMBER, "--reason", "letter 7")
    assert (refused.code, "named in activity" in refused.out, NUMBER in asked[0]) == (1, True, True)
    assert found_in(ledger) == before
    assert cli("forget", NUMBER, "--reason", "letter 7", "--yes").code == 0
    assert (found_in(ledger), len(asked)) == ({}, 1)
    assert cli("forget", "never-heard-of", "--reason", "letter 7").code == 1
    assert len(asked) == 1


def test_a_person_is_looked_at_and_forgotten_in_the_console(client: httpx.Client, ledger: Engine) -> None:
    filled(ledger)
    member = f"/members/{NUMBER}"
    logged_in(client, "tok-oscar")
    shown = client.get(f"{member}/person")
    content = shown.text.partition("<h1>")[2]
    assert (shown.status_code, "Quuxley" in content, "operator_action" in content) == (200, False, True)
    assert "Forget" not in content
    denied = post(client, member, f"{member}/forget", reason="letter 7")
    assert denied.status_code == 403

    logged_in(client, "tok-ada")
    page = f"{member}/person"
    assert link(client.get(member), "Everything kept") == page
    Road(ledger).sql("update reconciliation set state = 'running', ended_at = null")
    assert post(client, page, f"{member}/forget", reason="letter 7").headers["location"] == page
    assert "reconciliation 1 is under way" in client.get(page).text
    Road(ledger).sql("update reconciliation set state = 'done', ended_at = now()")
    assert post(client, page, f"{member}/forget", reason="letter 7").headers["location"] == "/"
    assert found_in(ledger) == {}
    assert client.get(page).status_code == 404


def test_only_an_administrator_sees_people_and_has_them_forgotten(client: httpx.Client, ledger: Engine) -> None:
    filled(ledger)
    masked = client.get(PERSON, headers=as_("tok-vera"))
    assert (masked.status_code, "Quuxley" in masked.text) == (200, False)
    assert "Quuxley" in client.get(PERSON, headers=as_("tok-ada")).text

    denied = client.post(FORGET, headers=as_("tok-oscar"), json={"reason": "letter 7"})
    assert (denied.status_code, denied.json()["code"]) == (403, "forbidden")
    assert Road(ledger).sql("select who, what from operator_action where denied") == [("oscar", "forget")]
    assert client.post(FORGET, headers=as_("tok-ada"), json={}).json()["field"] == "reason"
    Road(ledger).sql("update reconciliation set state = 'running', ended_at = null")
    assert client.post(FORGET, headers=as_("tok-ada"), json={"reason": "letter 7"}).json()["code"] == "not_now"
    Road(ledger).sql("update reconciliation set state = 'done', ended_at = now()")
    done = client.post(FORGET, headers=as_("tok-ada"), json={"reason": "letter 7"})
    assert (done.status_code, done.json()["deleted"]["instance"]) == (200, 2)
    assert found_in(ledger) == {}
    old = client.post("/v1/member-events", headers=as_("tok-ada"), json=member_event(NUMBER))
    assert (old.status_code, old.json()["results"][0]["field"]) == (422, "occurred_at")
    again = client.post(FORGET, headers=as_("tok-ada"), json={"reason": "letter 7"})
    assert (again.status_code, again.json()["code"]) == (404, "no_such_member")
    assert client.get(PERSON, headers=as_("tok-ada")).status_code == 404


def test_a_request_searches_for_so_long_only_and_then_nothing_is_erased(ledger: Engine, ledger_url: str) -> None:
    filled(ledger)
    before = found_in(ledger)
    api = ApiSettings.model_validate({"forget_within_s": 1e-9})
    with console(Settings(_env_file=None, ledger_url=ledger_url, api=api)) as client:
        answer = client.post(FORGET, headers=as_("tok-ada"), json={"reason": "letter 7"})
        assert (answer.status_code, answer.json()["code"]) == (409, "not_now")
        assert "enough for 0% of it; `membersync forget` takes" in answer.json()["detail"]
        logged_in(client, "tok-ada")
        page = f"/members/{NUMBER}/person"
        assert post(client, page, f"/members/{NUMBER}/forget", reason="letter 7").headers["location"] == page
        assert "Nothing was erased: a request has" in client.get(page).text
    assert found_in(ledger) == before

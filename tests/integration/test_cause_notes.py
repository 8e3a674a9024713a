"""What people note on a cause is shown wherever that cause is: by cause, at an instance, at an incident, in mails."""

from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import Engine

from producers.mail.composing import of_change, of_digest, of_incident
from producers.operations import incident_control
from producers.operations.incident_export import Format, exported
from shared.ledger import incidents, mail
from shared.ledger.cause_notes import NOTES_MAX
from shared.ledger.engine import transaction
from shared.ledger.incident_reads import News
from shared.pipeline import Stage
from shared.settings import Settings
from tests.console import logged_in, post, said
from tests.road import Road
from tests.terminal import Terminal

NOTES = "/v1/cause-notes"
HOSTILE = "<script>alert(1)</script> ticket 4711"
OSCAR = {"Authorization": "Bearer tok-oscar"}
VERA = {"Authorization": "Bearer tok-vera"}


@pytest.fixture
def dead(road: Road) -> dict[str, str]:
    """Two dead letters of one cause; stage, code and message of it."""
    road.dead("M-1", "M-2")
    road.sql(
        "update instance set failed_stage = 'crowdtwist', code = 'unavailable', error = 'CrowdTwist: answered 503'"
    )
    return {"stage": "crowdtwist", "code": "unavailable", "message": "CrowdTwist: answered 503"}


def noted(client: httpx.Client, words: str = HOSTILE, **cause: str) -> str:
    answer = client.post(NOTES, json={**cause, "text": words}, headers=OSCAR)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_note_follows_its_cause_to_every_place(
    client: httpx.Client, ledger: Engine, road: Road, dead: dict[str, str], cli: Terminal
) -> None:
    noted(client, **dead)
    with transaction(ledger) as tx:
        incident_id = incidents.down(tx, Stage.CROWDTWIST, since=None, error="CrowdTwist: answered 503")
    (cause,) = client.get("/v1/dead-letters", headers=VERA).json()["items"]
    found = client.get(f"/v1/incidents/{incident_id}", headers=VERA).json()
    assert cause["fingerprint"] == found["fingerprint"]
    assert [one["words"] for one in cause["notes"] + found["cause_notes"]] == [HOSTILE, HOSTILE]
    logged_in(client, "tok-vera")
    instance_id = road.sql("select max(id) from instance")[0]
    for address in ("/", "/dead-letters", f"/instances/{instance_id}", f"/incidents/{incident_id}"):
        page = client.get(address)
        assert HOSTILE in said(page), address
        assert "<script>alert" not in page.text, address
        assert "Note on this cause" not in page.text, address
    assert "known: <script>" in " ".join(cli("dead-letters").out.split())
    assert "ticket 4711" in cli("incidents", str(incident_id)).out
    detail = incident_control.incident(ledger, incident_id)
    assert detail is not None
    assert "ticket 4711" in exported(detail, Format.MARKDOWN)

    now, of = datetime.now(UTC), Settings(_env_file=None)
    road.sql("update bookmark set upto = now() - interval '1 hour' where name = 'digest'")
    road.sql(
        "insert into connection_change (name, what, why) values ('crowdtwist', 'down', 'CrowdTwist: answered 503')"
    )
    with transaction(ledger) as tx:
        digest = mail.take_digest(tx, every_s=1)
        (change,) = mail.take_changes(tx, flap_s=0)
    assert digest is not None
    mails = [
        of_digest(digest, of, now=now),
        of_change(change, of, now=now),
        of_incident(News.OPENED, detail, of, now=now),
    ]
    assert ["ticket 4711" in one.plain and "ticket 4711" in one.html for one in mails] == [True] * 3
    assert not any("<script>" in one.html for one in mails)


def test_a_note_on_a_code_is_on_each_of_its_messages_and_no_other(
    client: httpx.Client, road: Road, dead: dict[str, str]
) -> None:
    road.sql("update instance set error = 'CrowdTwist: answered 502' where member_number = 'M-2'")
    noted(client, "every message", stage="crowdtwist", code="unavailable")
    noted(client, "another stage", stage="siebel", code="unavailable")
    noted(client, "another message", **dead)
    causes = client.get("/v1/dead-letters", headers=VERA).json()["items"]
    assert {one["message"][-3:]: [note["words"] for note in one["notes"]] for one in causes} == {
        "502": ["every message"],
        "503": ["another message", "every message"],
    }


def test_who_may_note_what_is_refused_and_what_is_filed(
    client: httpx.Client, road: Road, dead: dict[str, str], cli: Terminal
) -> None:
    assert client.post(NOTES, json={**dead, "text": "x"}, headers=VERA).status_code == 403
    for wrong in (
        {"text": " "},
        {"text": "x" * 501},
        {"text": "a\x1b[2J"},
        {"stage": "oracle"},
        {"code": "", "message": " "},
        {"message": "m" * 1001},
        {"more": 1},
    ):
        answer = client.post(NOTES, json={**dead, "text": "known", **wrong}, headers=OSCAR)
        assert answer.status_code == 400, wrong
    note_id = noted(client, "ask zq@example.org, ticket 12", **dead)
    assert "zq@example.org" not in client.get(NOTES, headers=VERA).text
    assert client.delete(f"{NOTES}/{note_id}", headers=VERA).status_code == 403
    assert client.delete(f"{NOTES}/{note_id}", headers=OSCAR).json()["id"] == note_id
    assert client.delete(f"{NOTES}/{note_id}", headers=OSCAR).status_code == 404
    assert client.get("/v1/dead-letters", headers=VERA).json()["items"][0]["notes"] == []
    filed = road.sql("select what || ': ' || coalesce(reason, '') from operator_action where not denied order by id")
    assert [one for one in filed if "ticket 12" in one] == [
        "note on cause: ask z***@e***.org, ticket 12",
        "remove note on cause: ask z***@e***.org, ticket 12",
    ]
    typed = cli("cause-notes", "add", "known", "--stage", "crowdtwist", "--code", "unavailable", "--json").json
    assert cli("cause-notes", "remove", typed["id"]).code == 0
    assert [cli("cause-notes", "remove", typed["id"]).code, cli("cause-notes", "add", "x").code] == [1, 2]
    road.sql(
        "insert into cause_note (fingerprint, stage, code, message, words, who) "
        f"select 'x', 'oic', 'c', '', 'w', 'w' from generate_series(1, {NOTES_MAX})"
    )
    assert client.post(NOTES, json={**dead, "text": "one more"}, headers=OSCAR).status_code == 400


def test_an_operator_notes_and_removes_on_the_pages(client: httpx.Client, road: Road, dead: dict[str, str]) -> None:
    logged_in(client, "tok-oscar")
    fields = {**dead, "reason": "known, ticket 9", "back": "/dead-letters"}
    assert post(client, "/dead-letters", "/cause-notes", **fields).headers["location"] == "/dead-letters"
    assert "Known: known, ticket 9" in said(client.get("/dead-letters"))
    assert post(client, "/dead-letters", "/cause-notes", **fields | {"reason": ""}).status_code == 303
    assert "Nothing is noted" in said(client.get("/dead-letters"))
    away = post(client, "/dead-letters", "/cause-notes", **fields | {"back": "https://evil.example"})
    assert away.headers["location"] == "/dead-letters"
    for note_id in road.sql("select id from cause_note"):
        assert post(client, "/dead-letters", f"/cause-notes/{note_id}/remove").status_code == 303
    assert "Known:" not in said(client.get("/dead-letters"))

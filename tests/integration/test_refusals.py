"""What intake refused is kept, masked, counted, listed and grouped, for everybody who has to find it again."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.dispatch.bookkeeper import Bookkeeper
from producers.intake.accept import IntakeRules, Sender, accept
from producers.intake.refused import EXCERPT_MAX, RefusedEventError
from producers.site import create_app
from shared.ledger import refusals
from shared.ledger.engine import transaction
from shared.ledger.refusals import Refusal, RefusalFilter
from shared.pipeline import Lane
from shared.settings import Settings, settings
from tests.calling import event, lines, served
from tests.terminal import Terminal

TOKENS = {
    "p-token": {"name": "siebel", "role": "producer"},
    "v-token": {"name": "vera", "role": "viewer"},
}
PRODUCER = {"Authorization": "Bearer p-token"}
VIEWER = {"Authorization": "Bearer v-token"}
BAD = {"first_name": "Gwendolyn", "date_of_birth": "1979-02-30"}


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    of = Settings(ledger_url=ledger_url, api={"tokens": TOKENS, "max_body_bytes": 200_000})
    with served(create_app(of)) as opened:
        yield opened


@pytest.fixture
def cli(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    assert ledger.url.database
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    yield Terminal(capsys)
    settings.cache_clear()


def post(client: httpx.Client, *events: object, **headers: str) -> httpx.Response:
    given = {**PRODUCER, "Content-Type": "application/x-ndjson", **headers}
    return client.post("/v1/member-events", content=lines(*events), headers=given)


def listed(client: httpx.Client, **conditions: str) -> list[dict[str, object]]:
    found = client.get("/v1/refusals", params=conditions, headers=VIEWER).json()
    assert found.keys() == {"items", "next"}
    items: list[dict[str, object]] = found["items"]
    return items


def counted(client: httpx.Client) -> dict[str, float]:
    prefix = 'membersync_intake_total{outcome="'
    told = (line for line in client.get("/metrics", headers=VIEWER).text.splitlines() if line.startswith(prefix))
    pairs = (line.removeprefix(prefix).split('"} ') for line in told)
    return {outcome: float(count) for outcome, count in pairs}


def test_a_refused_event_is_kept_with_where_why_and_who_and_shows_nobody(client: httpx.Client) -> None:
    post(client, event("M-1"), event("M-2", member=BAD), **{"X-Request-Id": "R-7"})
    (one,) = listed(client)
    assert {name: one[name] for name in ("sender", "source", "position", "line", "field", "member_number")} == {
        "sender": "siebel",
        "source": "request R-7",
        "position": 1,
        "line": 2,
        "field": "member.date_of_birth",
        "member_number": "M-2",
    }
    assert one["reason"] == "is a date that does not exist"
    assert '"member_number": "M-2"' in str(one["excerpt"])
    assert "Gwendolyn" not in json.dumps(one)
    assert "1979" not in json.dumps(one)


def test_a_conflict_is_kept_too(client: httpx.Client) -> None:
    post(client, event("M-1", event_id="E-1"))
    post(client, event("M-1", event_id="E-1", member={"last_name": "Other"}))
    (one,) = listed(client)
    assert (one["outcome"], one["field"], one["member_number"]) == ("conflict", "event_id", "M-1")


def test_requests_that_come_at_once_are_answered_and_kept_each_by_itself(client: httpx.Client) -> None:
    def sent(number: int) -> httpx.Response:
        member = BAD if number % 3 == 0 else {}
        headers = {**PRODUCER, "X-Request-Id": f"r-{number}"}
        return client.post("/v1/member-events", json=event(f"M-{number}", member=member), headers=headers)

    with ThreadPoolExecutor(12) as senders:
        answers = list(senders.map(sent, range(36)))
    for number, answer in enumerate(answers):
        (one,) = answer.json()["results"]
        outcome = "refused" if number % 3 == 0 else "accepted"
        assert (one["outcome"], one["member_number"], one["position"]) == (outcome, f"M-{number}", 0)
    assert {one["source"] for one in listed(client)} == {f"request r-{number}" for number in range(0, 36, 3)}


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({"Content-Type": "application/json"}, b"[{", "is not JSON: line 1, column 3"),
        ({"Content-Type": "text/xml"}, b"<a>", "is not XML"),
        ({"Content-Type": "text/csv"}, b"a", "text/csv"),
        ({"Content-Type": "application/json"}, b" " * 300_000, "larger than 200000 bytes"),
    ],
)
def test_a_body_that_is_refused_whole_is_kept_and_counts(
    client: httpx.Client, headers: dict[str, str], body: bytes, reason: str
) -> None:
    answer = client.post("/v1/member-events", content=body, headers={**PRODUCER, **headers})
    assert answer.status_code in {400, 413, 415}
    (one,) = listed(client)
    assert reason in str(one["reason"])
    assert (one["position"], one["sender"]) == (None, "siebel")
    assert counted(client)["refused"] == 1


def test_every_outcome_is_counted_and_those_that_did_not_happen_are_there(client: httpx.Client) -> None:
    old = "2020-01-01T00:00:00Z"
    again = event("M-1", event_id="E-1")
    post(client, again, again, event("M-2", member=BAD), event("M-1", event_id="E-1", member={"last_name": "X"}))
    post(client, event("M-1", occurred_at=old), event("M-3", member={"member_type": "Household"}))
    assert counted(client) == {
        "accepted": 1,
        "duplicate": 1,
        "conflict": 1,
        "refused": 1,
        "superseded": 1,
        "skipped": 1,
        "unchanged": 0,
    }


def test_many_refusals_of_one_request_are_kept_in_part_and_all_counted(client: httpx.Client) -> None:
    bad = [event(f"M-{number}", operation="x" * 200, Long={"a" * 60: "b" * 600}) for number in range(150)]
    assert post(client, *bad).status_code == 422
    kept = client.get("/v1/refusals", params={"limit": 1000}, headers=VIEWER).json()["items"]
    assert len(kept) == 101
    assert sum(one["count"] for one in kept) == 150
    assert all(len(one["excerpt"] or "") <= EXCERPT_MAX for one in kept)
    assert counted(client)["refused"] == 150


def test_slices_of_one_request_share_its_room(ledger: Engine) -> None:
    sender = Sender("files", "file a.csv")
    for start in (0, 90):
        items = [(at, RefusedEventError("x", "is bad", at + 2, f"M-{at}", "{}")) for at in range(start, start + 90)]
        accept(ledger, items, IntakeRules(Lane.BULK), sender)
    with transaction(ledger) as tx:
        kept = refusals.refusals(tx, RefusalFilter(), limit=1000).items
        assert refusals.counts(tx) == {"refused": 180}
    assert len(kept) == 101
    assert sum(one.count for one in kept) == 180


def test_a_sender_of_nothing_but_rubbish_does_not_fill_the_ledger(ledger: Engine) -> None:
    one = Refusal("refused", 0, None, "x", "is bad", None, "{}")
    with transaction(ledger) as tx:
        for _ in range(30):
            refusals.keep(tx, "rude", "request", [one] * 100, more=0)
        refusals.keep(tx, "polite", "request", [one], more=0)
    with transaction(ledger) as tx:
        rude = tx.execute(text("select count(*), sum(count) from refusal where sender = 'rude'")).one()
        assert tuple(rude) == (refusals.KEPT_PER_HOUR + 1, 3_000)
        found = refusals.groups(tx, RefusalFilter(), limit=10)
    assert [(group.sender, group.field, group.count) for group in found] == [
        *(("rude", "x", 2_000), ("rude", "", 1_000), ("polite", "x", 1)),
    ]


def test_refusals_are_found_by_sender_field_member_and_time(client: httpx.Client, ledger: Engine) -> None:
    post(client, event("M-1", member=BAD), event("M-2", operation="x"))
    accept(ledger, [(0, RefusedEventError("City", "is bad", 2, "M-3", "{}"))], IntakeRules(Lane.LIVE))
    assert [one["member_number"] for one in listed(client)] == ["M-3", "M-2", "M-1"]
    assert [one["member_number"] for one in listed(client, sender="siebel")] == ["M-2", "M-1"]
    assert [one["member_number"] for one in listed(client, field="operation")] == ["M-2"]
    assert [one["member_number"] for one in listed(client, member="M-1")] == ["M-1"]
    assert listed(client, until="1h") == []
    assert len(listed(client, since="1h")) == 3
    first = client.get("/v1/refusals", params={"limit": 2}, headers=VIEWER).json()
    rest = client.get("/v1/refusals", params={"limit": 2, "cursor": first["next"]}, headers=VIEWER).json()
    assert [one["member_number"] for one in rest["items"]] == ["M-1"]
    assert rest["next"] is None
    assert client.get("/v1/refusals", params={"since": "soon"}, headers=VIEWER).status_code == 400


def test_refusals_are_listed_newest_first_page_by_page(ledger: Engine) -> None:
    for number in range(12):
        with transaction(ledger) as tx:
            refusals.keep(
                tx, "siebel", "request", [Refusal("refused", number, None, "x", "is bad", None, None)], more=0
            )
    with transaction(ledger) as tx:
        first = refusals.refusals(tx, RefusalFilter(), limit=7)
        second = refusals.refusals(tx, RefusalFilter(), limit=7, before=int(first.next or 0))
    assert [one.position for one in (*first.items, *second.items)] == list(range(11, -1, -1))
    assert second.next is None


def test_only_who_may_read_sees_them(client: httpx.Client) -> None:
    assert client.get("/v1/refusals", headers=PRODUCER).status_code == 403
    assert client.get("/v1/refusals").status_code == 401


def test_a_member_whose_events_were_all_refused_is_told_of(client: httpx.Client) -> None:
    post(client, event("310-78", member=BAD))
    answer = client.get("/v1/members/310-78", headers=VIEWER)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (404, "no_such_member")
    assert "no event of this member was accepted, 1 refused" in problem["detail"]
    assert "from siebel: member.date_of_birth: is a date that does not exist" in problem["detail"]
    assert [one["field"] for one in problem["refusals"]] == ["member.date_of_birth"]
    nobody = client.get("/v1/members/310-79", headers=VIEWER).json()
    assert nobody["detail"] == "no event of this member has arrived"


def test_refusals_are_pruned_by_their_own_days_and_the_counts_stay(ledger: Engine, ledger_url: str) -> None:
    items = [(0, RefusedEventError("x", "is bad")), (1, RefusedEventError("y", "is bad"))]
    accept(ledger, items, IntakeRules(Lane.LIVE))
    with transaction(ledger) as tx:
        tx.execute(text("update refusal set at = :at where field = 'x'"), {"at": datetime.now(UTC) - timedelta(days=3)})
    Bookkeeper(Settings(ledger_url=ledger_url, intake={"refused_days": 2}))._prune()  # noqa: SLF001  # its hourly turn
    with transaction(ledger) as tx:
        assert [one.field for one in refusals.refusals(tx, RefusalFilter(), limit=9).items] == ["y"]
        assert refusals.counts(tx) == {"refused": 2}


def test_the_command_line_lists_them_and_says_so_of_a_member(cli: Terminal, tmp_path: Path) -> None:
    table = tmp_path / "march.csv"
    table.write_text("Member Number,First Name,Date of Birth\n310-78,Gwendolyn,02/30/1979\n", encoding="utf-8")
    assert cli("refusals").code == 1
    sent = cli("produce", table, "--json")
    assert sent.code == 1
    assert sent.json["refused"] == [
        {
            "file": str(table),
            "position": 0,
            "line": 2,
            "member_number": "310-78",
            "field": "Date of Birth",
            "reason": "is a date that does not exist",
            "outcome": "refused",
        }
    ]
    ran = cli("refusals", "--json", "--member", "310-78")
    assert ran.code == 0
    (one,) = ran.json["items"]
    assert (one["source"], one["line"], one["field"]) == ("file march.csv", 2, "Date of Birth")
    assert ran.json["next"] is None
    shown = cli("refusals", "--field", "Date of Birth")
    assert "is a date that does not exist" in " ".join(shown.out.split())
    assert "Gwendolyn" not in ran.out + shown.out + sent.out + sent.err
    of_member = cli("member", "310-78")
    assert of_member.code == 1
    assert "no event of member 310-78 was accepted, 1 refused" in of_member.err
    as_json = cli("member", "310-78", "--json")
    assert [refusal["line"] for refusal in as_json.json["refusals"]] == [2]
    assert "no event of member 310-79 has arrived" in cli("member", "310-79").err
    assert cli("refusals", "--since", "soon").code == 2


def test_a_file_that_cannot_be_read_is_kept_too(cli: Terminal, tmp_path: Path) -> None:
    (tmp_path / "march.xlsx").write_bytes(b"PK\x03\x04" + b"\0" * 60)
    assert cli("produce", tmp_path / "march.xlsx").code == 1
    (one,) = cli("refusals", "--json").json["items"]
    assert "xlsx" in one["reason"]
    assert (one["source"], one["position"]) == ("file march.xlsx", None)


def test_a_deleted_row_of_siebel_s_export_finds_its_member(cli: Terminal, client: httpx.Client, tmp_path: Path) -> None:
    post(client, event("M-1", member={"row_id": "1-A"}))
    table = tmp_path / "INCREMENTAL.csv"
    table.write_text("Row Id,Member Number,City,isDeleted\n1-A,,,Y\n1-B,,,Y\n", encoding="utf-8")
    ran = cli("produce", table, "--json")
    assert ran.json["outcomes"] == {"accepted": 1, "refused": 1}
    assert [(one["line"], one["field"]) for one in ran.json["refused"]] == [(3, "Row Id")]
    assert cli("instances", "--member", "M-1", "--json").json["items"][0]["operation"] == "delete"
    body = {"SiebelMessage": {"ListOfCT LOY Member": {"LOY Member": [{"Id": "1-A", "isDeleted": "Y", "Mod Id": 9}]}}}
    answer = client.post("/v1/member-events", json=body, headers=PRODUCER)
    assert answer.json()["results"][0]["member_number"] == "M-1"

"""Intake over HTTP, as spec section 2.3 says: what is taken, what is refused and how, and the limits."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.site import create_app
from shared.settings import Settings
from tests.calling import (
    JSON,
    LOCAL,
    NDJSON,
    SAMPLE_EVENTS,
    SAMPLE_JSON,
    SAMPLE_XML,
    SAMPLE_XML_UNESCAPED,
    XML,
    assert_problem,
    event,
    lines,
    outcomes,
    served,
    stored,
)
from tests.unpacking import unpack_events


@pytest.fixture
def settings(ledger_url: str, ledger: Engine) -> Settings:
    assert ledger.url.database
    return Settings(ledger_url=ledger_url)


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    with served(create_app(settings)) as opened:
        yield opened


@pytest.fixture
def small(settings: Settings) -> Iterator[httpx.Client]:
    """An api with small limits."""
    limits = {"max_body_bytes": 2_000, "max_events": 3, "max_event_bytes": 400}
    api = settings.api.model_copy(update=limits)
    with served(create_app(settings.model_copy(update={"api": api}))) as opened:
        yield opened


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (SAMPLE_EVENTS.splitlines()[0].encode(), "application/json"),
        (SAMPLE_EVENTS.splitlines()[0].encode(), "application/json; charset=utf-8"),
        (SAMPLE_EVENTS.splitlines()[0].encode(), "application/x-ndjson"),
        (SAMPLE_JSON.encode(), "application/json"),
        (SAMPLE_XML.encode(), "application/xml"),
        (SAMPLE_XML.encode(), "text/xml"),
        (SAMPLE_XML_UNESCAPED.encode(), "application/xml"),
        (SAMPLE_XML.replace("UTF-8", "UTF-16").encode("utf-16"), "application/xml"),
        (SAMPLE_XML.replace("UTF-8", "ISO-8859-1").encode("latin-1"), "text/xml; charset=ISO-8859-1"),
    ],
)
def test_what_siebel_and_others_send_is_accepted_as_the_same_member(
    client: httpx.Client, body: bytes, content_type: str
) -> None:
    answer = client.post("/v1/member-events", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 202
    (result,) = answer.json()["results"]
    assert (result["outcome"], result["member_number"]) == ("accepted", "296-180296399")
    shown = client.get(f"/v1/instances/{result['instance_id']}").json()
    assert shown["event"]["member"]["row_id"] == "1-2AB3"
    assert shown["event"]["member"]["email_address"] == "a***@e***.org"


@pytest.mark.parametrize("letters", [r"\\u0000", r"a\\u0000b", r"\\\\u0000", r"\\ud83d", r"\\ufffd"])
def test_letters_that_look_like_an_escape_are_taken_as_they_are(
    client: httpx.Client, ledger: Engine, letters: str
) -> None:
    written = f'{{"a": "{letters}", "{letters}": ["{letters}"]}}'
    body = json.dumps([event("M-9"), event("X")])
    body = body.replace('"X"', f'"{letters}", "Custom": {written}').replace("[{", f'[{{"event_id": "e{letters}", ', 1)
    results = client.post("/v1/member-events", content=body, headers=JSON).json()["results"]
    again = client.post("/v1/member-events", content=body, headers=JSON)
    assert (again.status_code, outcomes(again)) == (202, ["duplicate", "duplicate"])
    assert [one["outcome"] for one in results] == ["accepted", "accepted"]
    number = json.loads(f'"{letters}"')
    assert (results[0]["event_id"], results[1]["member_number"]) == (f"e{number}", number)
    unpack_events(ledger)
    with ledger.connect() as tx:
        newest = "select event_json -> 'member' from payload order by instance_id desc limit 1"
        kept = tx.execute(text(newest)).scalar_one()
    assert (kept["member_number"], kept["Custom"]) == (number, {"a": number, number: [number]})


@pytest.mark.parametrize(
    "flaw", [r"\u0000", r"\ud83d", r"a\u0000b", r"\udc80 x"], ids=["NUL", "half", "NUL inside", "other half"]
)
@pytest.mark.parametrize("where", ["member_number", "event_id", "first_name", "row_id", "Custom"])
def test_a_nul_or_half_a_character_is_refused_by_field_and_the_good_stay(
    client: httpx.Client, flaw: str, where: str
) -> None:
    bad = event("M-1")
    (bad if where == "event_id" else bad["member"])[where] = "FLAW"
    body = json.dumps([bad, event("M-2")]).replace("FLAW", flaw)
    answer = client.post("/v1/member-events", content=body, headers=JSON)
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [one["outcome"] for one in results] == ["refused", "accepted"]
    assert results[0]["field"].endswith(where)


def test_a_broken_member_of_three_is_named_and_the_others_are_accepted(client: httpx.Client, ledger: Engine) -> None:
    member = SAMPLE_XML[SAMPLE_XML.index("    <LOY_spcMember ") : SAMPLE_XML.index("  </ListOfCT_spc")]
    three = [
        member.replace("296-180296399", f"M-{number}").replace("11/29", "13/29" if number == 1 else "11/29")
        for number in range(3)
    ]
    body = SAMPLE_XML.replace(member, "".join(three)).encode()
    answer = client.post("/v1/member-events", content=body, headers=XML)
    assert answer.status_code == 202
    assert outcomes(answer) == ["accepted", "refused", "accepted"]
    refused = answer.json()["results"][1]
    assert (refused["position"], refused["field"]) == (1, "Date of Birth")
    assert refused["reason"]
    assert stored(ledger) == 2


def test_results_have_the_shape_of_the_contract(client: httpx.Client) -> None:
    results = client.post("/v1/member-events", content=SAMPLE_EVENTS, headers=NDJSON).json()["results"]
    names = {"position", "event_id", "instance_id", "member_number", "outcome", "field", "reason"}
    assert [set(result) for result in results] == [names, names]
    assert [result["position"] for result in results] == [0, 1]
    assert results[0]["event_id"] == "1-4XYZ-1"


def test_the_same_event_again_is_a_duplicate_and_good_with_other_content_a_conflict(
    client: httpx.Client, ledger: Engine
) -> None:
    first = client.post("/v1/member-events", json=event(event_id="E-1"))
    again = client.post("/v1/member-events", json=event(event_id="E-1"))
    other = client.post("/v1/member-events", json=event(event_id="E-1", member={"last_name": "Other"}))
    assert (again.status_code, outcomes(again)) == (202, ["duplicate"])
    assert again.json()["results"][0]["instance_id"] == first.json()["results"][0]["instance_id"]
    assert_problem(other, 422, "no_good_event")
    assert outcomes(other) == ["conflict"]
    assert stored(ledger) == 1


@pytest.mark.parametrize("change", [{"member": {"member_type": "Household"}}, {"occurred_at": "2020-01-01T00:00:00Z"}])
def test_skipped_and_superseded_events_are_good(client: httpx.Client, change: dict[str, Any]) -> None:
    client.post("/v1/member-events", json=event())
    assert client.post("/v1/member-events", json=event(**change)).status_code == 202


def test_a_body_without_a_good_event_is_422_with_the_reasons(client: httpx.Client, ledger: Engine) -> None:
    answer = client.post("/v1/member-events", json=[event(member={"member_number": ""}), {"operation": "bogus"}])
    assert_problem(answer, 422, "no_good_event")
    assert answer.json()["results"][0]["field"] == "member.member_number"
    assert stored(ledger) == 0


def test_a_refusal_names_field_and_reason_but_no_value(
    client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = client.post("/v1/member-events", json=event(member={"date_of_birth": "secret-day"}))
    result = answer.json()["results"][0]
    assert (result["field"], answer.status_code) == ("member.date_of_birth", 422)
    logged = capsys.readouterr().out
    assert "0 member.date_of_birth: " in logged
    assert "secret-day" not in answer.text + logged


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'"text"', "application/json"),
        (b"<a", "application/xml"),
        (b"<other/>", "application/xml"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><SiebelMessage>&b;</SiebelMessage>', "text/xml"),
        (b'{"SiebelMessage": {"IntObjectName": "Account"}}', "application/json"),
    ],
)
def test_a_body_that_cannot_be_read_is_400(client: httpx.Client, body: bytes, content_type: str) -> None:
    answer = client.post("/v1/member-events", content=body, headers={"Content-Type": content_type})
    assert_problem(answer, 400, "unreadable_body")


@pytest.mark.parametrize("content_type", ["text/plain", "", "multipart/form-data", "application/pdf"])
def test_another_media_type_is_415_and_says_what_is_taken(client: httpx.Client, content_type: str) -> None:
    answer = client.post("/v1/member-events", content=b"{}", headers={"Content-Type": content_type})
    assert_problem(answer, 415, "unsupported_media_type")
    assert "application/json" in answer.headers["accept-post"]


def test_a_compressed_body_is_415(client: httpx.Client) -> None:
    answer = client.post("/v1/member-events", content=b"x", headers={**JSON, "Content-Encoding": "gzip"})
    assert_problem(answer, 415, "unsupported_encoding")


def test_a_body_over_the_limit_is_413_whether_it_says_its_length_or_not(small: httpx.Client, ledger: Engine) -> None:
    body = lines(*(event(f"M-{number}") for number in range(3))) + b" " * 2_000
    stated = small.post("/v1/member-events", content=body, headers=NDJSON)
    chunked = small.post("/v1/member-events", content=iter([body[:700], body[700:]]), headers=NDJSON)
    assert_problem(stated, 413, "body_too_large")
    assert_problem(chunked, 413, "body_too_large")
    assert stored(ledger) == 0


@pytest.mark.parametrize("headers", [NDJSON, JSON])
def test_too_many_events_are_413_and_none_of_them_is_stored(
    small: httpx.Client, ledger: Engine, headers: dict[str, str]
) -> None:
    events = [event(f"M-{number}") for number in range(4)]
    body = lines(*events) if headers is NDJSON else json.dumps(events).encode()
    assert_problem(small.post("/v1/member-events", content=body, headers=headers), 413, "too_many_events")
    assert stored(ledger) == 0


def test_an_event_over_the_limit_is_refused_alone(small: httpx.Client, ledger: Engine) -> None:
    body = lines(event("M-1"), event("M-2", member={"city": "x" * 250}), event("M-3"))
    answer = small.post("/v1/member-events", content=body, headers=NDJSON)
    assert outcomes(answer) == ["accepted", "refused", "accepted"]
    assert stored(ledger) == 2


def test_ndjson_that_arrives_in_pieces_is_taken_in_order_across_transactions(
    client: httpx.Client, ledger: Engine
) -> None:
    body = lines(*(event(f"M-{number % 900}", modification=number) for number in range(2_500)))
    pieces = [body[start : start + 9_973] for start in range(0, len(body), 9_973)]
    answer = client.post("/v1/member-events?lane=bulk", content=iter(pieces), headers=NDJSON)
    assert answer.status_code == 202
    assert [result["position"] for result in answer.json()["results"]] == list(range(2_500))
    assert set(outcomes(answer)) == {"accepted"}
    assert stored(ledger) == 2_500
    items = client.get("/v1/instances?state=pending&limit=1000").json()["items"]
    assert {(item["lane"], len(items)) for item in items} == {("bulk", 900)}


def test_the_lane_of_an_event_goes_before_that_of_the_request(client: httpx.Client) -> None:
    client.post("/v1/member-events?lane=bulk", json=[event("M-1", lane="live"), event("M-2")])
    items = client.get("/v1/instances").json()["items"]
    assert [(item["member_number"], item["lane"]) for item in items] == [("M-2", "bulk"), ("M-1", "live")]
    assert_problem(client.post("/v1/member-events?lane=fast", json=event()), 400, "invalid_parameter")


def test_many_producers_at_once_lose_nothing(settings: Settings, ledger: Engine) -> None:
    async def post_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url=LOCAL, timeout=60) as client:
            posts = [
                client.post("/v1/member-events", json=event(f"M-{number % 10}", event_id=f"E-{number % 50}"))
                for number in range(100)
            ]
            return await asyncio.gather(*posts)

    answers = asyncio.run(post_all())
    counted = [outcomes(answer)[0] for answer in answers if answer.status_code == 202]
    assert len(counted) == 100
    assert counted.count("duplicate") == 50
    assert stored(ledger) == 50


def test_a_ledger_that_is_away_is_503_with_a_time_to_come_back_and_says_nothing_of_its_inside() -> None:
    away = Settings(ledger_url="postgresql://somebody:secret@127.0.0.1:1/none")
    with served(create_app(away)) as client:
        for answer in (
            client.post("/v1/member-events", json=event()),
            client.get("/v1/instances"),
            client.get("/v1/members/M-1"),
        ):
            assert_problem(answer, 503, "ledger")
            assert int(answer.headers["retry-after"]) > 0
            assert "secret" not in answer.text
            assert "select" not in answer.text
        assert client.get("/healthz").status_code == 200
        assert_problem(client.get("/readyz"), 503, "not_ready")
        assert "cannot be reached" in client.get("/readyz").json()["missing"][0]

"""The kit for Siebel's side: its documents are the api's, its pseudonyms name nobody, a replay keeps distances."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.specs.openapi.definitions import OPENAPI_30_VALIDATOR

from deploy.siebel.pseudonyms import Pseudonyms, UnreadableError
from deploy.siebel.recording import Message, NotARecordingError, Recording, messages
from deploy.siebel.replay import Pace, replayed
from producers.api.for_siebel import Form, for_siebel
from producers.intake.formats import read_body
from producers.intake.siebel_message import Terms
from producers.site import create_app
from shared.events import MemberEvent
from shared.settings import Settings
from tests.calling import SAMPLE_JSON, SAMPLE_XML

KIT = Path(__file__).parents[2] / "deploy" / "siebel"
URL = "https://membersync.example.com"
OF = Settings(ledger_url="postgresql+psycopg://nobody@nowhere/none")
PEOPLE = ("Andy", "Cole", "andy.cole", "296-180296399", "1-2AB3", "1979", "10010", "New York", "1-4XYZ")
NEVER = {"oneOf", "anyOf", "allOf", "not", "const", "nullable", "propertyNames", "patternProperties", "pattern"}


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from nodes(part)


@pytest.fixture(scope="module", params=list(Form))
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    made = for_siebel(create_app(OF).openapi(), request.param, URL)
    kept: dict[str, Any] = json.loads((KIT / f"openapi_{request.param}.json").read_text(encoding="utf-8"))
    assert kept == made, f"write it anew: membersync openapi --siebel {request.param} --url {URL}"
    return kept


def test_what_siebel_imports_is_openapi_of_plain_types(document: dict[str, Any]) -> None:
    OPENAPI_30_VALIDATOR.validate(document)
    assert not OPENAPI_30_VALIDATOR.is_valid(document | {"openapi": "2"})
    schemas = [one for one in nodes(document["components"]["schemas"]) if "type" in one and "description" not in one]
    assert schemas
    assert not [one for one in nodes(document["components"]) if NEVER & one.keys() and "type" in one]
    assert {one["type"] for one in schemas if isinstance(one["type"], str)} <= {"object", "array", "string", "integer"}
    assert "security" not in json.dumps(document)


def test_the_samples_are_as_the_document_says(document: dict[str, Any]) -> None:
    post = document["paths"]["/v1/member-events"]["post"]
    content = post["requestBody"]["content"]["application/json"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    form = "message" if name == "SiebelMessage" else "event"
    inlined = document["components"]["schemas"][name]
    validator = jsonschema_rs.Draft4Validator(inlined)
    samples = sorted((KIT / "samples").glob(f"{form}_*.json"))
    assert [one.stem.rpartition("_")[2] for one in samples] == ["delete", "enroll", "update"]
    for sample in samples:
        validator.validate(json.loads(sample.read_text(encoding="utf-8")))
    validator.validate(content["example"])
    assert not validator.is_valid({})


def events(content_type: str, body: bytes) -> list[MemberEvent]:
    read = [one for _, one in read_body(content_type, body, Terms.of(OF, datetime.now(UTC)))]
    assert all(isinstance(one, MemberEvent) for one in read), read
    return [one for one in read if isinstance(one, MemberEvent)]


@pytest.mark.parametrize(("content_type", "text"), [("application/json", SAMPLE_JSON), ("text/xml", SAMPLE_XML)])
def test_a_message_under_other_names_is_taken_in_as_the_true_one(content_type: str, text: str) -> None:
    others = Pseudonyms()
    renamed = others.body(f"{content_type}; charset=utf-8", text.encode())
    assert not [one for one in PEOPLE if one.encode() in renamed]
    (before,), (after,) = events(content_type, text.encode()), events(content_type, renamed)
    kept = ("operation", "occurred_at", "modification")
    assert [getattr(after, one) for one in kept] == [getattr(before, one) for one in kept]
    assert (after.member.status, after.member.country_code) == ("Active", "US")
    assert renamed == others.body(content_type, text.encode())
    assert renamed != Pseudonyms().body(content_type, text.encode())


def test_fields_that_nobody_knows_are_taken_for_somebodys() -> None:
    body = {
        "member": {"member_number": 17, "Mobile #": "+44 7911 123456", "notes": ["call Ann"], "Child": {"Name": "Bo"}}
    }
    said = Pseudonyms(b"k").body("application/json", orjson.dumps(body)).decode()
    assert not [one for one in ("17", "7911", "Ann", 'Bo"') if one in said.replace("9-", "")]
    assert "+" in said


def test_what_is_kept_of_a_member_is_not_kept_of_what_hangs_on_it() -> None:
    visit = {"Status": "called Ann Lee", "Language": "Ann", "Operation": ["Lee"]}
    body = {
        "member": {"status": "Active", "Visit": visit, "ann.lee@example.org": 1},
        "operation": "update",
        "lane": "bulk",
    }
    said = orjson.loads(Pseudonyms().body("application/json", orjson.dumps(body)))
    assert (said["operation"], said["lane"], said["member"]["status"]) == ("update", "bulk", "Active")
    assert not [word for word in ("Ann", "Lee", "example.org") if word in str(said)]
    member = b"<LOY_spcMember><Status>Active</Status><Visit><Status>Ann</Status></Visit></LOY_spcMember>"
    xml = b"<SiebelMessage>" + member + b"</SiebelMessage>"
    said_xml = Pseudonyms().body("text/xml", xml)
    assert (b"<Status>Active</Status>" in said_xml, b"Ann" in said_xml) == (True, False)


@given(st.text(min_size=1, max_size=40))
def test_a_text_keeps_its_form_and_the_same_one_its_pseudonym(text: str) -> None:
    try:
        body = orjson.dumps({"last_name": text})
    except orjson.JSONEncodeError:  # a lone surrogate, which no body can hold
        return
    one = Pseudonyms(b"key")
    said = orjson.loads(one.body("application/json", body))["last_name"]
    assert len(said) == len(text)
    assert [sign.isalpha() for sign in said] == [sign.isalpha() for sign in text]
    assert said == orjson.loads(one.body("application/json", body))["last_name"]


@pytest.mark.parametrize(("kind", "body"), [("application/json", b"{"), ("text/xml", b"<a>"), ("text/xml", b"")])
def test_what_cannot_be_read_gets_no_pseudonyms(kind: str, body: bytes) -> None:
    with pytest.raises(UnreadableError):
        Pseudonyms().body(kind, body)


def test_a_recording_is_its_owners_and_ends_growing(tmp_path: Path) -> None:
    path = tmp_path / "day.ndjson"
    recording = Recording(path, datetime.now(UTC), 400, None)
    for number in range(20):
        recording.keep(Message(number / 10, "bulk", "application/json", b'{"n": 1}' if number else b"\xff"))
    recording.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size <= 400
    read = list(messages(BytesIO(path.read_bytes())))
    assert len(read) == recording.written
    assert (recording.written + recording.over, read[0].body, read[1].at_s, read[1].lane) == (20, b"\xff", 0.1, "bulk")
    assert list(messages(BytesIO(path.read_bytes()[:-3]))) == read[:-1]
    with pytest.raises(FileExistsError):
        Recording(path, datetime.now(UTC), 400, None)


@pytest.mark.parametrize(
    ("text", "said"), [(b"", "line 1"), (b"{}\n", "line 1"), (b'{"membersync_recording": 1}\n{"at_s": 1}\n', "line 2")]
)
def test_another_file_is_told_from_a_recording(text: bytes, said: str) -> None:
    with pytest.raises(NotARecordingError, match=said):
        list(messages(BytesIO(text)))


def test_a_replay_keeps_order_and_distance_and_counts_what_comes_back() -> None:
    begun: list[tuple[float, bytes]] = []
    lock = threading.Lock()

    def send(message: Message) -> httpx.Response:
        with lock:
            begun.append((time.monotonic(), message.body))
        if message.body == b"away":
            raise httpx.ConnectError("nobody there")
        if message.body == b"page":
            return httpx.Response(502, text="<html>")
        return httpx.Response(202, json={"results": [{"outcome": "accepted"}, {"outcome": "duplicate"}]})

    day = [
        Message(at_s, "", "application/json", body)
        for at_s, body in ((7, b"1"), (9, b"away"), (9, b"page"), (12, b"4"))
    ]
    began_s = time.monotonic()
    report = replayed(day, send, Pace(speed=100, at_once=1))
    assert [body for _, body in begun] == [b"1", b"away", b"page", b"4"]
    assert begun[-1][0] - began_s >= 0.05
    assert report.as_json() | {"answered_ms": 0, "behind_s": 0} == {
        "messages": 4,
        "statuses": {"no_answer": 1, "202": 2, "502": 1},
        "events": {"accepted": 2, "duplicate": 2},
        "answered_ms": 0,
        "behind_s": 0,
        "unreadable": 0,
        "foreign": 0,
    }
    assert not report.is_taken
    assert not replayed([], send, Pace(1, 1)).is_taken

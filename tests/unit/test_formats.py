"""Bodies and files become positions, each an event or its own refusal; memory stays bounded."""

import io
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.intake.formats import (
    NdjsonReader,
    Position,
    TooManyEventsError,
    UnsupportedMediaTypeError,
    read_body,
    read_file,
)
from producers.intake.refused import BodyError
from producers.intake.siebel_message import Dialect, Terms
from shared.errors import InvalidEventError
from shared.events import MemberEvent
from shared.settings import SiebelSettings

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TERMS = Terms(Dialect.of(SiebelSettings()), NOW, max_event_bytes=1000, max_events=5)
XML = b'<SiebelMessage IntObjectName="CT LOY Member"><ListOfCT_spcLOY_spcMember><LOY_spcMember><Member_spcNumber>1'
XML += b"</Member_spcNumber></LOY_spcMember></ListOfCT_spcLOY_spcMember></SiebelMessage>"


def event(number: str = "1") -> bytes:
    return orjson.dumps(
        {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z", "member": {"member_number": number}}
    )


def shown(positions: Iterator[Position]) -> list[tuple[int, str]]:
    """Each position with the member's number, or with `field: reason`."""
    return [
        (position, outcome.member.member_number if isinstance(outcome, MemberEvent) else str(outcome))
        for position, outcome in positions
    ]


def of_body(content_type: str, body: bytes) -> list[tuple[int, str]]:
    return shown(read_body(content_type, body, TERMS))


def of_file(name: str, content: bytes) -> list[tuple[int, str]]:
    return shown(read_file(io.BufferedReader(io.BytesIO(content)), name, TERMS))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", event()),
        ("application/json; charset=utf-8", b"[" + event() + b"]"),
        ("application/json; charset=UTF-16", event().decode().encode("utf-16")),
        ("Application/X-NDJSON", event() + b"\n"),
        ("application/xml", XML),
        ("text/xml; charset=utf-8", XML),
        ("application/json", b'{"SiebelMessage": {"ListOfCT LOY Member": {"LOY Member": {"Member Number": "1"}}}}'),
    ],
)
def test_each_media_type_is_read(content_type: str, body: bytes) -> None:
    assert of_body(content_type, body) == [(0, "1")]


def test_a_bad_event_refuses_only_itself() -> None:
    body = b"[" + event("1") + b', {"operation": "update"}, 7, ' + event("2") + b"]"
    assert of_body("application/json", body) == [
        (0, "1"),
        (1, "occurred_at: is required"),
        (2, "must be a JSON object"),
        (3, "2"),
    ]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"7"),
        ("application/json", b"\xff\xfe\x00"),
        ("application/json; charset=punycode", event()),
        ("application/json", b'{"SiebelMessage": 7}'),
        ("application/json", b"[" * 3000),
        ("application/xml", b"<a/>"),
        ("application/xml", b"<SiebelMessage>"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_whole(content_type: str, body: bytes) -> None:
    with pytest.raises(BodyError):
        read_body(content_type, body, TERMS)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream"])
def test_another_media_type_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        read_body(content_type, event(), TERMS)


def test_more_events_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyEventsError):
        read_body("application/json", b"[" + b",".join([event()] * 6) + b"]", TERMS)
    with pytest.raises(TooManyEventsError):
        list(read_body("application/x-ndjson", b"\n".join([event()] * 6), TERMS))
    assert len(of_body("application/x-ndjson", b"\n".join([event()] * 5))) == 5


def test_blank_lines_count_for_nothing_and_line_ends_may_be_of_any_kind() -> None:
    body = b"\xef\xbb\xbf" + event("1") + b"\r\n\n  \r\n{oops\n" + event("2")
    assert of_body("application/x-ndjson", body) == [(0, "1"), (1, "is not JSON: line 4, column 2"), (2, "2")]


def test_an_endless_line_is_refused_and_not_kept() -> None:
    reader = NdjsonReader(TERMS)
    seen: list[tuple[int, str]] = []
    for chunk in [event("1") + b"\n{", *[b"x" * 900] * 50, b"\n" + event("2"), b"\n"]:
        seen += shown(reader.feed(chunk))
        assert len(reader._rest) <= 2000  # noqa: SLF001  # the promise is about memory
    assert seen + shown(reader.finish()) == [(0, "1"), (1, "is larger than 1000 bytes"), (2, "2")]


@given(st.lists(st.sampled_from([event("1"), b"", b"{", b"7", b"x" * 1200]), max_size=5), st.integers(1, 40))
def test_where_the_chunks_end_makes_no_difference(lines: list[bytes], size: int) -> None:
    body = b"\n".join(lines)
    reader = NdjsonReader(TERMS)
    seen = [found for start in range(0, len(body), size) for found in shown(reader.feed(body[start : start + size]))]
    assert seen + shown(reader.finish()) == of_body("application/x-ndjson", body)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", event() + b"\n"),
        ("a.json", event()),
        ("a.json", b"[\n" + event() + b"\n]"),
        ("a.json", event().replace(b",", b",\n")),
        ("a.xml", XML),
        ("a.csv", b"Member Number\n1\n"),
        ("-", event() + b"\n"),
        ("-", b"\xef\xbb\xbf" + event() + b"\n"),
        ("-", b" [" + event() + b"]"),
        ("-", XML),
        ("-", b"Member Number,Status\n1,Active\n"),
    ],
)
def test_a_file_is_known_by_its_name_or_by_how_it_begins(name: str, content: bytes) -> None:
    assert of_file(name, content) == [(0, "1")]


def test_a_file_may_hold_more_than_a_request(tmp_path: Path) -> None:
    path = tmp_path / "load.ndjson"
    path.write_bytes((event() + b"\n") * 8)
    with path.open("rb") as stream:
        assert len(list(read_file(stream, path.name, TERMS))) == 8


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_is_read_in_siebel_s_labels(delimiter: str, encoding: str) -> None:
    rows = [["Member Number", "Contact Last Name", "Date of Birth", "Segment"], ["1", "Müller", "11/29/1979", "A"]]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    ((_, outcome),) = read_file(io.BufferedReader(io.BytesIO(text.encode(encoding))), "a.csv", TERMS)
    assert isinstance(outcome, MemberEvent)
    assert (outcome.member.last_name, outcome.member.date_of_birth) == ("Müller", "1979-11-29")
    assert outcome.member.model_extra == {"Segment": "A"}
    assert (outcome.operation, outcome.occurred_at) == ("update", NOW)


def test_csv_in_our_own_names_must_say_what_happened_and_when() -> None:
    header = b"operation,occurred_at,modification,lane,member_number,city\n"
    full = header + b'enroll,2026-11-23T08:51:00Z,3,bulk,1,"York, New"\n'
    ((_, outcome),) = read_file(io.BufferedReader(io.BytesIO(full)), "a.csv", TERMS)
    assert isinstance(outcome, MemberEvent)
    assert (outcome.modification, outcome.lane, outcome.member.city) == (3, "bulk", "York, New")
    lines = of_file("a.csv", header + b"update,,,,1,\n,2026-11-23T08:51:00Z,,,1,\n")
    assert lines == [(0, "line 2, column occurred_at: is required"), (1, "line 3, column operation: is required")]


def test_a_bad_row_is_named_by_line_and_column() -> None:
    content = b'Member Number,Date of Birth,City\n1,,"a\nb"\n\n2,02/30/1979,\n3,,\xff\n4,\n5,,x\n'
    assert of_file("a.csv", content) == [
        (0, "line 2, column City: contains a control character"),
        (1, "line 5, column Date of Birth: is a date that does not exist"),
        (2, "line 6, column City: is not valid Unicode text"),
        (3, "4"),
        (4, "5"),
    ]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"x" * 200_000, ["line 3: is longer than 1000 characters"]),
        (b"2,Rome" + b"," * 1_100_000 + b"x", ["line 3: is longer than 1000 characters"]),
        (b"x" * 3_000_000, ["line 3: is longer than 1000 characters"]),
        (b'2,"' + b"x" * 2_000_000 + b'"', ["line 3: is longer than 1000 characters"]),
        (
            b'2,"Ro\n' + b'me",' + b"," * 1_100_000,
            [
                "line 3: opens a quotation mark that is never closed",
                "line 4: follows a quotation mark that is never closed, and may belong to it",
            ],
        ),
    ],
    ids=["a field", "empty cells", "a line", "quoted", "several lines"],
)
def test_a_row_that_is_far_too_long_stops_none_of_those_behind_it(bad: bytes, said: list[str]) -> None:
    content = b"Member Number,City\n1,Paris\n" + bad + b"\n3,Oslo\n"
    assert [what for _, what in of_file("a.csv", content)] == ["1", *said, "3"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"\n1\n"),
        ("a.csv", b"Status,status\n"),
        ("a.csv", b"\xff\xfeM"),
        ("a.csv", b"Member Number" + b"x" * 1_100_000),
        ("a.xml", b"<x"),
        ("a.json", b"{"),
        ("-", b""),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(name: str, content: bytes) -> None:
    with pytest.raises(BodyError):
        list(read_file(io.BufferedReader(io.BytesIO(content)), name, TERMS))


@given(st.binary(max_size=80) | st.text('{}[]",:<>\n ab1', max_size=60).map(str.encode), st.sampled_from("abcdef"))
def test_garbage_raises_nothing_but_a_refusal(content: bytes, kind: str) -> None:
    names = {"a": "a.csv", "b": "a.json", "c": "a.ndjson", "d": "a.xml", "e": "-", "f": "x.tsv"}
    try:
        for _, outcome in read_file(io.BufferedReader(io.BytesIO(content)), names[kind], TERMS):
            assert isinstance(outcome, InvalidEventError)
    except BodyError as error:
        assert error.reason  # noqa: PT017


@pytest.mark.parametrize("error", [BodyError("a", "b"), TooManyEventsError("", "b"), UnsupportedMediaTypeError("c")])
def test_the_errors_survive_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy)) == (type(error), str(error))

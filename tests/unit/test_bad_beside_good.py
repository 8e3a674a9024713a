"""One bad event never stops the good ones beside it, in any format; what is bad is named by position and field."""

import io
import re
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.intake.formats import Position, read_body, read_file
from producers.intake.refused import EXCERPT_MAX, BodyError, RefusedEventError
from producers.intake.siebel_message import Dialect, Terms
from shared.errors import InvalidEventError
from shared.events import MemberEvent
from shared.settings import SiebelSettings

TERMS = Terms(Dialect.of(SiebelSettings()), datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
DEEP = b"[" * 5000 + b"]" * 5000
OPENING = b'<?xml version="1.0"?>\n<SiebelMessage IntObjectName="CT LOY Member">\n<ListOfCT_spcLOY_spcMember>\n'
CLOSING = b"\n</ListOfCT_spcLOY_spcMember></SiebelMessage>"


def event(number: str, more: bytes = b"", of_member: bytes = b"") -> bytes:
    """A canonical event in bytes, with pieces put in as they are."""
    return (
        b'{"operation":"update","occurred_at":"2026-11-23T08:51:00Z"%s,"member":{"member_number":"%s","last_name":"Lee"%s}}'
        % (more, number.encode(), of_member)
    )


def siebel_json(value: bytes) -> bytes:
    members = b'{"Member Number":"1"},{"Member Number":"9","Primary City":%s},{"Member Number":"2"}' % value
    return b'{"SiebelMessage":{"ListOfCT LOY Member":{"LOY Member":[%s]}}}' % members


def xml(*cities: str, encoding: str = "utf-8") -> bytes:
    member = "<LOY_spcMember><Member_spcNumber>{}</Member_spcNumber><City>{}</City></LOY_spcMember>"
    return OPENING + "\n".join(member.format(*one) for one in enumerate(cities, 1)).encode(encoding) + CLOSING


def shown(positions: list[Position]) -> list[str | tuple[str, str]]:
    """Each position's member number, or the field and reason of its refusal; positions are counted without a gap."""
    assert [position for position, _ in positions] == list(range(len(positions)))
    return [
        one.member.member_number if isinstance(one, MemberEvent) else (one.field, one.reason) for _, one in positions
    ]


def of_body(content_type: str, body: bytes) -> list[str | tuple[str, str]]:
    return shown(list(read_body(content_type, body, TERMS)))


def of_file(name: str, body: bytes) -> list[str | tuple[str, str]]:
    return shown(list(read_file(io.BufferedReader(io.BytesIO(body)), name, TERMS)))


BROKEN = [
    (b"", b',"first_name":"Ann \\ud83d"', "member.first_name", "Unicode"),
    (b"", b',"first_name":"Jos\xe9"', "member.first_name", "Unicode"),
    (b"", b',"city":NaN', "member.city", "text"),
    (b"", b',"city":' + DEEP, "member.city", "text"),
    (b"", b',"X":-Infinity', "member.X", "not a number"),
    (b"", b',"X":' + b"9" * 400, "member.X", "too large"),
    (b"", b',"X":' + b"9" * 9000, "member.X", "too large"),
    (b',"X":1e400', b"", "X", "not a number"),
    (b',"X":{"y":["\\ud83d"]}', b"", "X.y.0", "character"),
    (b',"X":' + DEEP, b"", "X.0.0", "nested"),
    (b',"X":{"a":1e999,"a":NaN}', b"", "X.a", "not a number"),
    (b',"modification":' + b"9" * 400, b"", "modification", "large"),
]


@pytest.mark.parametrize(("more", "of_member", "field", "reason"), BROKEN)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_value_that_is_no_json_refuses_its_event_alone(
    content_type: str, more: bytes, of_member: bytes, field: str, reason: str
) -> None:
    events = [event("1"), event("9", more, of_member), event("2")]
    body = b"\n".join(events) if "ndjson" in content_type else b"[" + b",".join(events) + b"]"
    first, refusal, last = of_body(content_type, body)
    assert (first, last, refusal[0]) == ("1", "2", field)
    assert reason in refusal[1]


def test_a_bare_line_end_within_a_text_refuses_its_event_alone() -> None:
    body = b"[" + event("1") + b"," + event("9", b"", b',"city":"New\nYork"') + b"]"
    assert of_body("application/json", body) == ["1", ("member.city", "contains a control character")]


@pytest.mark.parametrize("value", [b"NaN", b"1e400", b"9" * 400, b'"\\ud83d"', b'"\xe9"', b'{"a":' + DEEP + b"}"])
def test_likewise_in_a_siebel_message(value: bytes) -> None:
    first, refusal, last = of_body("application/json", siebel_json(value))
    assert (first, refusal[0], last) == ("1", "Primary City", "2")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "line 1, column 1"),
        (b"[\n{oops]", "line 2, column 2"),
        (b"[" + event("1") + b",\n" + event("2"), "line 2, column"),
        (event("1") + b" 7", f"line 1, column {len(event('1')) + 2}"),
        (b"[" * 3000, "line 1, column 3001"),
    ],
)
def test_what_is_no_json_at_all_is_named_by_line_and_column(body: bytes, where: str) -> None:
    with pytest.raises(BodyError, match=where):
        read_body("application/json", body, TERMS)


@pytest.mark.parametrize(
    ("city", "reason"),
    [
        ("A&nbsp;B", "has an & that begins no known entity: line 5, column 61"),
        ("A & B", "has an & that begins no known entity: line 5, column 62"),
        ("&#0;", "refers to a character that XML does not have: line 5, column 60"),
        ("&#xD83D;", "refers to a character that XML does not have: line 5, column 60"),
        ("a\x01", "has a character that XML does not allow: line 5, column 61"),
        ("<![CDATA[R&D\x02]]>", "has a character that XML does not allow: line 5, column 72"),
        ("a]]>b", "has a ]]> where none may stand: line 5, column 61"),
        ("\ufffe", "has a character that XML does not allow: line 5, column 60"),
    ],
)
def test_a_bad_character_in_xml_refuses_its_member_with_line_and_column(city: str, reason: str) -> None:
    assert of_body("application/xml", xml("York", city, "R&amp;D <![CDATA[a&b]]>")) == ["1", ("City", reason), "3"]


def test_what_is_nested_too_deep_in_xml_refuses_its_member() -> None:
    deep = "<x>" * 40 + "</x>" * 40
    assert of_body("application/xml", xml("York", deep, "Bath")) == ["1", ("x", "is nested deeper than 16 levels"), "3"]


def test_a_byte_of_another_character_set_refuses_its_member_in_xml() -> None:
    reason = "has a byte that is none of its character set: line 5, column 62"
    assert of_body("text/xml", xml("York", "Zoë", "Bath", encoding="latin-1")) == ["1", ("City", reason), "3"]


def test_tags_that_do_not_fit_are_named_where_they_stand_whatever_was_marked_before() -> None:
    first, refusal = of_body("text/xml", xml("York", "A&nbsp;B</Citty>"))
    assert (first, refusal) == ("1", ("City", "is not XML: line 5, column 70"))


@pytest.mark.parametrize("body", [b"<![CDATA[" * 100_000, b"&" * 1_000_000, b"[" * 1_000_000, b'[{"a":' * 100_000])
@pytest.mark.parametrize("content_type", ["text/xml", "application/json"])
def test_a_hostile_body_is_refused_soon(content_type: str, body: bytes) -> None:
    with pytest.raises(BodyError):
        read_body(content_type, body, TERMS)


@pytest.mark.parametrize(
    ("declared", "charset", "encoding"),
    [
        ("UTF-16", "", "utf-8"),
        ("UTF-16", "utf-16", "utf-8"),
        ("UTF-16", "", "utf-16"),
        ("UTF-8", "", "utf-16"),
        ("UTF-8", "", "utf-16-be"),
        ("UTF-8", "iso-8859-1", "utf-8-sig"),
        ("ISO-8859-1", "", "cp1252"),
        ("UTF-8", "latin1", "cp1252"),
        ("windows-1252", "", "cp1252"),
    ],
)
def test_text_is_right_whatever_the_sender_says_of_it(declared: str, charset: str, encoding: str) -> None:
    body = xml("Zoë €").decode().replace('version="1.0"', f'version="1.0" encoding="{declared}"').encode(encoding)
    ((_, one),) = read_body(f"text/xml; charset={charset}" if charset else "text/xml", body, TERMS)
    assert isinstance(one, MemberEvent)
    assert one.member.city == "Zoë €"


@pytest.mark.parametrize("charset", ["latin1", "ISO-8859-1", "windows-1252"])
def test_json_of_the_west_is_read_as_it_was_meant(charset: str) -> None:
    body = event("1", b"", ',"city":"Zoë €"'.encode("cp1252"))
    ((_, one),) = read_body(f"application/json; charset={charset}", body, TERMS)
    assert isinstance(one, MemberEvent)
    assert one.member.city == "Zoë €"


@pytest.mark.parametrize(
    ("content_type", "body", "named"),
    [
        ("application/json; charset=koi8-r", event("1"), "koi8-r"),
        ("text/xml; charset=shift_jis", xml("York"), "shift_jis"),
        ("text/xml", xml("York").replace(b'"1.0"', b'"1.0" encoding="x-mac"'), "x-mac"),
        ("application/json", b"\xff\xfe\0\0", "UTF-32"),
        ("application/json", event("1").decode().encode("utf-16") + b"!", "UTF-16"),
        ("application/json", b"\x1f\x8b\x08\0", "gzip"),
        ("application/json", b"PK\x03\x04\x14", "xlsx"),
    ],
)
def test_what_cannot_be_read_is_named(content_type: str, body: bytes, named: str) -> None:
    with pytest.raises(BodyError, match=named):
        read_body(content_type, body, TERMS)


def test_ndjson_under_another_name_is_known_by_a_first_line_that_is_bad() -> None:
    body = event("9", b',"X":NaN') + b"\n" + event("1") + b"\n"
    assert of_file("events.json", body) == [("X", "is not a number"), "1"]


def test_a_refusal_knows_line_and_member_and_shows_nobody() -> None:
    body = event("1") + b"\n\n" + event("9", b"", b',"first_name":"Gwendolyn","gender":"x"') + b"\n{Gwendolyn 1979"
    refusals = [one for _, one in read_body("application/x-ndjson", body, TERMS) if isinstance(one, RefusedEventError)]
    assert [(one.line, one.member_number) for one in refusals] == [(3, "9"), (4, None)]
    assert all(one.excerpt and "Gwendolyn" not in one.excerpt and "1979" not in one.excerpt for one in refusals)
    assert '"member_number": "9"' in (refusals[0].excerpt or "")


GOOD = [event(str(number)) for number in range(1, 4)]
GOOD_XML = [one.encode() for one in re.findall("<LOY.*", xml("York", "Bath", "Leeds").decode())]
SCALARS = st.sampled_from(["NaN", "1e999", '"\\ud800"', "9" * 50, "null", "true", "-7.5", '""', '"x"', '"1979"', "{}"])
KEYS = st.sampled_from(["member", "operation", "occurred_at", "modification", "event_id", "lane", "x", "", "\\ud83d"])


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(KEYS, values), max_size=4)
    return pairs.map(lambda of: "{" + ",".join(f'"{name}":{value}' for name, value in of) + "}")


BAD_JSON = st.recursive(SCALARS, lambda of: objects(of) | st.lists(of, max_size=3).map(lambda of: f"[{','.join(of)}]"))


def accounted(positions: list[Position], at: int) -> None:
    """The good ones are there in order, and the bad one is refused at its position in words that hold no value."""
    good = [one.member.member_number for _, one in positions if isinstance(one, MemberEvent)]
    assert good == ["1", "2", "3"]
    assert [position for position, one in positions if isinstance(one, InvalidEventError)] == [at]
    bad = positions[at][1]
    assert isinstance(bad, RefusedEventError)
    assert bad.reason
    assert bad.field.isprintable()
    assert bad.excerpt is not None
    assert len(bad.excerpt) <= EXCERPT_MAX


@given(BAD_JSON, st.integers(0, 3))
def test_any_bad_event_in_an_array_stops_none_of_the_good(bad: str, at: int) -> None:
    body = b"[" + b",".join([*GOOD[:at], bad.encode(), *GOOD[at:]]) + b"]"
    accounted(list(read_body("application/json", body, TERMS)), at)


@given(st.binary(min_size=1).filter(lambda line: line.strip() and b"\n" not in line), st.integers(0, 3))
def test_any_bad_line_stops_none_of_the_good(bad: bytes, at: int) -> None:
    if at == 0:
        bad = b"{," + bad  # what a body begins with may say that it is no text
    body = b"\n".join([*GOOD[:at], bad, *GOOD[at:]])
    accounted(list(read_body("application/x-ndjson", body, TERMS)), at)


@given(
    st.text(st.characters(exclude_characters="<")).filter(
        lambda text: re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    ),
    st.integers(0, 3),
)
def test_any_bad_text_in_xml_stops_none_of_the_good(text: str, at: int) -> None:
    written = f"<LOY_spcMember><Member_spcNumber>9</Member_spcNumber><City>{text}</City></LOY_spcMember>"
    bad = written.encode("utf-8", "surrogatepass")
    body = OPENING + b"\n".join([*GOOD_XML[:at], bad, *GOOD_XML[at:]]) + CLOSING
    accounted(list(read_body("text/xml", body, TERMS)), at)


@given(st.text().filter(lambda text: not re.search(r'[\r\n"]', text) and text.strip()), st.integers(0, 3))
def test_any_bad_row_stops_none_of_the_good(text: str, at: int) -> None:
    rows = [f"{number},York,US".encode() for number in range(1, 4)]
    bad = f"{text},York,US,and more".encode("utf-8", "replace")
    body = b"\n".join([b"Member Number,City,Country Code", *rows[:at], bad, *rows[at:]])
    accounted(list(read_file(io.BufferedReader(io.BytesIO(body)), "a.csv", TERMS)), at)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.none()), st.integers(0, 3))
def test_an_array_of_good_events_and_any_object_is_taken_but_for_that(bad: dict[str, object], at: int) -> None:
    try:
        raw = orjson.dumps(bad)
    except TypeError:  # a number beyond 64 bits: as text
        raw = str(bad).encode()
    body = b"\n".join([*GOOD[:at], raw, *GOOD[at:]])
    accounted(list(read_body("application/x-ndjson", body, TERMS)), at)

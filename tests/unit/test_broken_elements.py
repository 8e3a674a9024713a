"""An element of a list that is no JSON or no XML is refused alone, where it is certain where it ends."""

import io
import re
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.intake.formats import read_body, read_file
from producers.intake.refused import BodyError, RefusedEventError
from producers.intake.siebel_message import Dialect, Terms
from shared.errors import InvalidEventError
from shared.events import MemberEvent
from shared.settings import SiebelSettings

TERMS = Terms(Dialect.of(SiebelSettings()), datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
WHERE = re.compile(r"is not (JSON|XML): line \d+, column \d+")


def event(number: str, **more: object) -> bytes:
    member = {"member_number": number, "first_name": "Ann", "city": "York", "tags": more.pop("tags", "")}
    said = {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z", **more, "member": member}
    return orjson.dumps(said)


def siebel(*members: bytes) -> bytes:
    return b'{"SiebelMessage":{"IntObjectName":"CT LOY Member","ListOfCT LOY Member":{"LOY Member":[%s]}}}' % (
        b",".join(members)
    )


def siebel_member(number: str) -> bytes:
    contact = {"Contact First Name": "Ann", "Primary City": "York", "Email Address": f"{number}@example.org"}
    return orjson.dumps({"Member Number": number, "Status": "Active", "ListOfContact": {"Contact": [contact]}})


def read(body: bytes, content_type: str = "application/json") -> list[str | tuple[str, str]]:
    positions = list(read_body(content_type, body, TERMS))
    assert [position for position, _ in positions] == list(range(len(positions)))
    return [shown(one) for _, one in positions]


def shown(one: MemberEvent | InvalidEventError) -> str | tuple[str, str]:
    return one.member.member_number if isinstance(one, MemberEvent) else (one.field, one.reason)


BROKEN = [
    (b'"York"', b'"York', "member.city"),
    (b'"York"', b'York"', "member.city"),
    (b'"York"', b"York", "member.city"),
    (b'"York"', b"", "member.city"),
    (b'"city":', b'"city"', None),
    (b'"city":', b'city":', "member.first_name"),
    (b'"city":', b'"city:', "member.first_name"),
    (b'"York",', b'"York"', "member.city"),
    (b'"tags":""', b'"tags":"', "member.tags"),
    (b'"tags":""', b'"tags":"",', None),
    (b'""}}', b'""}', None),
    (b'""}}', b'""', None),
    (b'""}}', b'""}}}', None),
    (b'""}}', b'""}} oops', None),
    (b'"York","tags":""}}', b'"Yo', "member.city"),
    (b'"York","tags":""}}', b"", None),
    (b'{"member_number"', b'"member_number"', "member_number"),
    (b'{"operation"', b'"operation"', "operation"),
    (b'"update"', b"'update'", "operation"),
    (b'"update"', b"True", "operation"),
    (b'"update"', b"0x1F", "operation"),
    (b'"update"', b'/* an */ "update"', "operation"),
]


@pytest.mark.parametrize(("good", "bad", "field"), BROKEN)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_broken_event_of_an_array_is_refused_alone(good: bytes, bad: bytes, field: str | None, at: int) -> None:
    events = [event(str(number)) for number in range(3)]
    assert good in events[at]
    events[at] = events[at].replace(good, bad, 1)
    found = read(b"[" + b",\n".join(events) + b"]")
    assert [one for one in found if isinstance(one, str)] == [str(number) for number in range(3) if number != at]
    assert len(found) == 3
    refusal = found[at]
    assert not isinstance(refusal, str)
    where, reason = refusal
    assert re.fullmatch(rf"is not JSON: line {at + 1}, column \d+", reason)
    assert where == field or field is None


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"York"', b'"York'),
        (b'"York"', b'York"'),
        (b'"York"', b"York"),
        (b'"York"', b'"York",'),
        (b'"Active"', b"Active"),
        (b'"Active"', b'"Active'),
        (b'example.org"', b"example.org"),
        (b'org"}]}}', b'org"]}}'),
        (b'org"}]}}', b'org"}}}'),
        (b'org"}]}}', b'org"}]}'),
        (b'"Contact":[{', b'"Contact":[{"Id":"1"},{,'),
        (b'{"Member Number"', b'"Member Number"'),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_broken_member_of_a_siebel_message_is_refused_alone(good: bytes, bad: bytes, at: int) -> None:
    members = [siebel_member(str(number)) for number in range(3)]
    assert good in members[at]
    members[at] = members[at].replace(good, bad, 1)
    found = read(siebel(*members))
    assert [one for one in found if isinstance(one, str)] == [str(number) for number in range(3) if number != at]
    assert len(found) == 3
    assert WHERE.fullmatch(found[at][1])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[%s,%s,]", ["1", "2", ""]),
        (b"[%s,,%s]", ["1", "", "2"]),
        (b"[,%s,%s]", ["", "1", "2"]),
        (b"[%s,%s,oops]", ["1", "2", ""]),
        (b'[%s,%s,{"operation":"upd', ["1", "2", ""]),
        (b'[%s,%s,{"operation":"update","member":{"tags":[1,2', ["1", "2", ""]),
        (b'[%s,%s,{"x":[{"a":1},{"b":2}],"member":{"member_numb', ["1", "2", ""]),
        (b"[%s,oops,'x',{y:1},%s]", ["1", "", "", "2"]),
        (b'[{"a":tru},%s,{"a" 1},{"a":[{"b":1},{"c":1}],},%s]', ["", "1", "", "", "2"]),
        (b'[%s {"a":1},%s]', ["", "", "2"]),
    ],
)
def test_everything_in_an_array_is_accounted_for(body: bytes, expected: list[str]) -> None:
    found = read(body % (event("1"), event("2")))
    assert [one if isinstance(one, str) else "" for one in found] == expected
    assert all(WHERE.fullmatch(one[1]) for one in found if not isinstance(one, str))


@pytest.mark.parametrize(
    "body",
    [
        b'[%s,{"history":[%s,{"x":1},%s]',
        b'[%s,{"history":[%s],%s],"x":1},{"y":2}]',
        b'[%s,{"x":"1,{"history":[%s,%s}]',
        b'[%s,{"x":bad,"history":[%s,%s',
        b"[%s],[%s,oops,%s]",
        b'{"operation":"update","LOY Member":[%s,oops,%s,%s]}',
    ],
)
def test_what_may_belong_to_another_event_is_not_taken_for_one(body: bytes) -> None:
    try:
        found = read(body % (event("1"), event("2"), event("3")))
    except BodyError as error:
        assert re.search(r"line \d+, column \d+", error.reason)  # noqa: PT017
    else:
        assert [one for one in found if isinstance(one, str)] == ["1"]


def test_a_broken_event_is_known_by_its_member_and_shows_nobody() -> None:
    events = [event("1"), event("9").replace(b'"York"', b'"Gwendolyn'), event("2")]
    ((_, refusal),) = [
        one for one in read_body("application/json", b"[" + b",\n".join(events) + b"]", TERMS) if one[0] == 1
    ]
    assert isinstance(refusal, RefusedEventError)
    assert (refusal.line, refusal.member_number) == (2, "9")
    assert "Gwendolyn" not in str(refusal) + (refusal.excerpt or "Gwendolyn")


VALUES = st.sampled_from(["", "York", 'a "b"', "},{", "a,{b}]", "x\\", ":", ",", "]", '"', "\n", "é", "[1]"])
NESTED = st.lists(st.integers(1, 9).map(lambda number: orjson.loads(event(f"inner {number}"))), max_size=3)
PIECES = st.sampled_from(['"', "{", "}", "[", "]", ",", ":", "\\", " ", "\n", "1", "x", "null", ",{", "}]", '",', '{"'])

NUMBERS = "abcde"  # no piece makes one of another


@st.composite
def corrupted(draw: st.DrawFn, text: str) -> str:
    """A text with one stretch of it replaced."""
    start = draw(st.integers(0, len(text)))
    gone = draw(st.integers(0, 3) | st.integers(0, len(text)))
    return text[:start] + "".join(draw(st.lists(PIECES, max_size=3))) + text[start + gone :]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[str], int]:
    """The events of an array in JSON, and which of them is corrupted."""
    count = draw(st.integers(2, 5))
    texts = [
        event(NUMBERS[number], city=draw(VALUES), history=draw(NESTED), tags=draw(VALUES)).decode()
        for number in range(count)
    ]
    at = draw(st.integers(0, count - 1))
    texts[at] = draw(corrupted(texts[at]))
    return texts, at


@given(bodies(), st.sampled_from(["", "\n", "  "]))
@settings(max_examples=500)
def test_whatever_is_wrong_with_one_event_the_others_are_taken_or_the_whole_is_refused(
    body: tuple[list[str], int], blank: str
) -> None:
    texts, at = body
    others = [NUMBERS[number] for number in range(len(texts)) if number != at]
    try:
        positions = list(read_body("application/json", f"[{f',{blank}'.join(texts)}]".encode(), TERMS))
    except BodyError as error:
        assert WHERE.fullmatch(error.reason)  # noqa: PT017
        return
    taken = [one for _, one in positions if isinstance(one, MemberEvent)]
    own = [one for one in taken if one.member.member_number not in others]
    assert [one.member.member_number for one in taken if one not in own] == others
    assert not any("inner" in one.member.member_number for one in own[:1])
    assert len(own) <= 1
    assert len(positions) - len(taken) >= (not own)


@pytest.mark.parametrize(
    ("more", "of_member", "field"),
    [
        (b',"operation":"delete"', b"", "operation"),
        (b',"member":{"member_number":"7"}', b"", "member"),
        (b',"x":{"y":[{"a":1,"a":2}]}', b"", "x.y.0.a"),
        (b"", b',"member_number":"2"', "member.member_number"),
        (b"", b',"x":1,"x":null', "member.x"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_name_with_two_values_refuses_its_event(content_type: str, more: bytes, of_member: bytes, field: str) -> None:
    bad = event("9")[:-2] + of_member + b"}" + more + b"}"
    body = b"\n".join([event("1"), bad, event("2")])
    found = read(body if "ndjson" in content_type else b"[" + body.replace(b"\n", b",") + b"]", content_type)
    assert found == ["1", (field, "stands there more than once, with different values"), "2"]


def test_a_name_that_is_repeated_with_one_value_is_one() -> None:
    assert read(event("9")[:-2] + b',"member_number":"9"},"operation":"update"}') == ["9"]


@pytest.mark.parametrize(
    ("more", "field"),
    [(b',"Member Number":"7"}', "Member Number"), (b',"ListOfContact":{"Contact":{"City":"Bath"}}}', "ListOfContact")],
)
def test_a_member_with_two_values_of_one_name_is_refused_by_it(more: bytes, field: str) -> None:
    found = read(siebel(siebel_member("1"), siebel_member("9")[:-1] + more, siebel_member("2")))
    assert found == ["1", (field, "stands there more than once, with different values"), "2"]


def xml(*members: str, closing: str = "</ListOfCT_spcLOY_spcMember></SiebelMessage>") -> bytes:
    opening = '<?xml version="1.0"?>\n<SiebelMessage IntObjectName="CT LOY Member"><ListOfCT_spcLOY_spcMember>\n'
    return (opening + "\n".join(members) + closing).encode()


REST = "<ListOfContact><Contact><Last_spcName>Lee</Last_spcName></Contact></ListOfContact></LOY_spcMember>"


def xml_member(number: str) -> str:
    return f"<LOY_spcMember><Member_spcNumber>{number}</Member_spcNumber><City>York</City>{REST}"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("</City>", "</Citty>"),
        ("</City>", ""),
        ("<City>", ""),
        ("<City>", "<City"),
        ("<City>", "<City a=1>"),
        ("<City>", '<City a="1" a="2">'),
        ("<City>", '<City a="1>'),
        ("York", "Y < K"),
        ("York", "<!-- York"),
        ("York", "<![CDATA[York"),
        ("</Contact>", ""),
        ("<Contact>", ""),
        ("</LOY_spcMember>", ""),
        ("</LOY_spcMember>", "</LOY_spcMembr>"),
        ("<LOY_spcMember>", "<LOY_spcMembr>"),
        ("<LOY_spcMember>", "<LOY_spcMember"),
        ("<LOY_spcMember>", ""),
        ("k</City>" + REST, ""),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_broken_member_in_xml_is_refused_alone(good: str, bad: str, at: int) -> None:
    members = [xml_member(str(number)) for number in range(3)]
    assert good in members[at]
    members[at] = members[at].replace(good, bad, 1)
    found = read(xml(xml_member("first"), *members), "application/xml")[1:]
    assert [one for one in found if isinstance(one, str)] == [str(number) for number in range(3) if number != at]
    assert len(found) == 3
    refusal = found[at]
    assert not isinstance(refusal, str)
    assert re.fullmatch(rf"is not XML: line {at + 4}, column \d+", refusal[1])


def test_a_broken_member_in_xml_is_known_by_its_number_and_field() -> None:
    body = xml(xml_member("1"), xml_member("9").replace("</City>", "</Citty>"), xml_member("2"))
    refusal = list(read_body("application/xml", body, TERMS))[1][1]
    assert isinstance(refusal, RefusedEventError)
    assert (refusal.line, refusal.member_number, refusal.field) == (4, "9", "City")


@pytest.mark.parametrize(
    "body",
    [
        xml(
            xml_member("1"), xml_member("9").replace("York", f"<History>{xml_member('8')}</History>").replace(REST, "")
        ),
        xml(xml_member("1"), f"<LOY_spcMember><History>{xml_member('8')}</LOY_spcMember>", xml_member("2")),
        xml(xml_member("1"), f"<LOY_spcMember><History>{xml_member('8')}", xml_member("2")),
        xml(xml_member("1"), f"<LOY_spcMember><History>\n{xml_member('8')}", closing=""),
        xml(xml_member("1"), f"<LOY_spcMember><History>{xml_member('8')}{xml_member('7')}</History>", xml_member("2")),
        xml(xml_member("1"), xml_member("2"), closing=""),
        xml(xml_member("1"), xml_member("2"), closing="</ListOf>"),
    ],
)
def test_in_xml_what_may_belong_to_another_member_is_not_taken_for_one(body: bytes) -> None:
    with pytest.raises(BodyError, match=r"line \d+, column \d+"):
        read(body, "application/xml")


def test_xml_that_is_cut_off_loses_only_the_last_member() -> None:
    body = xml(xml_member("1"), xml_member("2"), xml_member("3")[:70], closing="")
    first, second, third = read(body, "application/xml")
    assert (first, second) == ("1", "2")
    assert third[1].startswith("is not XML: line 5")


@given(st.data(), st.integers(2, 4))
@settings(max_examples=300)
def test_whatever_is_wrong_with_one_member_in_xml_the_others_are_taken_or_the_whole_is_refused(
    data: st.DataObject, count: int
) -> None:
    members = [xml_member(NUMBERS[number]) for number in range(count)]
    at = data.draw(st.integers(0, count - 1))
    start = data.draw(st.integers(0, len(members[at])))
    gone = data.draw(st.integers(0, 3) | st.integers(0, len(members[at])))
    new = data.draw(st.lists(st.sampled_from(["<", ">", "/", "&", "<x>", "</x>", " ", '"', "x", "<!--", "<![CDATA["])))
    members[at] = members[at][:start] + "".join(new) + members[at][start + gone :]
    try:
        positions = list(read_body("text/xml", xml(*members), TERMS))
    except BodyError as error:
        assert WHERE.fullmatch(error.reason)  # noqa: PT017
        return
    taken = [one.member.member_number for _, one in positions if isinstance(one, MemberEvent)]
    assert [number for number in taken if number in NUMBERS and number != NUMBERS[at]] == [
        number for number in NUMBERS[:count] if number != NUMBERS[at]
    ]
    assert len(taken) <= count


@pytest.mark.parametrize("name", ["events.json", "-"])
@pytest.mark.parametrize("end", [b"", b"\n", b'\n{"operation":"upd'])
def test_lines_under_another_name_are_known_though_the_first_is_broken(name: str, end: bytes) -> None:
    body = event("9").replace(b'"York"', b'"York') + b"\n" + event("1") + b"\n" + event("2") + end
    found = [shown(one) for _, one in read_file(io.BufferedReader(io.BytesIO(body)), name, TERMS)]
    assert [one for one in found if isinstance(one, str)] == ["1", "2"]
    assert len(found) == (4 if end.strip() else 3)


def test_a_broken_object_of_many_lines_is_no_list_of_events() -> None:
    body = b'{"SiebelMessage":{"ListOfCT LOY Member":{"LOY Member":[\n{"Member Number":"1"}\n]}}'
    with pytest.raises(BodyError, match="line 3"):
        list(read_file(io.BufferedReader(io.BytesIO(body)), "a.json", TERMS))

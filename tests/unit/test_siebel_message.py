"""What Siebel sends by itself becomes the same events, whatever its names, nesting and encoding."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.intake import lenient_json
from producers.intake.refused import BodyError
from producers.intake.siebel_message import Dialect, Terms, is_siebel_message, read_siebel_message
from producers.intake.siebel_xml import parse_siebel_xml, unescape
from shared.errors import InvalidEventError
from shared.events import MemberEvent, Operation
from shared.settings import SiebelSettings

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DIALECT = Dialect.of(SiebelSettings())
CONTACT = {"Contact First Name": "Andy", "Contact Last Name": "Cole", "Date of Birth": "11/29/1979", "M/F": "M"}
MEMBER = {
    "Operation": "update",
    "Id": "1-2AB3",
    "Mod Id": "7",
    "Updated": "11/23/2026 08:51:00",
    "Member Number": "296-1",
    "Status": "Active",
}


def message(*members: object, **attributes: str) -> dict[str, Any]:
    return {
        "SiebelMessage": {
            "IntObjectName": "CT LOY Member",
            **attributes,
            "ListOfCT LOY Member": {"LOY Member": list(members)},
        }
    }


def read(document: Mapping[str, Any], dialect: Dialect = DIALECT) -> list[MemberEvent | InvalidEventError]:
    return list(read_siebel_message(document, Terms(dialect, NOW)))


def one(document: Mapping[str, Any], dialect: Dialect = DIALECT) -> MemberEvent:
    (event,) = read(document, dialect)
    assert isinstance(event, MemberEvent), event
    return event


def refused(member: object) -> tuple[str, str]:
    (error,) = read(message(member))
    assert isinstance(error, InvalidEventError)
    return error.field, error.reason


def test_a_message_becomes_events() -> None:
    event = one(message({**MEMBER, "ListOfContact": {"Contact": [CONTACT]}}))
    assert (event.operation, event.modification) == (Operation.UPDATE, 7)
    assert event.occurred_at == datetime(2026, 11, 23, 8, 51, tzinfo=UTC)
    assert (event.member.member_number, event.member.row_id) == ("296-1", "1-2AB3")
    assert (event.member.first_name, event.member.date_of_birth, event.member.gender) == ("Andy", "1979-11-29", "M")


XML = """<?xml version="1.0" encoding="{encoding}"?>
<SiebelMessage IntObjectName="CT Loyalty Member"><ListOfCT_spcLoyalty_spcMember><LOY_spcMember Operation="delete">
  <Member_spcNumber>296-1</Member_spcNumber>
  <ListOfContact><Contact><Contact_spcLast_spcName>Müller</Contact_spcLast_spcName><Contact_spcMiddle_spcName/>
  <M_slhF>F</M_slhF></Contact></ListOfContact></LOY_spcMember></ListOfCT_spcLoyalty_spcMember></SiebelMessage>"""


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1", "Windows-1252"])
def test_xml_is_read_in_the_encodings_siebel_writes(encoding: str) -> None:
    body = XML.format(encoding=encoding).encode(encoding)
    for charset in (None, encoding):
        event = one(parse_siebel_xml(body, charset))
        assert (event.operation, event.member.last_name, event.member.gender) == (Operation.DELETE, "Müller", "F")
        assert event.member.middle_name == ""


def test_xml_names_without_escapes_are_the_same_names() -> None:
    body = (
        b'<SiebelMessage IntObjectName="CT LOY Member"><ListOfCTLOYMember><LOYMember><MemberNumber>296-1</MemberNumber>'
        b"<DateofBirth>11/29/1979</DateofBirth><MF>M</MF></LOYMember></ListOfCTLOYMember></SiebelMessage>"
    )
    member = one(parse_siebel_xml(body, None)).member
    assert (member.member_number, member.date_of_birth, member.gender) == ("296-1", "1979-11-29", "M")


def test_escaped_names_are_given_back() -> None:
    assert unescape("Account_spc_lprSSE_rpr") == "Account (SSE)"
    assert unescape("A_undB_36_x00b0") == "A_B$°"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a",
        b"<a>" * 100,
        b"<a>&x;</a>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
        b'<?xml version="1.0" encoding="shift_jis"?><a/>',
        b"\xff\xfe<",
    ],
)
def test_xml_that_cannot_or_must_not_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError):
        parse_siebel_xml(body, None)


@given(st.binary(max_size=60) | st.text("<>/&;a= \"'![]-?", max_size=60).map(str.encode))
def test_garbage_in_xml_raises_nothing_but_a_refusal(body: bytes) -> None:
    try:
        parse_siebel_xml(body, None)
    except BodyError as error:
        assert error.reason  # noqa: PT017


@pytest.mark.parametrize(
    "content",
    [{"LOY Member": MEMBER}, {"LOY Member": [MEMBER]}, {"Loyalty Member": MEMBER}, [MEMBER], MEMBER],
)
def test_one_object_may_stand_where_an_array_could(content: object) -> None:
    assert one({"IntObjectName": "CT Loyalty Member", "ListOfCT LOY Member": content}).member.row_id == "1-2AB3"


@pytest.mark.parametrize(
    "contact",
    [
        {"ListOfContact": {"Contact": CONTACT}},
        {"ListOfContact": [CONTACT]},
        {"Contact": CONTACT},
        CONTACT,
        {"ListOfContact": {"Contact": [{"Contact First Name": "Bo"}, {**CONTACT, "IsPrimaryMVG": "Y"}]}},
    ],
)
def test_the_primary_contact_is_found_wherever_it_stands(contact: dict[str, Any]) -> None:
    assert one(message({**MEMBER, **contact})).member.first_name == "Andy"


BO = {"Contact First Name": "Bo", "Contact Last Name": "Lee"}


@pytest.mark.parametrize(
    ("contacts", "which"),
    [
        ({"ListOfContact": {"Contact": [BO, CONTACT]}}, "none of them is"),
        ({"ListOfContact": {"Contact": [BO, {**CONTACT, "IsPrimaryMVG": "N"}]}}, "none of them is"),
        ({"ListOfContact": {"Contact": BO}, "Contact": CONTACT}, "none of them is"),
        ({"Contact": [{**BO, "IsPrimaryMVG": "Y"}, {**CONTACT, "IsPrimaryMVG": "Y"}]}, "more than one of them is"),
    ],
)
def test_of_contacts_that_differ_none_is_taken_for_the_member_unless_it_is_set_so(
    contacts: dict[str, Any], which: str
) -> None:
    field, reason = refused({**MEMBER, **contacts})
    assert (field, which in reason) == (next(iter(contacts)), True)
    assert "Bo" not in reason
    first = Dialect.of(SiebelSettings(several_contacts="first"))
    assert one(message({**MEMBER, **contacts}), first).member.first_name == "Bo"
    gone = one(message({**MEMBER, **contacts, "Operation": "delete"}))
    assert (gone.operation, gone.member.first_name) == (Operation.DELETE, "")


def test_contacts_that_say_the_same_of_what_is_synced_are_one() -> None:
    contacts = [{**CONTACT, "Id": "1-A", "Contact Middle Name": ""}, {**CONTACT, "Id": "1-B"}]
    assert one(message({**MEMBER, "ListOfContact": {"Contact": contacts}})).member.first_name == "Andy"


def test_the_contact_s_own_fields_do_not_pass_for_the_member_s() -> None:
    event = one(message({**MEMBER, "ListOfContact": {"Contact": {**CONTACT, "Id": "1-C", "Status": "Inactive"}}}))
    assert (event.member.row_id, event.member.status) == ("1-2AB3", "Active")
    assert event.member.model_extra == {"Contact": {"Id": "1-C", "Status": "Inactive"}}


@pytest.mark.parametrize(
    ("word", "operation"),
    [("Insert", "enroll"), ("upsert", "update"), ("", "update"), (None, "update"), ("DELETE", "delete")],
)
def test_siebel_s_operations_are_understood(word: object, operation: str) -> None:
    assert one(message({**MEMBER, "Operation": word})).operation == operation


def test_a_message_that_says_neither_what_nor_when_is_an_update_on_arrival() -> None:
    event = one(message({"Member Number": "296-1"}))
    assert (event.operation, event.occurred_at, event.modification) == (Operation.UPDATE, NOW, None)
    assert event.occurred_on_arrival


@pytest.mark.parametrize(
    ("stamp", "hour"),
    [
        ("11/23/2026 08:51:00", 7),
        ("11/23/2026 08:51", 7),
        ("11/23/2026 08:51:00 PM", 19),
        ("2026-11-23T08:51:00", 7),
        ("2026-11-23 08:51:00Z", 8),
        ("2026-11-23T08:51:00-05:00", 13),
    ],
)
def test_dates_without_a_zone_are_of_siebel_s_zone(stamp: str, hour: int) -> None:
    dialect = Dialect.of(SiebelSettings(timezone="Europe/Berlin"))
    assert one(message({**MEMBER, "Updated": stamp}), dialect).occurred_at.hour == hour


def test_labels_can_be_set() -> None:
    dialect = Dialect.of(SiebelSettings(field_names={"row_id": "ROW ID X", "modification": "Conflict Id"}))
    event = one(message({**MEMBER, "ROW ID X": "1-9", "Conflict Id": "3"}), dialect)
    assert (event.member.row_id, event.modification) == ("1-9", 3)
    with pytest.raises(ValueError, match="colour"):
        Dialect.of(SiebelSettings(field_names={"colour": "Colour"}))


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"Member Number": ""}, "Member Number", "is empty"),
        ({"ListOfContact": {"Contact": {"Date of Birth": "02/30/1979"}}}, "Date of Birth", "does not exist"),
        ({"ListOfContact": {"Contact": ["x"]}}, "ListOfContact", "must be an object"),
        ({"M/F": "?"}, "M/F", "must be M, F"),
        ({"Operation": "query"}, "Operation", "must be insert"),
        ({"Updated": "23.11.2026"}, "Updated", "must be MM/DD/YYYY"),
        ({"Updated": "13/23/2026 08:00:00"}, "Updated", "does not exist"),
        ({"Mod Id": "seven"}, "Mod Id", "whole number"),
        ({"Custom": "\0"}, "Custom", "NUL"),
    ],
)
def test_a_bad_field_is_named_by_siebel_s_label(changes: dict[str, Any], field: str, reason: str) -> None:
    named, said = refused({**MEMBER, **changes})
    assert named == field
    assert reason in said


def test_a_missing_member_number_is_named() -> None:
    assert refused({"Id": "1-A"}) == ("Member Number", "is required")


def test_a_broken_member_does_not_stop_those_beside_it() -> None:
    first, second, third = read(message(MEMBER, "nonsense", {**MEMBER, "Member Number": "296-2"}))
    assert isinstance(first, MemberEvent)
    assert isinstance(second, InvalidEventError)
    assert isinstance(third, MemberEvent)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"SiebelMessage": []}, "SiebelMessage"),
        (message(MEMBER, IntObjectName="Account"), "IntObjectName"),
        ({"SiebelMessage": {"IntObjectName": "CT LOY Member"}}, "ListOfCT LOY Member"),
    ],
)
def test_a_message_of_another_shape_is_refused_whole(document: dict[str, Any], field: str) -> None:
    with pytest.raises(BodyError) as caught:
        read_siebel_message(document, Terms(DIALECT, NOW))
    assert caught.value.field == field


labels = st.sampled_from([*MEMBER, *CONTACT, "ListOfContact", "Contact", "Custom"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("11/23/2026 08:51:00 PM"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(labels, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(labels, values) | values, values)
def test_garbage_in_a_message_refuses_only_itself(member: object, content: object) -> None:
    first, second = read(message(member, MEMBER))
    assert isinstance(first, MemberEvent) or first.reason
    assert isinstance(second, MemberEvent)
    read({"IntObjectName": "CT LOY Member", "ListOfCTLOYMember": content})


def test_a_message_without_members_holds_none() -> None:
    assert read({"IntObjectName": "CT LOY Member", "ListOfCT LOY Member": ""}) == []


@pytest.mark.parametrize(
    "name", ["LOY Member", "Loyalty Member", "CT LOY Member", "CtLoyMember", "CT Loyalty Member", "LWA LOY Member"]
)
def test_the_component_may_be_named_in_every_way_that_oracle_does(name: str) -> None:
    assert one({"IntObjectName": "CT LOY Member", "ListOfCT LOY Member": {name: [MEMBER]}}).member.row_id == "1-2AB3"
    escaped = name.replace(" ", "_spc")
    body = f'<SiebelMessage IntObjectName="CT LOY Member"><ListOfCtLoyMember><{escaped}><MemberNumber>296-1'
    body += f"</MemberNumber></{escaped}></ListOfCtLoyMember></SiebelMessage>"
    assert one(parse_siebel_xml(body.encode(), None)).member.member_number == "296-1"


def test_what_is_under_another_component_is_refused_by_its_name() -> None:
    content = {"LOY Member": MEMBER, "Household": [{"Member Number": "7"}, {"Member Number": "8"}], "Count": "3"}
    first, *others = read({"IntObjectName": "CT LOY Member", "ListOfCT LOY Member": content})
    assert isinstance(first, MemberEvent)
    assert [str(other) for other in others] == ["Household: is no component of a member: LOY Member is expected"] * 2
    (alone,) = read({"IntObjectName": "CT LOY Member", "ListOfCT LOY Member": {"Account": {"Member Number": "7"}}})
    assert str(alone) == "Account: is no component of a member: LOY Member is expected"


def test_a_message_with_another_list_says_which_it_has() -> None:
    with pytest.raises(BodyError, match="ListOfCT LOY Member: is required; the message has ListOfAccount"):
        read({"SiebelMessage": {"IntObjectName": "CT LOY Member", "ListOfAccount": {"Account": MEMBER}}})


@pytest.mark.parametrize(
    "text",
    [
        '{"SiebelMessage":{"ListOfCT LOY Member":{"LOY Member":1,"LOY Member":2}}}',
        '{"SiebelMessage":{"ListOfCT LOY Member":{"LOY Member":[1],"LOY Member":2}}}',
        '{"SiebelMessage":{"ListOfCT LOY Member":{"LOY Member":1,"Loyalty Member":2}}}',
        '{"SiebelMessage":{"ListOfCT LOY Member":{"LOY Member":1},"ListOfCT LOY Member":{"LOY Member":[2]}}}',
        '{"SiebelMessage":{"ListOfCT LOY Member":[1],"ListOfCT Loyalty Member":2}}',
        '{"SiebelMessage":{"ListOfCT LOY Member":1},"SiebelMessage":{"ListOfCT LOY Member":2}}',
    ],
)
def test_what_is_repeated_around_members_holds_several(text: str) -> None:
    for number in "12":
        text = re.sub(rf"(?<=[:\[]){number}", f'{{"Member Number":"296-{number}"}}', text, count=1)
    document = lenient_json.load_body(text.encode())
    assert is_siebel_message(document)
    events = read(document)
    assert [event.member.member_number for event in events if isinstance(event, MemberEvent)] == ["296-1", "296-2"]


@pytest.mark.parametrize(
    "wrapped",
    ["<L><M>1</M></L><L><M>2</M></L>", "<L><M>1</M><M>2</M></L>"],
)
def test_likewise_in_xml(wrapped: str) -> None:
    body = re.sub(r"(?<=>)\d", r"<MemberNumber>296-\g<0></MemberNumber>", wrapped)
    body = re.sub(r"(?<=[</])[LM](?=>)", lambda found: {"L": "ListOfCTLOYMember", "M": "LOYMember"}[found[0]], body)
    events = read(parse_siebel_xml(f"<SiebelMessage>{body}</SiebelMessage>".encode(), None))
    assert [event.member.member_number for event in events if isinstance(event, MemberEvent)] == ["296-1", "296-2"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Member Number": "296-1", "MemberNumber": "296-2"},
        {"Member Number": "296-1", "Status": "Active", "status": "Inactive"},
        {"Member Number": "296-1", "ListOfContact": {"Contact": {"City": "York", "city": "Bath"}}},
    ],
)
def test_one_field_in_two_spellings_with_two_values_is_refused(fields: dict[str, Any]) -> None:
    assert refused(fields)[1] == "stands there more than once, with different values"


@pytest.mark.parametrize(
    ("fields", "city"),
    [
        ("<City>York</City><City>Bath</City>", None),
        ("<City>York</City><City>York</City>", "York"),
        ("<City/><City>York</City>", "York"),
        ("<ListOfContact><Contact><City>York</City></Contact></ListOfContact><ListOfContact/>", "York"),
        ("<ListOfContact/><ListOfContact><Contact><City>York</City></Contact></ListOfContact>", "York"),
    ],
)
def test_a_repeated_element_of_a_member_is_one_or_refused(fields: str, city: str | None) -> None:
    body = f"<LOYMember><MemberNumber>1</MemberNumber>{fields}</LOYMember>"
    (found,) = read(
        parse_siebel_xml(f"<SiebelMessage><ListOfCTLOYMember>{body}</ListOfCTLOYMember></SiebelMessage>".encode(), None)
    )
    if city is None:
        assert str(found) == "City: stands there more than once, with different values"
    else:
        assert isinstance(found, MemberEvent)
        assert found.member.city == city

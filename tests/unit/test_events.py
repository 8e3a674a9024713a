"""The member event: what is taken, what is refused and how it is said, and which of two is the newer."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidEventError
from shared.events import (
    MemberEvent,
    Operation,
    Version,
    content_hash,
    derived_event_id,
    dump_event,
    event_hash,
    parse_event,
    restored_event,
)
from shared.pipeline import Lane

LIMIT = 64_000
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def parse(**changes: object) -> MemberEvent:
    return parse_event(raw(**changes), max_bytes=LIMIT)


def raw(**changes: object) -> dict[str, Any]:
    """An event; names of the event's own fields change those, any other name a field of the member."""
    event: dict[str, Any] = {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z"}
    member: dict[str, Any] = {"member_number": "296-1", "status": "Active", "last_name": "Cole"}
    own = {"event_id", "operation", "occurred_at", "modification", "lane", "force", "member"}
    for name, value in changes.items():
        (event if name in own else member)[name] = value
    return {"member": member, **event}


def named(event: MemberEvent) -> str:
    return derived_event_id(event_hash(event))


def refusal(document: dict[str, Any] | bytes, max_bytes: int = LIMIT) -> tuple[str, str]:
    with pytest.raises(InvalidEventError) as caught:
        parse_event(document, max_bytes=max_bytes)
    return caught.value.field, caught.value.reason


def test_text_and_its_json_give_the_same_event() -> None:
    text = orjson.dumps(raw())
    assert parse_event(text, max_bytes=LIMIT) == parse_event(text.decode(), max_bytes=LIMIT) == parse()


def test_lane_is_left_open_when_the_producer_does_not_say() -> None:
    assert parse().lane is None
    assert parse(lane="bulk").lane is Lane.BULK


def test_numbers_stand_for_their_digits_and_null_for_empty() -> None:
    event = parse(postal_code=10010, modification="7", first_name=None, event_id=12)
    assert (event.member.postal_code, event.modification) == ("10010", 7)
    assert (event.member.first_name, event.event_id) == ("", "12")


def test_a_whole_number_is_its_digits_however_json_writes_it() -> None:
    event = parse(member_number=2961.0, postal_code=-(2**53) + 1, modification=7.0)
    assert (event.member.member_number, event.member.postal_code) == ("2961", "-9007199254740991")
    assert event.modification == 7


def test_white_space_around_a_value_does_not_count() -> None:
    assert parse(member_number=" 296-1\r\n").member.member_number == "296-1"


def test_what_joins_letters_stays_in_names() -> None:
    assert parse(first_name="Ali\u200cReza").member.first_name == "Ali\u200cReza"


def test_instants_are_kept_in_utc() -> None:
    event = parse(occurred_at="2026-11-23T10:51:00.25+02:00")
    assert event.occurred_at == datetime(2026, 11, 23, 8, 51, 0, 250_000, tzinfo=UTC)
    assert dump_event(event)["occurred_at"] == "2026-11-23T08:51:00.250000Z"


@pytest.mark.parametrize(
    ("given_date", "kept"),
    [
        ("1979-11-29", "1979-11-29"),
        ("1979-11-29T00:00:00Z", "1979-11-29"),
        ("11/29/1979", "1979-11-29"),
        ("11/29/1979 00:00:00", "1979-11-29"),
        ("1/2/1980", "1980-01-02"),
        (312724800, "1979-11-29"),
        ("312724555", "1979-11-29"),
        ("344754000", "1980-12-04"),
        (-86400, "1969-12-31"),
        (0, "1970-01-01"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_date_of_birth_is_kept_as_an_iso_date(given_date: object, kept: str) -> None:
    assert parse(date_of_birth=given_date).member.date_of_birth == kept


@pytest.mark.parametrize(("letter", "kept"), [("M", "M"), ("f", "F"), ("Male", "M"), ("", ""), (None, "")])
def test_gender_is_m_f_or_empty(letter: object, kept: str) -> None:
    assert parse(gender=letter).member.gender == kept


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"member_number": ""}, "member.member_number", "is empty"),
        ({"member_number": None}, "member.member_number", "is required"),
        ({"member_number": "9" * 51}, "member.member_number", "longer than 50"),
        ({"event_id": "e" * 65}, "event_id", "longer than 64"),
        ({"event_id": ""}, "event_id", "is empty"),
        ({"city": "x" * 256}, "member.city", "longer than 255"),
        ({"city": "New\0York"}, "member.city", "control character"),
        ({"city": "New\nYork"}, "member.city", "control character"),
        *(
            ({name: f"{begin}x{end}"}, f"member.{name}", "nobody sees")
            for name in ("member_number", "row_id", "program_id", "member_type", "status", "country_code")
            for begin, end in (("\ufeff", ""), ("", "\u200b"), ("\u202e", "1"), ("x\xad", "1"), ("x\u2028", "1"))
        ),
        ({"event_id": "\ufeffx"}, "event_id", "nobody sees"),
        ({"status": "Active\0"}, "member.status", "control character"),
        ({"city": "\ud800"}, "member.city", "Unicode"),
        ({"city": True}, "member.city", "must be text"),
        ({"city": 1.5}, "member.city", "must be text"),
        ({"member_number": 2**53}, "member.member_number", "must be text"),
        ({"member_number": 1e300}, "member.member_number", "must be text"),
        ({"city": ["x"]}, "member.city", "must be text"),
        ({"date_of_birth": "1979-02-30"}, "member.date_of_birth", "does not exist"),
        ({"date_of_birth": "29/11/1979"}, "member.date_of_birth", "does not exist"),
        ({"date_of_birth": "1799-12-31"}, "member.date_of_birth", "1800"),
        ({"date_of_birth": "yesterday"}, "member.date_of_birth", "must be a date"),
        ({"date_of_birth": "99999999999"}, "member.date_of_birth", "1800"),
        ({"gender": "divers"}, "member.gender", "must be M, F"),
        ({"operation": "upsert"}, "operation", "must be 'enroll', 'update' or 'delete'"),
        ({"operation": None}, "operation", "is required"),
        ({"occurred_at": "2026-11-23T08:52:00"}, "occurred_at", "offset"),
        ({"occurred_at": "2026-02-30T08:51:00Z"}, "occurred_at", "does not exist"),
        ({"occurred_at": 1764000000}, "occurred_at", "RFC 3339"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at", "1900"),
        ({"occurred_at": "1899-12-31T23:59:59Z"}, "occurred_at", "1900"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at", "2200"),
        ({"modification": -1}, "modification", "0 or more"),
        ({"modification": 10**10}, "modification", "Siebel holds no more"),
        ({"modification": "9223372036854775807"}, "modification", "Siebel holds no more"),
        ({"modification": True}, "modification", "whole number"),
        ({"modification": 7.5}, "modification", "whole number"),
        ({"lane": "fast"}, "lane", "must be 'live' or 'bulk'"),
        ({"force": "perhaps"}, "force", "true or false"),
        ({"member": []}, "member", "must be a JSON object"),
        ({"Custom": {"deep": ["\0"]}}, "member.Custom.deep.0", "NUL"),
        ({"Custom": "\udc80"}, "member.Custom", "half of a character"),
        ({"Custom": 2**64}, "member.Custom", "too large"),
        ({"Custom": float("nan")}, "member.Custom", "not a number"),
        ({"Custom": NOW}, "member.Custom", "not JSON"),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not(changes: dict[str, Any], field: str, reason: str) -> None:
    named, said = refusal(raw(**changes))
    assert named == field
    assert reason in said
    value = next(iter(changes.values()))
    assert not isinstance(value, str) or len(value) < 3 or value not in said


def test_what_is_missing_is_named() -> None:
    assert refusal({}) == ("operation", "is required")
    assert refusal({"operation": "update", "occurred_at": "2026-11-23T08:51:00Z"}) == ("member", "is required")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"x"', b"{}x", b'{"a": NaN}', b"\xff", b"[" * 3000])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    assert refusal(text)[0] == ""


def test_an_event_over_the_limit_is_refused_as_bytes_and_as_json() -> None:
    large = raw(Custom="x" * 500)
    assert "larger than 400 bytes" in refusal(large, 400)[1]
    assert "larger than 400 bytes" in refusal(orjson.dumps(large), 400)[1]


def test_unknown_fields_are_kept() -> None:
    event = parse_event({**raw(Custom={"a": [1, None]}), "trace": "t"}, max_bytes=LIMIT)
    assert dump_event(event)["member"]["Custom"] == {"a": [1, None]}
    assert dump_event(event)["trace"] == "t"


def test_an_unknown_field_may_not_be_bottomless() -> None:
    nested = b'{"a":' * 900 + b"1" + b"}" * 900
    text = orjson.dumps(raw())[:-1] + b',"x":' + nested + b"}"
    assert "nested deeper" in refusal(text)[1]


def test_arrival_stands_in_for_an_instant_that_was_not_stated() -> None:
    document = raw(modification=7)
    del document["occurred_at"]
    event = parse_event(document, max_bytes=LIMIT, arrival=NOW)
    again = parse_event(document, max_bytes=LIMIT, arrival=NOW + timedelta(seconds=9))
    assert event.occurred_at == NOW
    assert named(event) == named(again)
    del document["modification"]
    first = parse_event(document, max_bytes=LIMIT, arrival=NOW)
    second = parse_event(document, max_bytes=LIMIT, arrival=NOW + timedelta(seconds=9))
    assert named(first) != named(second)


def test_a_derived_id_tells_changes_apart() -> None:
    first = named(parse())
    assert first == named(parse(lane="bulk", force=True))
    assert len(first) <= 64
    others = [parse(member_number="2"), parse(modification=1), parse(occurred_at="2026-11-23T08:52:00Z")]
    others += [parse(last_name="Coles"), parse(Custom="x"), parse(operation="delete")]
    assert len({first, *map(named, others)}) == 7


def test_the_hash_of_an_event_does_not_depend_on_how_it_is_sent() -> None:
    assert event_hash(parse(event_id="a")) == event_hash(parse(event_id="b", lane="live", force=True))
    assert event_hash(parse(date_of_birth="11/29/1979")) == event_hash(parse(date_of_birth="1979-11-29"))


def test_only_synced_content_counts_for_the_content_hash() -> None:
    same = content_hash(parse())
    assert same == content_hash(parse(member_number="2", modification=4, Custom="x", row_id="1-A", program_id="1-P"))
    for name in ("first_name", "email_address", "city", "ct_city_id", "language", "postal_code"):
        assert same != content_hash(parse(**{name: "x"}))
    assert len(same) == 16


@pytest.mark.parametrize(
    ("operation", "status", "is_active"),
    [
        ("update", "Active", True),
        ("update", "Suspended", False),
        ("update", "", False),
        ("enroll", "", True),
        ("delete", "Active", False),
    ],
)
def test_a_member_is_active_when_siebel_says_so(operation: str, status: str, is_active: bool) -> None:  # noqa: FBT001
    assert parse(operation=operation, status=status).is_active is is_active


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
events = st.fixed_dictionaries(
    {
        "operation": st.sampled_from(Operation).map(str),
        "occurred_at": st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2199, 1, 1)).map(  # noqa: DTZ001
            lambda at: at.replace(tzinfo=UTC).isoformat()
        ),
        "member": st.fixed_dictionaries(
            {"member_number": st.from_regex(r"[0-9A-Z]{1,20}", fullmatch=True)},
            optional={
                "first_name": words,
                "date_of_birth": st.dates(date(1800, 1, 1), date(2200, 1, 1)).map(str),
                "postal_code": words | st.integers(0, 99999),
                "gender": st.sampled_from(["M", "f", "", None]),
                "Custom": json_values,
            },
        ),
    },
    optional={
        "event_id": st.from_regex(r"[0-9a-z-]{1,64}", fullmatch=True),
        "modification": st.integers(0, 9_999_999_999),
        "lane": st.sampled_from(Lane).map(str),
        "force": st.booleans(),
        "unknown": json_values,
    },
)


@given(events)
def test_parse_after_dump_changes_nothing(document: dict[str, Any]) -> None:
    event = parse_event(document, max_bytes=LIMIT)
    dumped = dump_event(event)
    again = parse_event(orjson.dumps(dumped), max_bytes=LIMIT)
    assert again == event
    assert dump_event(again) == dumped
    assert restored_event(orjson.loads(orjson.dumps(dumped))) == event
    assert (event_hash(again), content_hash(again)) == (event_hash(event), content_hash(event))


garbage = json_values | st.binary(max_size=40) | st.text(max_size=40)


@given(
    garbage
    | st.dictionaries(
        st.sampled_from(["event_id", "operation", "occurred_at", "modification", "lane", "force", "member", "x"]),
        garbage | st.dictionaries(st.sampled_from(["member_number", "date_of_birth", "gender", "y"]), garbage),
    )
)
def test_garbage_raises_nothing_but_a_refusal(document: dict[str, Any] | bytes | str) -> None:
    try:
        parse_event(document, max_bytes=LIMIT)
    except InvalidEventError as error:
        assert error.reason  # noqa: PT017
        assert (error.field + error.reason).isprintable()  # noqa: PT017


instants = st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes))
with_modification = st.builds(Version, st.integers(0, 3), instants)
without_modification = st.builds(Version, st.none(), instants)
triples = st.lists(with_modification, min_size=3, max_size=3) | st.lists(without_modification, min_size=3, max_size=3)


@given(triples)
def test_versions_are_totally_ordered_where_all_or_none_state_a_modification(versions: list[Version]) -> None:
    first, second, third = versions
    assert first.is_older_than(second) + second.is_older_than(first) + (first == second) == 1
    if first.is_older_than(second) and second.is_older_than(third):
        assert first.is_older_than(third)


def test_without_a_modification_on_both_sides_the_instant_decides() -> None:
    assert Version(9, NOW).is_older_than(Version(None, NOW + timedelta(seconds=1)))
    assert Version(1, NOW + timedelta(seconds=1)).is_older_than(Version(2, NOW))
    assert not parse().version.is_older_than(parse().version)

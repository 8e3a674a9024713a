"""No event that intake takes breaks what comes after it: the mapping, the writing of JSON, the rows of a batch."""

import string
from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataError, InvalidEventError
from shared.events import Member, dump_event, parse_event
from shared.ledger.engine import json_rows
from shared.settings import OicSettings
from shared.systems.oic import map_member

LONGEST = 2**63 - 1
digits = st.text("0123456789", max_size=255)
numbers = st.integers(-(2**70), 2**70) | st.floats()
texts = (
    st.text(max_size=60) | st.text(string.printable, max_size=60) | st.sampled_from(["\\u0000", "\0", "\ud83d", "."])
)
values = texts | digits | numbers | st.none() | st.booleans()
nested = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
dates = st.dates().map(str) | st.integers(-(2**40), 2**40) | digits | texts
instants = st.dates(date(1900, 1, 1), date(2200, 1, 1)).map(lambda day: f"{day}T00:00:00+14:00") | st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1900-01-01T00:00:00+14:00"]
)
SPECIAL = {
    "member_number": st.text("0123456789-ABC\\u.", min_size=1, max_size=50) | texts,
    "first_name": st.text(st.characters(categories=["L"]), min_size=1, max_size=300) | values,
    "last_name": st.text(st.characters(categories=["L"]), min_size=1, max_size=300) | values,
    "country_code": st.sampled_from(["US", "CA", "FR", "", None]) | values,
    "postal_code": st.sampled_from(["10010", "K1A 0B1", ""]) | values,
    "ct_city_id": digits | numbers,
    "date_of_birth": dates,
    "gender": st.sampled_from(["M", "F", "", None]) | values,
}
ALWAYS = ("member_number", "first_name", "last_name")
OTHERS = [name for name in Member.model_fields if name not in ALWAYS]
members = st.fixed_dictionaries(
    {name: SPECIAL[name] for name in ALWAYS},
    optional={name: SPECIAL.get(name, texts) for name in OTHERS} | {"Custom": nested},
)
events = st.fixed_dictionaries(
    {"operation": st.sampled_from(["enroll", "update", "delete"]), "occurred_at": instants, "member": members},
    optional={
        "event_id": texts,
        "modification": numbers | digits,
        "unknown": nested,
        "force": st.booleans(),
        "lane": st.just("bulk"),
    },
)


@given(events)
def test_what_is_accepted_can_be_mapped_and_written_or_is_its_own_data_error(document: dict[str, Any]) -> None:
    try:
        event = dump_event(parse_event(document, max_bytes=64_000))
    except InvalidEventError:
        return
    assert orjson.loads(json_rows([{"event": event}])) == [{"event": orjson.loads(orjson.dumps(event))}]
    try:
        user = map_member(event, OicSettings())
    except DataError:
        return
    assert orjson.loads(json_rows([{"user": user}])) == [{"user": orjson.loads(orjson.dumps(user))}]
    assert all(abs(value) <= LONGEST for value in user.values() if isinstance(value, int))


@pytest.mark.parametrize("city_id", ["9" * 20, "9" * 255, "1" + "0" * 15])
def test_a_city_id_beyond_all_cities_is_the_members_data_error(city_id: str) -> None:
    member = {"member_number": "1", "first_name": "A", "last_name": "B", "country_code": "IN", "ct_city_id": city_id}
    raw = {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z", "member": member}
    with pytest.raises(DataError, match="CT City Id"):
        map_member(dump_event(parse_event(raw, max_bytes=64_000)), OicSettings())


def test_a_long_row_of_zeros_before_a_city_id_is_no_large_number() -> None:
    member = {"member_number": "1", "first_name": "A", "last_name": "B", "ct_city_id": "0" * 200 + "834694"}
    assert map_member({"operation": "update", "member": member}, OicSettings())["city_id"] == 834694


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("\\u0000", "\\u0000"),
        ("\0", "\ufffd"),
        ("\\\0", "\\\ufffd"),
        ("\\\\u0000", "\\\\u0000"),
        ("a\0\0\\u0000\0", "a\ufffd\ufffd\\u0000\ufffd"),
    ],
)
def test_a_nul_is_replaced_and_the_six_letters_that_look_like_one_are_not(written: str, kept: str) -> None:
    assert orjson.loads(json_rows([{written: written}])) == [{kept: kept}]

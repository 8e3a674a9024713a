"""Calls that succeeded, and events, are packed and come out as they were; what is counted can be read as it lies."""

import hashlib
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.instances import Call
from shared.ledger import packed_calls, packed_events
from shared.ledger.packed_calls import packed, whole
from shared.ledger.packing import Packing

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(
    Call,
    st.sampled_from(["GET", "POST", "PUT"]),
    st.text(),
    st.integers(200, 299),
    st.integers(0, 10**6).map(lambda us: us / 1000),
    JSON,
    JSON,
)
CREATED = Call(
    "POST",
    "/v2/users",
    200,
    42.880586,
    {
        "third_party_id": "8004417732",
        "lang_pref": "fr",
        "is_active": 1,
        "first_name": "J***",
        "last_name": "L***",
        "middle_name": None,
        "date_of_birth": "***",
        "email_address": "j***@g***.com",
        "gender_id": "***",
        "postal_code": "***",
        "country_code": None,
        "city_name": None,
        "city_id": None,
    },
    {"id": 1000600, "third_party_id": "8004417732", "is_active": 1},
)


@given(st.lists(CALLS, min_size=1, max_size=3))
def test_what_was_packed_comes_out_as_it_was(calls: list[Call]) -> None:
    kept = packed(calls)
    assert kept is not None
    counted, rest = kept
    assert counted == [{"method": one.method, "http_status": one.http_status} for one in calls]
    assert whole(counted, rest) == [asdict(one) for one in calls]


def test_a_call_to_crowdtwist_takes_a_quarter_of_its_room() -> None:
    kept = packed([CREATED])
    assert kept is not None
    assert len(kept[1]) < 100  # 433 as JSON


def test_what_was_not_packed_is_as_it_is() -> None:
    assert whole(None, None) == []
    assert whole([{"method": "GET"}], None) == [{"method": "GET"}]


@pytest.mark.parametrize("status", [None, 199, 300, 404, 503])
def test_what_others_may_be_named_in_is_never_packed(status: int | None) -> None:
    assert packed([CREATED, Call("GET", "/v2/users", status, 1.0)]) is None
    assert packed([]) is None


@pytest.mark.parametrize(
    ("words", "made"), [(packed_calls.WORDS, "a0fa4f649bba8e82"), (packed_events.WORDS, "abcde00c3e422cc4")]
)
def test_the_words_that_the_ledger_was_packed_with_are_the_same_for_ever(words: Packing, made: str) -> None:
    assert hashlib.sha256(words.words).hexdigest()[:16] == made


@given(st.dictionaries(st.text(), JSON))
def test_an_event_is_read_packed_or_as_json(event: dict[str, Any]) -> None:
    as_json = orjson.dumps(event)
    assert packed_events.read(bytes.fromhex(packed_events.packed([as_json.decode()]))) == event
    assert packed_events.read(as_json) == event


@pytest.mark.parametrize(
    "kept", [b"", b"\x01", b"\x02abc", b"\x01\xff\xff", packed_events.WORDS.pack(b"{}")[:-1], b"{"]
)
def test_what_cannot_be_read_is_said(kept: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        packed_events.read(kept)

"""Calls that succeeded are packed and come out as they were; what is counted of them can be read as it lies there."""

import hashlib
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.instances import Call
from shared.ledger import packed_calls
from shared.ledger.packed_calls import packed, whole

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


def test_the_words_that_the_ledger_was_packed_with_are_the_same_for_ever() -> None:
    words = hashlib.sha256(packed_calls._WORDS).hexdigest()  # noqa: SLF001  # no other sees them
    assert words[:16] == "a0fa4f649bba8e82"

"""The member sync flow: which user comes of which member, and which member cannot be sent."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataError
from shared.settings import OicSettings
from shared.systems.oic import map_member

SETTINGS = OicSettings()
MEMBER = {
    "member_number": "296-1",
    "status": "Active",
    "language": "en",
    "first_name": "Andy",
    "last_name": "Cole",
    "middle_name": "",
    "date_of_birth": "1979-11-29",
    "email_address": "andy.cole@example.org",
    "postal_code": "10010",
    "city": "New York",
    "country_code": "US",
    "gender": "M",
}


Fields = Mapping[str, str | None]


def user_of(
    fields: Fields | None = None, *, operation: str = "update", settings: OicSettings = SETTINGS
) -> dict[str, Any]:
    return map_member({"operation": operation, "member": {**MEMBER, **(fields or {})}}, settings)


def test_the_sample_member_becomes_the_documented_user() -> None:
    assert user_of() == {
        "third_party_id": "296-1",
        "lang_pref": "en",
        "is_active": 1,
        "first_name": "Andy",
        "last_name": "Cole",
        "middle_name": None,
        "date_of_birth": 312681600,
        "email_address": "andy.cole@example.org",
        "gender_id": 2,
        "postal_code": "10010",
        "country_code": None,
        "city_name": None,
        "city_id": None,
    }


@pytest.mark.parametrize(
    ("operation", "status", "is_active"),
    [
        ("update", "Active", 1),
        ("update", "ACTIVE", 1),
        ("update", "Inactive", 0),
        ("update", "Cancelled", 0),
        ("update", None, 0),
        ("enroll", "", 1),
        ("enroll", None, 1),
        ("enroll", "Pending", 0),
        ("delete", "Active", 0),
    ],
)
def test_only_an_active_status_is_active(operation: str, status: str | None, is_active: int) -> None:
    assert user_of({"status": status}, operation=operation)["is_active"] == is_active


def test_a_deletion_needs_nothing_but_the_member_number() -> None:
    nobody = {field: None for field in MEMBER if field != "member_number"}
    assert user_of(nobody, operation="delete") == {"third_party_id": "296-1", "is_active": 0}


@pytest.mark.parametrize(
    ("given_fields", "expected"),
    [
        ({"email_address": None}, {"email_address": "296-1@no-email.invalid"}),
        ({"postal_code": None}, {"postal_code": "99790", "country_code": None, "city_id": None}),
        ({"postal_code": "100101234"}, {"postal_code": "10010-1234"}),
        ({"postal_code": "10010-1234", "country_code": "us"}, {"postal_code": "10010-1234"}),
        ({"country_code": "USA"}, {"postal_code": "10010", "country_code": None}),
        ({"country_code": "ca", "postal_code": "k1a0b1"}, {"postal_code": "K1A 0B1", "country_code": "CA"}),
        ({"country_code": "CA", "postal_code": " K1A-0B1 "}, {"postal_code": "K1A 0B1", "city_name": None}),
        (
            {"country_code": "FR", "city": "Paris", "postal_code": "75001", "ct_city_id": "834694"},
            {"country_code": "FR", "city_name": "Paris", "postal_code": None, "city_id": 834694},
        ),
        ({"country_code": None, "city": None}, {"country_code": "IN", "city_name": None, "city_id": 1157219}),
        ({"gender": "F"}, {"gender_id": 1}),
        ({"gender": None}, {"gender_id": None}),
        ({"date_of_birth": None}, {"date_of_birth": None}),
        ({"first_name": "O'Neil, Jr.", "last_name": "D\u2019Arc-Müller"}, {"last_name": "D\u2019Arc-Müller"}),
        ({"last_name": "Mu\u0308ller"}, {"last_name": "M\u00fcller"}),
    ],
)
def test_defaults_and_address_rules(given_fields: Fields, expected: dict[str, Any]) -> None:
    user = user_of(given_fields)
    assert {field: user[field] for field in expected} == expected


@pytest.mark.parametrize(
    ("given_fields", "reason"),
    [
        ({"first_name": None}, "Contact First Name is missing"),
        ({"last_name": "  "}, "Contact Last Name is missing"),
        ({"last_name": "C<le"}, "Contact Last Name may hold only letters, digits, spaces and - ' _ @ . ,"),
        ({"postal_code": "1001"}, "Primary Postal Code is not a US code of five or nine digits"),
        (
            {"country_code": "CA", "postal_code": "K1A0B"},
            "Primary Postal Code is not a Canadian code of the form LXL XLX",
        ),
        (
            {"country_code": "CA", "postal_code": None},
            "Primary Postal Code is missing; a Canadian address needs one of the form LXL XLX",
        ),
        ({"country_code": "FR", "ct_city_id": "Paris"}, "CT City Id is not a number"),
        ({"country_code": "FR", "ct_city_id": "9" * 20}, "CT City Id has more than 15 digits"),
        ({"country_code": "", "ct_city_id": "1" + "0" * 15}, "CT City Id has more than 15 digits"),
        ({"date_of_birth": "29.11.1979"}, "Date of Birth is not a date"),
    ],
)
def test_a_member_that_cannot_be_sent_is_refused_by_field_and_form(given_fields: Fields, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        user_of(given_fields)
    assert caught.value.what == reason


def test_the_lookup_rows_are_used() -> None:
    settings = OicSettings(
        default_country_code="us", default_postal_code="10010", default_email_domain="@x.org", birth_hour_utc=12
    )
    user = user_of(dict.fromkeys(("country_code", "postal_code", "email_address")), settings=settings)
    assert (user["postal_code"], user["email_address"], user["date_of_birth"]) == ("10010", "296-1@x.org", 312724800)


@given(st.dates(date(1800, 1, 1), date(2200, 12, 31)), st.integers(0, 23))
def test_a_birth_date_is_that_day_at_the_set_hour(born: date, hour: int) -> None:
    user = user_of({"date_of_birth": born.isoformat()}, settings=OicSettings(birth_hour_utc=hour))
    assert user["date_of_birth"] == datetime(born.year, born.month, born.day, hour, tzinfo=UTC).timestamp()


FIELDS = st.fixed_dictionaries({}, optional={field: st.none() | st.text(max_size=12) for field in MEMBER})
PLACES = st.sampled_from(["US", "CA", "FR", "", "us", "Ca", "zz"])


@given(FIELDS, PLACES, st.sampled_from(["enroll", "update", "delete"]))
def test_every_member_is_mapped_or_refused_without_its_values(
    fields: dict[str, str | None], country: str, operation: str
) -> None:
    member = fields | {"country_code": country, "member_number": "296-1"}
    event = {"operation": operation, "member": member}
    try:
        user = map_member(event, SETTINGS)
    except DataError as error:
        reason = error.what
    else:
        assert_sendable(user, operation)
        return
    assert not any(value in reason for value in fields.values() if value and len(value) > 8)


def assert_sendable(user: dict[str, Any], operation: str) -> None:
    assert user["third_party_id"] == "296-1"
    assert user["is_active"] in {0, 1}
    if operation == "delete":
        return
    assert user["first_name"]
    assert user["last_name"]
    assert user["email_address"]
    assert user["postal_code"] or (user["country_code"] and user["city_id"])
    assert not (user["postal_code"] and user["city_name"])


@given(st.from_regex(r"[A-Za-z][0-9][A-Za-z][ -]?[0-9][A-Za-z][0-9]", fullmatch=True))
def test_a_canadian_code_is_sent_with_its_space(code: str) -> None:
    sent = user_of({"country_code": "CA", "postal_code": code})["postal_code"]
    assert sent[3] == " "
    assert sent.replace(" ", "") == code.upper().replace(" ", "").replace("-", "")
    assert user_of({"country_code": "CA", "postal_code": sent})["postal_code"] == sent


BLANK = {"language": "", "email_address": "", "postal_code": "", "city": "", "gender": "", "date_of_birth": ""}


def test_what_is_sent_of_an_empty_field_is_a_setting_field_by_field() -> None:
    nulls = {"language": "default", "email_address": "keep", "postal_code": "clear", "gender": "keep", "city": "keep"}
    of = OicSettings.model_validate({"nulls": nulls, "null_defaults": {"language": "en", "gender": "M"}})
    user = user_of(BLANK, settings=of)
    assert (user["lang_pref"], user["postal_code"], user["date_of_birth"]) == ("en", None, None)
    assert not {"email_address", "gender_id", "city_name"} & user.keys()
    assert user_of(settings=of) == user_of() | {}, "what is filled is sent as ever"
    assert user_of(BLANK) == user_of(BLANK, settings=OicSettings(nulls={}))


@pytest.mark.parametrize(("policy", "sent"), [("keep", {}), ("clear", {"postal_code": None})])
def test_a_canadian_without_a_postal_code_is_refused_unless_its_policy_says_what_to_send(
    policy: str, sent: dict[str, None]
) -> None:
    fields = {"country_code": "CA", "postal_code": ""}
    with pytest.raises(DataError, match="Postal Code is missing"):
        user_of(fields)
    user = user_of(fields, settings=OicSettings.model_validate({"nulls": {"postal_code": policy}}))
    assert {name: value for name, value in user.items() if name == "postal_code"} == sent


def test_of_a_country_that_is_kept_the_whole_address_is_kept() -> None:
    user = user_of({"country_code": ""}, settings=OicSettings.model_validate({"nulls": {"country_code": "keep"}}))
    assert not {"postal_code", "country_code", "city_name", "city_id"} & user.keys()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nulls": {"last_name": "keep"}}, "NULLS: last_name has no null policy"),
        ({"nulls": {"language": "default"}}, "NULL_DEFAULTS: has no value for language, whose policy is default"),
        ({"null_defaults": {"shoe_size": "42"}}, "NULL_DEFAULTS: shoe_size has no null policy"),
        ({"nulls": {"city": "forget"}}, "'clear', 'keep' or 'default'"),
    ],
)
def test_a_null_policy_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OicSettings.model_validate(given)

"""The demo's own judgement: it sees each kind of lie, and the sample has what the demo promises to show."""

import pytest

from deploy.local import demo_sample as sample
from deploy.local.demo_sample import DATA_ERROR, SUCCESS, TAKEN, Expected, differences

PROFILE = {
    "third_party_id": "1",
    "is_active": True,
    "first_name": "Ana",
    "last_name": "Silva",
    "middle_name": None,
    "email_address": "ana@example.org",
    "lang_pref": "pt",
    "date_of_birth": None,
    "gender": "Female",
    "country": "BR",
    "postal_code": None,
    "city": "Salvador",
}


def expected_of_all() -> Expected:
    expected = Expected()
    for request in (*sample.ndjson("members.ndjson", 60), sample.siebel_xml("siebel_messages.xml")):
        expected.take(request)
    expected.settle()
    expected.take(sample.json_array("changes.json"))
    expected.settle()
    for request in sample.ndjson("again.ndjson", 60):
        expected.take(request)
    expected.settle()
    return expected


def test_what_is_as_expected_has_no_differences() -> None:
    assert differences({"1": PROFILE}, [PROFILE]) == []


@pytest.mark.parametrize("field", [name for name in PROFILE if name not in {"third_party_id", "postal_code"}])
def test_each_field_that_differs_is_named(field: str) -> None:
    assert f"1: {field} differs" in differences({"1": PROFILE}, [{**PROFILE, field: "other"}])


def test_a_postal_code_counts_where_crowdtwist_reads_it() -> None:
    canadian = {**PROFILE, "country": "CA", "postal_code": "H2X 1Y4", "city": None}
    assert differences({"1": canadian}, [{**canadian, "postal_code": "H2X 1Y5"}]) == ["1: postal_code differs"]
    assert differences({"1": PROFILE}, [{**PROFILE, "postal_code": "40020-000"}]) == []


def test_somebody_missing_and_somebody_too_many_are_named() -> None:
    assert differences({"1": PROFILE}, []) == ["1: is not there"]
    assert differences({}, [PROFILE]) == ["1: should not be there"]


def test_a_domestic_address_may_be_told_without_its_country_and_with_or_without_a_hyphen() -> None:
    wanted = {**PROFILE, "country": "US", "postal_code": "941102841", "city": None}
    assert differences({"1": wanted}, [{**wanted, "country": None, "postal_code": "94110-2841"}]) == []


def test_the_sample_has_every_kind_of_answer_and_of_end() -> None:
    expected = expected_of_all()
    kinds = {"accepted", "duplicate", "conflict", "skipped", "superseded", "unchanged", "refused"}
    assert expected.outcomes.keys() == kinds
    assert expected.outcomes["accepted"] >= 250
    errors = [words for status, words in expected.status.values() if status == DATA_ERROR]
    assert {TAKEN, "Name", "Postal Code", "Email Address is invalid"} == set(errors)
    assert sum(status == SUCCESS for status, _ in expected.status.values()) > 200
    assert any(user["is_active"] is False for user in expected.users.values())
    assert {"US", "CA", "GB", "IN", "JP"} <= {user["country"] for user in expected.users.values()}


def test_nobody_in_the_sample_is_real() -> None:
    for request in (*sample.ndjson("members.ndjson", 60), sample.siebel_xml("siebel_messages.xml")):
        for change in request.events:
            assert change.member.get("email_address", "@example.org").endswith(("@example.org", "not-an-address"))

"""What we keep and show names nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.masking import has_words, mask, mask_email, mask_text
from shared.personal import CLOSE, OPEN

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=12), parts, max_size=3),
    max_leaves=10,
)
PERSONAL = (
    "first_name",
    "Contact Last Name",
    "Date of Birth",
    "postal_code",
    "Primary City",
    "phone",
    "M/F",
    "unheard",
)


@given(JSON)
def test_masking_twice_changes_nothing(value: object) -> None:
    assert mask(mask(value)) == mask(value)


@given(st.sampled_from(PERSONAL), st.text("abcdefgh", min_size=4))
def test_no_personal_value_survives_the_mask(key: str, secret: str) -> None:
    assert secret not in str(mask({"user": [{key: secret, "deeper": {key: [secret]}}]}).get("user"))


def test_masks_are_recognisable_and_keep_what_operators_search_by() -> None:
    kept = {"third_party_id": "296-1", "is_active": True, "country_code": "US", "id": 12, "Member Number": "296-1"}
    person = {"first_name": "Andy", "email_address": "andy@example.org", "date_of_birth": 312724800, "gender_id": "2"}
    masked = {"first_name": "A***", "email_address": "a***@e***.org", "date_of_birth": "***", "gender_id": "***"}
    assert mask(kept | person) == kept | masked
    assert mask({"message": "andy@example.org is taken"}) == {"message": "a***@e***.org is taken"}
    assert mask_email("nonsense") == "***"
    assert len(mask_text("x" * 1000)) == 300
    assert mask_text("a@b.org,c.d@e.org (f@g.org)") == "a***@b***.org,c***@e***.org (f***@g***.org)"
    assert mask_text("a@b.org@c@d.org") == "a***@b***.org@c***@d***.org"
    assert mask_text("said a@b.org " + "x" * 50_000).startswith("said a***@b***.org xx")


@given(st.sampled_from(["title", "message", "description", "reason", "error", "detail", "ERROR"]))
def test_what_a_member_is_said_to_be_is_no_sentence_of_a_system(name: str) -> None:
    assert mask({"member": {name: "Ann Lee"}}, words=False) == {"member": {name: "***"}}
    assert mask({"answer": {name: "is taken"}}) == {"answer": {name: "is taken"}}


def test_what_is_marked_is_hidden_in_codes_and_names_of_fields_too() -> None:
    marked = f"{OPEN}lee{CLOSE}"
    assert mask({"code": f"{marked}_locked", marked: "x", "errors": {marked: 1}}) == {
        "code": "***_locked",
        "***": "***",
        "errors": {"***": "***"},
    }


def test_codes_and_errors_of_others_are_words_and_a_plain_user_is_none() -> None:
    assert all(map(has_words, ({"code": "lee"}, {"a": [{"status": "lee"}]}, {"errors": {"lee": [1]}}, {"ERROR": "x"})))
    assert not has_words({"id": 7, "third_party_id": "M-1", "is_active": True, "code": 7, "error": ""})


@pytest.mark.parametrize(
    "document", [{"lee": "locked"}, {"lee": None}, {"users": {"Ann Lee": {"id": 1}}}, [{"lee": 0}]]
)
def test_a_name_of_a_field_that_no_answer_has_is_words_too(document: object) -> None:
    assert has_words(document)


def test_a_row_of_siebel_is_none() -> None:
    link = {"rel": "self", "href": "https://siebel.example.org/1-A", "name": "CT LOY Member"}
    row = {"Id": "1-A", "Member Number": "1", "CT Sync Status": "Success", "CT Sync Error": "", "Link": link}
    assert not has_words({"items": [row]})

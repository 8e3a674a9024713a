"""What is kept of a refused event names nobody, wherever in it somebody stands."""

from typing import Any

import pytest

from producers.intake.refused import excerpt_of
from tests.rig import member_event

PERSON: dict[str, Any] = {
    "first_name": "Zoë",
    "last_name": "Lindqvist",
    "date_of_birth": "05/06/1971",
    "city": "Ousterville",
}


@pytest.mark.parametrize("field", ["status", "language", "country_code", "program_id", "row_id", "title", "message"])
@pytest.mark.parametrize("said", ["LINDQVIST", "zoe lindqvist", "1971-05-06", "ousterville", "Z%6Fe Lindqvist"])
def test_a_value_that_slipped_into_another_field_is_hidden(field: str, said: str) -> None:
    kept = excerpt_of(member_event("296-180296399", **PERSON | {field: said}))
    assert said not in kept
    assert not [word for word in ("lindqvist", "1971", "ousterville") if word in kept.lower()]
    assert '"member_number": "296-180296399"' in kept


@pytest.mark.parametrize(
    "changed",
    [{"operation": "Lindqvist"}, {"occurred_at": "Lindqvist"}, {"event_id": ["Lindqvist"]}, {"Lindqvist": 1}],
)
def test_so_is_one_beside_the_member_and_a_name_of_a_field(changed: dict[str, Any]) -> None:
    kept = excerpt_of(member_event("M-1", **PERSON) | changed)
    assert "lindqvist" not in kept.lower()
    assert '"first_name": "Z***"' in kept


@pytest.mark.parametrize(
    "raw",
    [
        {"Lindqvist": "Zoë"},
        {"Zoë Lindqvist": 1, "1971-05-06": None},
        {"ZoeLindqvist": {"ousterville": {"LINDQVIST_zoe": 1}}},
        {"member": {"member_number": "M-1", "last_name": {"Lindqvist": "Zoë"}}},
        {"member": {"member_number": "M-1", "last_name": [{"Lindqvist": "Zoë"}]}},
        {"member": [{"Lindqvist": "Zoë"}]},
        {"Lindqvist;Zoë;05/06/1971": "Ousterville"},
    ],
)
def test_a_name_of_a_field_that_nobody_knows_shows_its_shape_alone(raw: dict[str, Any]) -> None:
    kept = excerpt_of(raw).lower()
    assert not [word for word in ("lindqvist", "zo", "1971", "ousterville") if word in kept]


def test_a_name_of_known_words_stays() -> None:
    raw = {"memberNumber": "1", "Membr Number": "1", "ListOfContact": {"First Name": "Zoë"}, "sub-member_2": {}}
    shown = '{"memberNumber": "***", "xxxxx Number": "***", "ListOfContact": {"First Name": "***"}, "xxx-member_9": {}}'
    assert excerpt_of(raw) == shown

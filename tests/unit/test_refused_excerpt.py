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

"""One member's fields on all sides: each is compared with what the ledger has of it, and with nothing else."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from producers.intake.siebel_rows import RecordReader, SiebelRecord
from producers.operations.reconcile import fields
from producers.operations.reconcile.fields import NAMES, Compared, agrees, unsent
from shared.events import MemberEvent, dump_event, parse_event
from shared.settings import OicSettings, Settings
from shared.systems.oic import map_member
from shared.systems.siebel_answers import Row

ROW = {
    "Id": "1-2AB3",
    "Mod Id": "7",
    "Updated": "11/23/2026 08:51:00",
    "Member Number": "296-1",
    "Status": "Active",
    "Language": "en",
    "Contact First Name": "Ann",
    "Contact Last Name": "Lee",
    "Contact Middle Name": "",
    "Date of Birth": "11/29/1979",
    "Email Address": "ann@example.org",
    "Primary Postal Code": "10010-1234",
    "Primary City": "New York",
    "Primary Country Code": "US",
    "M/F": "M",
    "CT City Id": "",
}
OIC = OicSettings()
compared = partial(fields.compared, oic=OIC)
SHOWN: dict[str, Any] = {
    "is_active": True,
    "lang_pref": "en",
    "first_name": "Ann",
    "last_name": "Lee",
    "middle_name": None,
    "date_of_birth": 312681600,
    "email_address": "ann@example.org",
    "postal_code": "10010",
    "country": "United States",
    "city": "Manhattan",
    "gender_id": "2",
}


def record(**changes: Any) -> SiebelRecord:  # noqa: ANN401 - whatever JSON has
    fields = {label: value for label, value in (ROW | changes).items() if value is not ...}
    found = RecordReader(Settings(_env_file=None), datetime(2026, 11, 28, tzinfo=UTC)).of_row(
        Row("1-2AB3", "296-1", fields)
    )
    assert found.event is not None, found.flaw
    return found


def accepted(**changes: str) -> MemberEvent:
    found = record(**changes).event
    assert found is not None
    return found


def deleted() -> MemberEvent:
    raw = {"operation": "delete", "occurred_at": "2026-11-23T08:51:00Z", "member": {"member_number": "296-1"}}
    return parse_event(raw, max_bytes=10_000)


def unlike(rows: list[Compared]) -> tuple[list[str], list[str]]:
    return [row.field for row in rows if row.in_siebel], [row.field for row in rows if row.in_crowdtwist]


def test_nothing_differs_where_each_side_is_as_it_was() -> None:
    rows = compared(record(), accepted(), SHOWN, SHOWN)

    assert [row.field for row in rows] == list(NAMES)
    assert unlike(rows) == ([], [])
    assert {row.field for row in rows if row.in_crowdtwist is None} == {"ct_city_id"}


def test_what_crowdtwist_made_of_a_value_is_no_difference_and_what_it_makes_now_is() -> None:
    rows = compared(record(), accepted(), SHOWN | {"postal_code": "10012", "first_name": "Anne"}, SHOWN)

    assert unlike(rows) == ([], ["first_name", "postal_code"])
    (code,) = (row for row in rows if row.field == "postal_code")
    assert (code.siebel, code.crowdtwist, code.ledger, code.acknowledged) == (
        "10010-1234",
        "10012",
        "10010-1234",
        "10010",
    )
    assert code.unlike.ledger == "10010"


@pytest.mark.parametrize(
    ("field", "then", "now"),
    [
        ("gender_id", "2", 2),
        ("is_active", True, 1),
        ("date_of_birth", 312681600, "312681600"),
        ("middle_name", None, ""),
        ("email_address", "ann@example.org", "Ann@Example.org"),
    ],
)
def test_another_type_or_spelling_says_the_same(field: str, then: object, now: object) -> None:
    assert unlike(compared(record(), accepted(), SHOWN | {field: now}, SHOWN | {field: then})) == ([], [])


def test_crowdtwist_s_values_are_in_the_terms_of_an_event() -> None:
    one = {row.field: (row.crowdtwist, row.acknowledged) for row in compared(record(), accepted(), SHOWN, SHOWN)}
    assert one["status"] == ("Active", "Active")
    assert one["gender"] == ("M", "M")
    assert one["date_of_birth"] == ("1979-11-29", "1979-11-29")
    other = SHOWN | {"is_active": 0, "gender_id": 7, "date_of_birth": "1979"}
    rows = {row.field: row.crowdtwist for row in compared(record(), accepted(), other, SHOWN)}
    assert (rows["status"], rows["gender"]) == ("Inactive", 7)


def test_what_the_map_leaves_out_is_named() -> None:
    assert unsent(accepted(), OIC) == {"country_code", "city"}, "the postal code of the United States says both"
    assert unsent(accepted(**{"Primary Country Code": "DE"}), OIC) == {"postal_code"}
    assert unsent(accepted(**{"Contact Last Name": ""}), OIC) == frozenset(), "nothing is sent of it at all"
    assert unsent(accepted(), OicSettings(mode="remote")) == frozenset()
    assert unsent(deleted(), OIC) == unsent(None, OIC) == frozenset()


def test_what_siebel_has_now_is_compared_with_the_newest_accepted_event() -> None:
    rows = compared(record(**{"Contact First Name": "Anne", "Status": "Terminated"}), accepted(), SHOWN, SHOWN)

    assert unlike(rows) == (["status", "first_name"], [])
    (name,) = (row for row in rows if row.field == "first_name")
    assert (name.unlike.siebel, name.unlike.ledger, name.unlike.crowdtwist) == ("Anne", "Ann", "Ann")


def test_two_ways_of_not_being_active_are_one() -> None:
    rows = compared(record(Status="Terminated"), accepted(Status="Cancelled"), None, None)

    assert unlike(rows) == ([], [])


def test_of_a_deletion_nothing_counts_but_that_the_member_is_inactive() -> None:
    gone = compared(record(Status="Inactive", **{"Contact First Name": "Eve"}), deleted(), None, None)
    back = compared(record(), deleted(), None, None)

    assert unlike(gone) == ([], [])
    assert unlike(back) == (["status"], [])
    assert back[0].ledger == "(deleted)"


def test_what_a_side_does_not_tell_is_not_unlike() -> None:
    told = {name: value for name, value in SHOWN.items() if name not in ("country", "city")}
    rows = compared(record(Language=...), accepted(), told | {"last_name": "Leigh"}, SHOWN | {"lang_pref": "de"})

    assert unlike(rows) == ([], ["language", "last_name"])
    by_name = {row.field: row for row in rows}
    assert by_name["language"].in_siebel is None
    assert (by_name["city"].in_crowdtwist, by_name["city"].acknowledged) == (None, "Manhattan")
    nothing = compared(None, None, None, None)
    assert {(row.in_siebel, row.in_crowdtwist) for row in nothing} == {(None, None)}


def test_crowdtwist_agrees_with_siebel_when_it_is_as_the_row_would_be_sent() -> None:
    now = record()
    assert now.event is not None
    user = map_member(dump_event(now.event), OIC) | {"id": 1, "country": None, "city": None}

    assert agrees(now, user, OIC) is True
    assert agrees(now, user | {"first_name": "Anne"}, OIC) is False
    assert agrees(record(**{"Contact First Name": ""}), user, OIC) is None
    assert agrees(record(Language=...), user, OIC) is None
    assert agrees(record(Language=...), user | {"lang_pref": None}, OIC) is True
    assert agrees(now, user, OicSettings(mode="remote")) is None
    assert agrees(None, user, OIC) is agrees(now, None, OIC) is None

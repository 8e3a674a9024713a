"""A row of Siebel's becomes the event of its member, or says which field is at fault."""

from datetime import UTC, datetime
from typing import Any

import pytest

from producers.intake.siebel_message import Terms, read_member
from producers.intake.siebel_rows import NEEDED, RecordReader, SiebelRecord
from shared.events import Operation, content_hash
from shared.settings import Settings, SiebelSettings
from shared.systems.siebel import Row

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WHOLE = {
    "Id": "1-2AB3",
    "Mod Id": "7",
    "Updated": "11/23/2026 08:51:00",
    "Member Number": "296-1",
    "Program Id": "1-PROG",
    "Member Type": "Individual",
    "Status": "Active",
    "Language": "en",
    "Contact First Name": "Ann",
    "Contact Last Name": "Lee",
    "Contact Middle Name": "",
    "Date of Birth": "11/29/1979",
    "Email Address": "ann@example.org",
    "Primary Postal Code": "10010",
    "Primary City": "New York",
    "Primary Country Code": "US",
    "M/F": "F",
    "CT City Id": "",
    "CT Sync Status": "Success",
    "CT Sync Error": "",
    "Link": {"rel": "self", "href": "/x", "name": "LOY Member"},
}


def settings(**details: Any) -> Settings:  # noqa: ANN401 - settings of many types
    return Settings(siebel=SiebelSettings(**details))


def record(fields: dict[str, Any], *, of: Settings | None = None, is_altered: bool = False) -> SiebelRecord:
    row = Row(str(fields.get("Id", "1-2AB3")), fields.get("Member Number"), fields, is_altered)
    return RecordReader(of or settings(), NOW).of_row(row)


def test_a_row_becomes_the_event_that_intake_would_make_of_its_fields() -> None:
    found = record(WHOLE)
    fields = {name: value for name, value in WHOLE.items() if name not in ("Link", "CT Sync Status", "CT Sync Error")}
    told = read_member(fields, Terms.of(settings(), NOW))

    assert found.event == told
    assert found.event is not None
    assert content_hash(found.event) == content_hash(told)
    assert (found.flaw, found.untold) == (None, frozenset())
    assert (found.row_id, found.member_number) == ("1-2AB3", "296-1")
    assert (found.sync_status, found.sync_error) == ("Success", "")


def test_how_the_sync_went_is_no_part_of_the_event() -> None:
    one, other = record(WHOLE).event, record(WHOLE | {"CT Sync Status": "CT Failure", "CT Sync Error": "down"}).event

    assert one is not None
    assert one == other
    assert one.member.model_extra == {}


@pytest.mark.parametrize(
    ("label", "value", "reason"),
    [
        ("Date of Birth", "31/31/1979", "date"),
        ("M/F", "X", "must be M, F"),
        ("Updated", "yesterday", "MM/DD/YYYY"),
        ("Mod Id", "-1", "must be 0 or more"),
        ("Member Number", "1.23457E+11", "spreadsheet"),
        ("Contact Last Name", "Lee\x07", "control"),
        ("Email Address", ["a@b.example"], ""),
    ],
)
def test_a_row_that_makes_no_event_names_the_field_and_is_kept(label: str, value: object, reason: str) -> None:
    found = record(WHOLE | {label: value})

    assert found.event is None
    assert found.flaw is not None
    assert found.flaw.field == label
    assert reason in found.flaw.reason
    assert (found.row_id, found.sync_status) == ("1-2AB3", "Success")


@pytest.mark.parametrize("name", NEEDED)
def test_a_row_without_a_field_that_every_member_has_is_no_whole_picture(name: str) -> None:
    label = {
        "status": "Status",
        "first_name": "Contact First Name",
        "last_name": "Contact Last Name",
        "email_address": "Email Address",
    }[name]
    without = {other: value for other, value in WHOLE.items() if other != label}

    found = record(without)

    assert found.event is None
    assert found.flaw is not None
    assert (found.flaw.field, found.member_number) == (label, "296-1")
    assert record(without | {label: ""}).flaw is None


def test_what_else_a_row_leaves_out_is_named() -> None:
    found = record({label: value for label, value in WHOLE.items() if label not in ("Language", "CT City Id")})

    assert found.event is not None
    assert found.untold == {"language", "ct_city_id"}


def test_a_row_that_was_altered_on_the_way_is_not_sent_on() -> None:
    found = record(WHOLE, is_altered=True)

    assert (found.event, found.member_number) == (None, "296-1")
    assert found.flaw is not None


def test_a_row_that_states_no_instant_is_as_new_as_its_reading() -> None:
    found = record({label: value for label, value in WHOLE.items() if label != "Updated"})

    assert found.event is not None
    assert found.event.occurred_at == NOW


def test_the_labels_of_the_settings_are_read() -> None:
    renamed = settings(status_field="Sync State", error_field="Sync Text", field_names={"language": "Tongue"})
    fields = WHOLE | {"Sync State": "Success", "Sync Text": "", "Tongue": "de"}
    del fields["Language"]

    found = record(fields, of=renamed)

    assert found.event is not None
    assert (found.event.member.language, found.sync_status) == ("de", "Success")


def test_a_null_is_an_empty_text_and_a_filled_label_goes_before_an_empty_one() -> None:
    found = record(WHOLE | {"Contact Middle Name": None, "Contact First Name": "", "First Name": "Eve"})

    assert found.event is not None
    assert (found.event.member.middle_name, found.event.member.first_name) == ("", "Eve")


def test_a_member_that_is_not_active_is_an_update_to_inactive() -> None:
    found = record(WHOLE | {"Status": "Terminated"})

    assert found.event is not None
    assert (found.event.operation, found.event.is_active) == (Operation.UPDATE, False)

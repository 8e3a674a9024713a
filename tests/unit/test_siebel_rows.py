"""A row of Siebel's becomes the event of its member, or says which field is at fault."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from producers.intake.refused import BodyError
from producers.intake.siebel_message import Terms, read_member
from producers.intake.siebel_rows import NEEDED, RecordReader, SiebelRecord
from producers.operations.reconcile.files import record_of, row_of
from shared.events import Operation, content_hash
from shared.settings import Settings, SiebelSettings
from shared.systems.siebel_answers import Row

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


HEADER = (
    "RowID,Created,Updated,isDeleted,Mod Id,Member Number,Status,Contact First Name,Contact Last Name,Email Address,"
    "Date of Birth,CT Sync Status,CT Sync Error"
)


def exported(*rows: str, header: str = HEADER) -> list[SiebelRecord]:
    content = "\r\n".join([header, *rows, ""]).encode()
    read = RecordReader(settings(), NOW).read_export(io.BufferedReader(io.BytesIO(content)))
    return [one if isinstance(one, SiebelRecord) else record_of(orjson.loads(row_of(one).said)) for one in read]


def line(row_id: str, **cells: str) -> str:
    known = {
        "Created": "01/02/2020 10:00:00",
        "Updated": "11/23/2026 08:51:00",
        "isDeleted": "N",
        "Mod Id": "7",
        "Member Number": f"296-{row_id}",
        "Status": "Active",
        "Contact First Name": "Ann",
        "Contact Last Name": "Lee",
        "Email Address": "ann@example.org",
        "Date of Birth": "11/29/1979",
        "CT Sync Status": "Success",
        "CT Sync Error": "",
    } | cells
    return ",".join([row_id, *known.values()])


def test_an_exported_row_says_the_same_as_an_answered_one() -> None:
    (found,) = exported(line("1-2AB3", **{"Member Number": "296-1"}))
    answered = record({label: WHOLE[label] for label in HEADER.split(",")[2:] if label in WHOLE} | {"Id": "1-2AB3"})

    assert replace(found, line=None) == answered
    assert found.line == 2
    assert "language" in found.untold


def test_a_deleted_row_has_its_row_id_and_nothing_else() -> None:
    deleted, nameless = exported(line("1-1", isDeleted="Y"), "1-2,,,Y,,,,,,,,,", header=HEADER)

    assert deleted.event is not None
    assert (deleted.event.operation, deleted.is_deleted, deleted.flaw) == (Operation.DELETE, True, None)
    assert (nameless.row_id, nameless.member_number, nameless.is_deleted) == ("1-2", None, True)
    assert (nameless.event, nameless.flaw) == (None, None)


def test_a_broken_row_is_counted_with_its_line_and_column_and_the_others_are_read() -> None:
    rows = exported(
        line("1-1"),
        line("1-2", **{"Date of Birth": "31/31/1979"}),
        line("1-3", isDeleted="maybe"),
        line("1-4", **{"Contact Last Name": "Lee, Jr."}),  # a comma that was not quoted
        line("1-5", **{"Member Number": "1.23457E+11"}),
        line("1-Feb"),
        line("1-7", **{"Contact Last Name": '"Lee'}),
        "",
        line("1-9", **{"Contact Last Name": "=A1"}),
        line("1-10", **{"Contact Last Name": '"Lee, Jr."'}),
    )

    assert [one.row_id for one in rows if one.flaw is None] == ["1-1", "1-10"]
    assert [str(one.flaw) for one in rows if one.flaw is not None][:3] == [
        "line 3, column Date of Birth: is a date that does not exist",
        "line 4, column isDeleted: must be Y or N",
        "line 5: has 14 columns, the header 13",
    ]
    assert [(one.line, one.row_id, one.member_number) for one in rows if one.flaw is not None] == [
        (3, "1-2", "296-1-2"),
        (4, "1-3", "296-1-3"),
        (5, "", None),
        (6, "1-5", "1.23457E+11"),
        (7, "1-Feb", "296-1-Feb"),
        (8, "", None),
        (10, "1-9", "296-1-9"),
    ]


@pytest.mark.parametrize("label", ["RowID", "Member Number", "Status", "Contact First Name", "Email Address"])
def test_a_file_without_a_column_that_rows_need_is_refused_as_a_whole(label: str) -> None:
    header = ",".join(name for name in HEADER.split(",") if name != label)

    with pytest.raises(BodyError, match="has no column"):
        exported(header=header)

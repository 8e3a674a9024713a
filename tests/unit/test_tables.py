"""Files: every row is accounted for, and nothing in a cell is guessed at."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from producers.intake.formats import Position, read_body, read_file
from producers.intake.refused import BodyError, RefusedRowError
from producers.intake.siebel_message import Dialect, Terms
from shared.errors import InvalidEventError
from shared.events import MemberEvent, Operation, parse_event
from shared.settings import SiebelSettings

TERMS = Terms(Dialect.of(SiebelSettings()), datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
HEADER = "Member Number,First Name,City"


def read(*lines: str, terms: Terms = TERMS, end: str = "\r\n") -> list[Position]:
    body = (end.join(lines) + end).encode("utf-8")
    return list(read_file(io.BufferedReader(io.BytesIO(body)), "a.csv", terms))


def numbers(positions: list[Position]) -> list[str]:
    return [one.member.member_number for _, one in positions if isinstance(one, MemberEvent)]


def refusals(positions: list[Position]) -> dict[int | None, str]:
    """Line and reason of what was refused."""
    return {one.line: one.reason for _, one in positions if isinstance(one, RefusedRowError)}


def only(lines: list[str], **changes: object) -> MemberEvent | InvalidEventError:
    ((_, one),) = read(*lines, terms=replace(TERMS, **changes))  # type: ignore[arg-type]  # as a field is
    return one


def test_a_stray_quotation_mark_refuses_its_row_and_swallows_none() -> None:
    rows = [f"{number},Ann,York" for number in range(1, 1001)]
    rows[0] = '1,"Ann,York'
    found = read(HEADER, *rows)
    assert numbers(found) == [str(number) for number in range(2, 1001)]
    assert refusals(found) == {2: "opens a quotation mark that is never closed"}


def test_two_stray_quotation_marks_cost_two_rows() -> None:
    rows = [f"{number},Ann,York" for number in range(1, 501)]
    rows[0], rows[299] = '1,"Ann,York', '300,Ann",York'
    found = read(HEADER, *rows)
    assert numbers(found) == [str(number) for number in range(2, 501) if number != 300]
    assert refusals(found).keys() == {2, 301}


def test_the_lines_of_a_long_cell_that_is_not_closed_do_not_become_members() -> None:
    found = read("Member Number,Notes,City", '1,"dear John,', "second,thought", "third,and,more,York", '4,"x",Bath')
    assert numbers(found) == ["4"]
    assert refusals(found).keys() == {2, 3, 4}


def test_a_cell_of_several_lines_is_one_cell() -> None:
    found = read("Member Number,Notes,City", '1,"one, two', 'three",York', "2,,Bath")
    assert numbers(found) == ["1", "2"]
    one = found[0][1]
    assert isinstance(one, MemberEvent)
    assert one.member.model_extra == {"Notes": "one, two\r\nthree"}


def test_a_quotation_mark_in_the_wrong_place_refuses_its_row() -> None:
    found = read(HEADER, '1,"Ann" B,York', '2,Ann "Nan" Lee,York')
    assert numbers(found) == ["2"]
    assert refusals(found).keys() == {2}


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_cells_that_excel_leaves_out_at_the_end_are_empty_ones_that_hold_something_are_not(end: str) -> None:
    found = read(HEADER, "1,Ann", "2", "3,Ann,York,,", "4,Ann,York,US", end=end)
    assert numbers(found) == ["1", "2", "3"]
    assert refusals(found) == {5: "has 4 columns, the header 3"}


def test_a_file_that_ends_within_a_row_does_not_leave_half_a_member() -> None:
    body = f"{HEADER}\n1,Ann,York\n2,An".encode()
    found = list(read_file(io.BufferedReader(io.BytesIO(body)), "a.csv", TERMS))
    assert numbers(found) == ["1"]
    assert refusals(found) == {3: "has 2 columns, the header 3, and the file ends within the line"}


@pytest.mark.parametrize(
    "number",
    [
        *("1.23457E+11", "1,23457E+11", "1.23457e+11", "1.23457E11", "1E+11", "1E11", '="00123"', "'00123", "123.0"),
        *("123,0", "#N/A", "#REF!", "########", "10-Dec", "Dec-78", "=A1+1", " 1.2E+05 "),
    ],
)
def test_a_member_number_that_a_spreadsheet_damaged_is_refused(number: str) -> None:
    quoted = '"' + number.replace('"', '""') + '"'
    one = only([HEADER, f"{quoted},Ann,York"])
    assert isinstance(one, RefusedRowError)
    assert (one.field, one.line) == ("Member Number", 2)
    assert "spreadsheet" in one.reason


@pytest.mark.parametrize("number", ["1.23457E+11", "1,23457e+11", '="00123"', "'00123", "123.0", "#N/A"])
def test_likewise_in_every_other_format(number: str) -> None:
    raw = {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z", "member": {"member_number": number}}
    with pytest.raises(InvalidEventError, match=r"member_number: is as a spreadsheet writes it"):
        parse_event(raw, max_bytes=64_000)


@pytest.mark.parametrize("number", ["00123", "1-2AB3", "296-180296399", "12E45X", "310-78", "123456789012", "E-11"])
def test_a_member_number_is_taken_as_it_is(number: str) -> None:
    one = only([HEADER, f"{number},'t Hooft,York"])
    assert isinstance(one, MemberEvent)
    assert (one.member.member_number, one.member.first_name) == (number, "'t Hooft")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("Postal Code", "2134.0"),
        ("Postal Code", "'02134"),
        ("City", "#N/A"),
        ("Id", "1.2E+05"),
        ("City", '"=""York"""'),
    ],
)
def test_other_cells_that_a_spreadsheet_damaged_are_refused(column: str, cell: str) -> None:
    one = only([f"Member Number,{column},x", f"1,{cell},y"])
    assert isinstance(one, RefusedRowError)
    assert one.field == column


AMBIGUOUS = [
    "19791129",
    "29111979",
    "11291979",
    "791129",
    "291179",
    "29188",
    "1",
    "86399",
    "1979",
    "99999999",
    "20000000",
]


@pytest.mark.parametrize("born", [*AMBIGUOUS, "0312724800", "1979112900", "1128902400" * 2, "29188.0"])
def test_digits_that_may_be_two_dates_are_refused(born: str) -> None:
    one = only(["Member Number,Date of Birth,City", f"1,{born},York"])
    assert isinstance(one, RefusedRowError)
    assert one.field == "Date of Birth"
    for given in (born, *([int(born)] if born.isdecimal() and not born.startswith("0") else [])):
        raw = {"operation": "update", "occurred_at": "2026-11-23T08:51:00Z"}
        with pytest.raises(InvalidEventError, match=r"member\.date_of_birth"):
            parse_event({**raw, "member": {"member_number": "1", "date_of_birth": given}}, max_bytes=64_000)


@pytest.mark.parametrize(
    ("born", "kept"),
    [
        ("312724800", "1979-11-29"),
        ("-86400", "1969-12-31"),
        ("-19791129", "1969-05-16"),
        ("31536000", "1971-01-01"),
        ("31554000", "1971-01-01"),
        ("86400", "1970-01-02"),
        ("1700000000", "2023-11-14"),
        ("1979-11-29", "1979-11-29"),
        ("11/29/1979", "1979-11-29"),
    ],
)
def test_seconds_that_can_be_nothing_else_are_a_date(born: str, kept: str) -> None:
    one = only(["Member Number,Date of Birth,City", f"1,{born},York"])
    assert isinstance(one, MemberEvent)
    assert one.member.date_of_birth == kept


@pytest.mark.parametrize(("said", "operation"), [("Y", Operation.DELETE), ("N", Operation.UPDATE)])
def test_siebel_s_own_mark_of_a_deleted_row_is_a_deletion(said: str, operation: Operation) -> None:
    one = only(["Row Id,Member Number,isDeleted", f"1-A,1,{said}"])
    assert isinstance(one, MemberEvent)
    assert (one.operation, one.member.row_id, one.member.model_extra) == (operation, "1-A", {})
    member = f"<LOY_spcMember><MemberNumber>1</MemberNumber><isDeleted>{said}</isDeleted></LOY_spcMember>"
    body = f"<SiebelMessage><ListOfCT_spcLOY_spcMember>{member}</ListOfCT_spcLOY_spcMember></SiebelMessage>"
    ((_, of_xml),) = read_body("text/xml", body.encode(), TERMS)
    assert isinstance(of_xml, MemberEvent)
    assert of_xml.operation == operation


@pytest.mark.parametrize("said", ["", "y", "true", "1", "X", "Yes", "D"])
def test_any_other_mark_of_a_deleted_row_is_refused(said: str) -> None:
    one = only(["Row Id,Member Number,isDeleted,x", f"1-A,1,{said},z"])
    assert isinstance(one, RefusedRowError)
    assert (one.field, one.reason) == ("isDeleted", "must be Y or N")


def test_a_deleted_row_that_has_nothing_but_its_row_id_is_of_whom_the_ledger_knows() -> None:
    header = "RowID,Created,Member Number,First Name,isDeleted"
    found = only([header, "1-A,,,,Y"], member_of={"1-A": "296-1"}.get)
    assert isinstance(found, MemberEvent)
    assert (found.operation, found.member.member_number) == ("delete", "296-1")
    unknown = only([header, "1-B,,,,Y"], member_of={"1-A": "296-1"}.get)
    assert isinstance(unknown, RefusedRowError)
    assert (unknown.field, unknown.line) == ("RowID", 2)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ",", "^"])
@pytest.mark.parametrize("stated", ["sep={}", "SEP={}", '"sep={}"', "\ufeffsep={}"])
def test_the_first_line_may_say_what_stands_between_columns(stated: str, delimiter: str) -> None:
    found = read(stated.format(delimiter), HEADER.replace(",", delimiter), f"1{delimiter}Ann{delimiter}York")
    assert numbers(found) == ["1"]
    (bad,) = read(stated.format(delimiter), HEADER.replace(",", delimiter), delimiter.join(["", "Ann", "York"]))
    assert isinstance(bad[1], RefusedRowError)
    assert bad[1].line == 3


def test_a_comma_within_a_name_of_the_header_divides_nothing() -> None:
    found = read('"Member Number";"Name, first, or so, and so on";City', "1;x;York")
    assert numbers(found) == ["1"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_may_be_in_any_unicode_with_or_without_a_mark(encoding: str) -> None:
    body = f"{HEADER}\r\n1,Zoë,York\r\n".encode(encoding)
    ((_, one),) = read_file(io.BufferedReader(io.BytesIO(body)), "a.csv", TERMS)
    assert isinstance(one, MemberEvent)
    assert one.member.first_name == "Zoë"


@pytest.mark.parametrize(
    ("name", "head", "named"),
    [
        ("a.csv.gz", b"\x1f\x8b\x08\0\0", "gzip"),
        ("a.csv", b"\x1f\x8b\x08\0\0", "gzip"),
        ("a.xlsx", b"PK\x03\x04\0", "xlsx"),
        ("a.csv", b"PK\x03\x04\0", "xlsx"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1", "xls"),
        ("-", b"BZh9", "bzip2"),
        ("a.csv", b"\xff\xfe\0\0M\0\0\0", "UTF-32"),
        ("-", b"\x7fELF\x02\x01\x01\0\0", "is binary"),
        ("a.csv", b"\xd1\x02Member Number,\x9c\n", "is binary"),
        ("-", b"\xe9\xb1\xd4k,\x80\xff\n", "no text at all"),
    ],
)
def test_what_is_no_text_is_named(name: str, head: bytes, named: str) -> None:
    with pytest.raises(BodyError, match=named):
        list(read_file(io.BufferedReader(io.BytesIO(head * 20)), name, TERMS))


def test_columns_that_are_not_known_are_remarked_on() -> None:
    said: list[str] = []
    read("Member Number,Fist Name,City,,Segment", "1,Ann,York,x,A", terms=replace(TERMS, remark=said.append))
    assert said == [
        "columns without a name are left out",
        "not known, so kept in the ledger and not synced: Fist Name, Segment",
    ]


def test_a_refused_row_tells_line_and_member() -> None:
    (_, one), *_ = read("Member Number,Date of Birth,City", "296-1,02/30/1979,York")
    assert isinstance(one, RefusedRowError)
    assert (one.line, one.field, one.member_number) == (2, "Date of Birth", "296-1")
    assert one.excerpt == '{"Member Number": "296-1", "Date of Birth": "***", "City": "***"}'


def test_a_header_that_names_a_column_twice_says_which() -> None:
    with pytest.raises(BodyError, match="line 1: names a column twice: 2 and 4"):
        read("City,Member Number,Status,member_number", "York,1,Active,2", end="\n")

"""Rows of files on their way through the ledger: what they say arrives as it was read."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from hypothesis import given
from hypothesis import strategies as st

from producers.intake.profiles import read_profiles
from producers.intake.siebel_rows import PlainRecord, RecordReader, SiebelRecord
from producers.operations.reconcile import files
from shared.settings import ApiSettings, Settings

EXPORT = b"""Row Id,Member Number,Status,Contact First Name,Contact Last Name,Email Address,CT Sync Status,isDeleted
1-A,M-1,Active,Ann,Lee,ann@example.org,Success,N
1-B,M-2,Active,Bo,,bo@example.org,,N
1-C,,,,,,,Y
1-D,M-4,Active,Dee,Poe,"=1+1",,N
"""
PROFILES = b"""id,third_party_id,first_name,is_active,date_last_updated
7,M-1,Ann,1,1700000000
8,,Bo,0,1700000001
9,,Nobody,1,1700000002
7,M-1,Anna,1,1700000003
10,M-5,Eve,perhaps,1700000004
"""
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CELLS = {
    "Row Id": ("1-A", "1-ABC", " 1-B", "1-FEB", "0", ""),
    "Member Number": ("M-1", "296-1", "1.23457E+11", "12.0", "'7", " M-2 ", "", "x" * 51),
    "Mod Id": ("7", "", "-1", "x"),
    "Updated": ("11/23/2026 08:51:00", "2026-11-23T08:51:00Z", "", "10/25/2026 01:30:00", "13/13/2026", "today"),
    "Operation": ("", "update", "insert", "delete", "destroy"),
    "Member Type": ("", "Individual", "Household"),
    "Status": ("Active", "Inactive", "", "ACTIVE"),
    "Contact First Name": (
        "Ann",
        " Ann ",
        "\u00d3 Lee",
        "=1+1",
        "#N/A",
        "a\nb",
        "\u200b",
        "\u00a0a",
        'the "x"',
        "{",
        "",
    ),
    "Contact Last Name": ("Lee", "Lee, Jr.", "a\tb", "x" * 256, ""),
    "Email Address": ("ann@example.org", "", "@"),
    "Date of Birth": ("11/29/1979", "1979-11-29", "31/31/1979", "0", "", "312681600"),
    "M/F": ("M", "f", "", "x"),
    "Primary Postal Code": ("10010", "00123", "1E5", "123.0", "", "SW1A 1AA"),
    "CT Sync Status": ("Success", " Success ", "", "Data Error", "a\x1fb"),
    "CT Sync Error": ("", "no such city", "\x85", "\udcff", "\0"),
    "isDeleted": ("N", "Y", "", "n", " N ", "maybe"),
}
"""What may stand in each column; the first is as most are."""


def at_full_length() -> Settings:
    """Return settings under which no row is read at a glance: of what is short it could not say that it is."""
    return Settings(_env_file=None, api=ApiSettings(max_event_bytes=4_000))


def export(content: bytes, of: Settings) -> Iterator[SiebelRecord | PlainRecord]:
    yield from RecordReader(of, NOW).read_export(io.BufferedReader(io.BytesIO(content)))


def rows_read(content: bytes, of: Settings) -> list[tuple[Any, ...]]:
    """Return all that a run would be handed of a file, row by row."""
    rows = map(files.row_of, export(content, of))
    return [(files.record_of(orjson.loads(row.said)), row.whose, row.digest, row.flaw) for row in rows]


def told(read: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the same, so that a flaw is compared by what it says."""
    return [(replace(one, flaw=None), one.flaw and str(one.flaw), *more) for one, *more in read]


NEEDED = {"Status", "Contact First Name", "Contact Last Name", "Email Address"}
rows_drawn = st.fixed_dictionaries(
    {label: st.sampled_from([texts[0]] * 80 + list(texts)) for label, texts in CELLS.items()}
)


@given(
    st.lists(rows_drawn, max_size=6),
    st.sets(st.sampled_from([*CELLS][6:])),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
)
def test_a_row_that_is_read_at_a_glance_says_what_it_says_when_read_at_full_length(
    rows: list[dict[str, str]], absent: set[str], quoting: Literal[0, 1, 3]
) -> None:
    out = io.StringIO()
    labels = [label for label in CELLS if label not in absent - NEEDED]
    writer = csv.DictWriter(out, labels, extrasaction="ignore", quoting=quoting, escapechar="\\")
    writer.writeheader()
    writer.writerows(rows)
    content = out.getvalue().encode(errors="surrogateescape")
    assert told(rows_read(content, Settings(_env_file=None))) == told(rows_read(content, at_full_length()))


def test_a_row_as_most_are_is_read_at_a_glance() -> None:
    content = "\n".join([",".join(CELLS), ",".join(texts[0] for texts in CELLS.values())]).encode()
    (row,) = export(content, Settings(_env_file=None))
    assert isinstance(row, PlainRecord)


def test_records_of_an_export_arrive_as_they_were_read() -> None:
    read = [one for one in export(EXPORT, at_full_length()) if isinstance(one, SiebelRecord)]
    pieces = files.packed(map(files.row_of, export(EXPORT, Settings(_env_file=None))))
    arrived = [files.record_of(said) for piece in pieces for said in files.unpacked(piece.rows)]
    assert [one.flaw and one.flaw.reason for one in arrived] == [one.flaw and one.flaw.reason for one in read]
    assert [
        (one.member_number, one.event, one.sync_status, one.untold, one.is_deleted, one.line) for one in arrived
    ] == [(one.member_number, one.event, one.sync_status, one.untold, one.is_deleted, one.line) for one in read]
    assert sum(one.event is not None for one in arrived) == 2


def test_the_last_row_of_each_member_counts_and_nobody_of_ours_none() -> None:
    rows = [files.profile_row(one) for one in read_profiles(io.BufferedReader(io.BytesIO(PROFILES)))]
    found = files.by_member(rows, lambda ids: {8: "M-2"} if 8 in ids else {})
    assert {number: user["first_name"] for number, user in found.items()} == {"M-1": "Anna", "M-2": "Bo"}
    assert files.is_stale(found["M-1"], datetime(2024, 1, 1, tzinfo=UTC))
    assert not files.is_stale(found["M-1"], datetime(2023, 1, 1, tzinfo=UTC))
    assert not files.is_stale(found["M-1"], None)

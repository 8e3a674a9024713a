"""Rows of files on their way through the ledger: what they say arrives as it was read."""

import io
from datetime import UTC, datetime

from producers.intake.profiles import read_profiles
from producers.intake.siebel_rows import RecordReader
from producers.operations.reconcile import files
from shared.settings import Settings

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


def test_records_of_an_export_arrive_as_they_were_read() -> None:
    reader = RecordReader(Settings(_env_file=None), datetime.now(UTC))
    read = list(reader.read_export(io.BufferedReader(io.BytesIO(EXPORT))))
    arrived = [
        files.record_of(said) for piece in files.packed(map(files.row_of, read)) for said in files.unpacked(piece.rows)
    ]
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

"""CrowdTwist's files of members are read row by row; what cannot be read is shown, and nothing is lost."""

import io
import tracemalloc
import zipfile

import pytest

from producers.intake.profiles import Profile, newest, read_profiles
from producers.intake.refused import BodyError, RefusedRowError

HEADER = "id,first_name,middle_name,last_name,date_of_birth,email_address,city,postal_code,country_code,gender"


def packed(*files: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, how)  # of no date: each run names its tests by the bytes
    return held.getvalue()


def read(content: str | bytes, *, max_bytes: int = 10_000_000) -> list[Profile]:
    data = content.encode() if isinstance(content, str) else content
    return list(read_profiles(io.BufferedReader(io.BytesIO(data)), max_bytes=max_bytes))


def refusals(content: str | bytes) -> list[str]:
    return [str(one.flaw) for one in read(content) if one.flaw is not None]


def test_a_row_is_read_by_the_names_of_its_columns() -> None:
    (one,) = read(f"{HEADER}\n7,Ann,,Lee,312724800,ann@example.org,New York,10010,US,Female\n")

    assert (one.line, one.ct_user_id, one.member_number, one.flaw) == (2, 7, None, None)
    assert one.user == {
        "first_name": "Ann",
        "middle_name": None,
        "last_name": "Lee",
        "date_of_birth": 312724800,
        "email_address": "ann@example.org",
        "city": "New York",
        "postal_code": "10010",
    }


def test_columns_may_be_absent_others_more_and_in_any_order() -> None:
    (one,) = read("Total_Points,THIRD_PARTY_ID,is_active,date_last_updated\n5,296-1,true,1764000000\n")

    assert (one.ct_user_id, one.member_number) == (None, "296-1")
    assert one.user == {"is_active": True, "date_last_updated": 1764000000}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("312724800", 312724800),
        ("-86400", -86400),
        ("312724800000", 312724800),
        ("1979-11-29", 312681600),
        ("1979-11-29 12:00:00", 312724800),
        ("1979-11-29T12:00:00Z", 312724800),
        ("1979-11-29T07:00:00-05:00", 312724800),
    ],
)
def test_a_timestamp_is_seconds_milliseconds_or_iso(written: str, seconds: int) -> None:
    (one,) = read(f"id,date_of_birth\n7,{written}\n")

    assert one.user == {"date_of_birth": seconds}


@pytest.mark.parametrize(
    ("written", "flag"), [("1", True), ("0", False), ("TRUE", True), ("f", False), ("", None), ("N", False)]
)
def test_a_flag_is_read_however_it_is_written(written: str, flag: object) -> None:
    (one,) = read(f"id,is_active\n7,{written}\n")

    assert one.user == {"is_active": flag}


def test_a_broken_row_is_told_by_line_and_column_and_the_others_are_read() -> None:
    rows = read(
        "id,third_party_id,is_active,date_of_birth\n"
        "1,296-1,1,312724800\n"
        "2,296-2,maybe,312724800\n"
        "3,296-3,1,once\n"
        "x,296-4,1,\n"
        ",,1,\n"
        "6,296-6,1\n"
        "7,296-7,1,312724800,more\n"
        '8,296-8,1,"312724800\n'
        "9,1.23457E+11,1,\n"
        "10,296-10,1,\n"
    )

    assert [one.ct_user_id for one in rows if one.flaw is None] == [1, 10]
    broken = {one.line: (one.ct_user_id, one.member_number) for one in rows if one.flaw is not None}
    assert broken == {
        3: (2, "296-2"),
        4: (3, "296-3"),
        5: (None, "296-4"),
        6: (None, None),
        7: (None, None),
        8: (None, None),
        9: (None, None),
        10: (9, None),
    }
    said = [str(one.flaw) for one in rows if isinstance(one.flaw, RefusedRowError)]
    assert said[0] == "line 3, column is_active: must be 1 or 0, true or false"
    assert said[5] == "line 8: has 5 columns, the header 4"


def test_a_byte_that_is_no_text_and_a_control_character_refuse_their_rows() -> None:
    rows = read("id,first_name\n1,\u00c9va\u00a0Maria\n".encode() + b"2,\xff\n3,A\x07\n4,Ann\n")

    assert [(one.ct_user_id, one.user.get("first_name")) for one in rows if one.flaw is None] == [
        (1, "\u00c9va\u00a0Maria"),
        (4, "Ann"),
    ]
    assert [one.ct_user_id for one in rows if one.flaw is not None] == [2, 3]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "header"),
        ("first_name,last_name\nAnn,Lee\n", "no column id"),
        ("id,id\n1,2\n", "twice"),
        (packed(), "of 0 files"),
        (packed(("a.csv", b"id\n1\n"), ("b.csv", b"id\n1\n")), "of 2 files"),
        (packed(("a.csv", b"id\n1\n"), how=zipfile.ZIP_BZIP2), "another way"),
        (packed(("a.csv", b"id\n1\n"))[:-30], "no ZIP that can be read"),
        (b"PK\x03\x04" + b"\0" * 100, "no ZIP that can be read"),
    ],
)
def test_a_file_that_is_none_is_refused(content: str | bytes, what: str) -> None:
    with pytest.raises(BodyError, match=what):
        read(content)


def test_a_zip_of_one_file_is_read_as_that_file() -> None:
    content = f"{HEADER}\n7,Ann,,Lee,312724800,ann@example.org,New York,10010,US,Female\n"
    name = "2_12_USER_PROFILE_20261128.csv"

    assert read(packed((name, content.encode()))) == read(content)
    assert read(packed(("folder/", b""), (name, content.encode()), ("__MACOSX/x", b"?"))) == read(content)


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_fills_anything() -> None:
    bomb = packed(("a.csv", b"id,first_name\n" + b"7,Ann\n" * 5_000_000))
    tracemalloc.start()
    for limit, what in ((1_000_000, "more than 1000000 bytes"), (10**12, "would unpack to more")):
        with pytest.raises(BodyError, match=what):
            read(bomb, max_bytes=limit)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_zip_that_states_less_than_it_unpacks_to_is_found_out() -> None:
    lying = bytearray(packed(("a.csv", b"id\n" + b"7\n" * 20_000)))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = lying.index(signature) + at
        lying[place : place + 4] = (1_000).to_bytes(4, "little")

    with pytest.raises(BodyError):
        read(bytes(lying))


def test_of_many_rows_of_a_member_the_last_one_counts_broken_or_not() -> None:
    rows = read("id,first_name,is_active\n1,Ann,1\n2,Bob,1\n1,Anne,1\nx,Eve,1\n2,Bobby,?\n1,Anna,1\n,Eve,1\n3,Cid,1\n")

    last = list(newest(rows))

    assert [(one.ct_user_id, one.line, one.flaw is None) for one in last] == [
        (1, 7, True),
        (2, 6, False),
        (None, 5, False),
        (None, 8, False),
        (3, 9, True),
    ]
    assert refusals("id,is_active\n2,?\n") == ["line 2, column is_active: must be 1 or 0, true or false"]

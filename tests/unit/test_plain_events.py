"""What is made an event at one glance is what the whole examination makes of it, and most rows are."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from producers.intake.csv_rows import Table
from shared.errors import InvalidEventError
from shared.events import Member, content_hash, dump_event, event_hash, parse_event
from shared.plain_events import plain_event

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
PLAIN = {
    "member_number": "296-1",
    "row_id": "1-2AB3",
    "status": "Active",
    "first_name": " Ann ",
    "last_name": "Ó Lee",
    "date_of_birth": "11/29/1979",
    "gender": "f",
    "postal_code": "00123",
}
ODD = ["", " ", "a\nb", "a\tb", "\u00a0a", "\u200b", "\ud800", "x" * 51, "x" * 256, "1.23457E+11", "0", "2026-13-01", 7]
texts = st.sampled_from([*PLAIN.values(), *ODD]) | st.text(max_size=8)
members = st.fixed_dictionaries({}, optional=dict.fromkeys([*Member.model_fields, "Nickname"], texts))
plain_members = st.fixed_dictionaries({name: st.just(text) for name, text in PLAIN.items()})
changes = st.fixed_dictionaries(
    {"operation": st.sampled_from(["update", "enroll", "delete", "destroy"])},
    optional={
        "occurred_at": st.datetimes(timezones=st.just(UTC)) | st.none(),
        "modification": st.sampled_from(["7", " 7 ", "-1", "x", "99999999999999999999", "1.0"]),
        "event_id": st.just("e-1"),
    },
)


@given(
    changes, st.builds(lambda some, others: {**some, **others}, plain_members, members), st.sampled_from([64, 64_000])
)
def test_a_glance_sees_what_the_whole_examination_sees(
    stated: dict[str, Any], member: dict[str, Any], max_bytes: int
) -> None:
    found = plain_event(stated, member, max_bytes=max_bytes, arrival=AT)
    if found is None:
        return
    wanted = parse_event({**stated, "member": member}, max_bytes=max_bytes, arrival=AT)
    assert (found, found.occurred_on_arrival) == (wanted, wanted.occurred_on_arrival)
    assert dump_event(found) == dump_event(wanted)
    assert (content_hash(found), event_hash(found)) == (content_hash(wanted), event_hash(wanted))


def test_a_row_as_most_are_is_seen_at_a_glance() -> None:
    for stated in ({"operation": "update"}, {"operation": "enroll", "occurred_at": AT, "modification": "7"}):
        found = plain_event(stated, PLAIN, max_bytes=64_000, arrival=AT)
        assert found is not None
        assert (found.member.first_name, found.member.date_of_birth, found.member.gender) == ("Ann", "1979-11-29", "F")
        assert found.model_copy(update={"force": True}).force


@given(members)
def test_what_would_be_refused_is_never_seen_at_a_glance(member: dict[str, Any]) -> None:
    try:
        parse_event({"operation": "update", "member": member}, max_bytes=64_000, arrival=AT)
    except InvalidEventError:
        assert plain_event({"operation": "update"}, member, max_bytes=64_000, arrival=AT) is None


@given(
    st.lists(st.lists(st.text("ab ,;\t\u00e9'=\0\x1c\u2028", max_size=4), min_size=3, max_size=3), min_size=1),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_lines_without_quotation_marks_are_cut_as_csv_cuts_them(
    rows: list[list[str]], delimiter: str, end: str
) -> None:
    text = end.join(delimiter.join(row) for row in [["one", "two", "three"], *rows]) + end
    table = Table(io.BufferedReader(io.BytesIO(text.encode())))
    found = [row.cells for row in table.rows(64_000)]
    assert found == list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))[1:]

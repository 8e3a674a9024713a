"""Every reader is handed its good samples with bytes cut, doubled, swapped and put in: it says so, or reads them.

What a reader raises is its own word for it, `BodyError`; anything else would be a bug that stops the good beside it.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from producers.intake.formats import read_body, read_file
from producers.intake.profiles import read_profiles
from producers.intake.refused import BodyError
from producers.intake.siebel_message import Dialect, Terms
from producers.intake.siebel_rows import RecordReader
from shared.errors import InvalidEventError
from shared.event_values import birth_date, instant
from shared.events import dump_event, parse_event, restored_event
from shared.settings import Settings, SiebelSettings
from tests.calling import SAMPLE_EVENTS, SAMPLE_JSON, SAMPLE_XML, SAMPLE_XML_UNESCAPED

NOW = datetime(2026, 11, 29, tzinfo=UTC)
TERMS = Terms(Dialect.of(SiebelSettings()), NOW)
OF = Settings(_env_file=None)
CSV = (
    b"Member Number,Id,Updated,Status,Contact Last Name,Date of Birth\r\n"
    b'1-A,1-2,11/23/2026 08:51:00,Active,"Co""le",11/29/1979\r\n'
)
PROFILES = (
    b'id,third_party_id,first_name,date_of_birth,is_active\n7,296-1,"An""n",312724800,true\n8,296-2,Bob,1979-11-29,0\n'
)
EXPORT = b"""\
"RowID","Updated","Mod Id","Member Number","Program Id","Member Type","Status","Language","Contact First Name",\
"Contact Last Name","Contact Middle Name","Date of Birth","Email Address","Primary Postal Code","Primary City",\
"Primary Country Code","M/F","CT Sync Status","CT Sync Error"
"1-2AB3","11/23/2026 08:51:00","7","296-1","1-PROG","Individual","Active","en","An""n",\
"Lee","","11/29/1979","a@b.example","10010","New York","US","F","Success",""
"""


def zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("profiles.csv"), content, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def stream(body: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(body))


Reader = Callable[[bytes], Iterable[object]]
READERS: dict[str, tuple[Reader, bytes]] = {
    "json": (lambda body: read_body("application/json", body, TERMS), SAMPLE_EVENTS.splitlines()[0].encode()),
    "ndjson": (lambda body: read_body("application/x-ndjson", body, TERMS), SAMPLE_EVENTS.encode()),
    "siebel json": (lambda body: read_body("application/json", body, TERMS), SAMPLE_JSON.encode()),
    "siebel xml": (lambda body: read_body("application/xml", body, TERMS), SAMPLE_XML.encode()),
    "siebel xml, names as they are": (
        lambda body: read_body("text/xml", body, TERMS),
        SAMPLE_XML_UNESCAPED.encode("utf-16"),
    ),
    "csv": (lambda body: read_file(stream(body), "a.csv", TERMS), CSV),
    "profiles": (lambda body: read_profiles(stream(body), max_bytes=1_000_000), PROFILES),
    "profiles, packed": (lambda body: read_profiles(stream(body), max_bytes=1_000_000), zipped(PROFILES)),
    "siebel's export": (lambda body: RecordReader(OF, NOW).read_export(stream(body)), EXPORT),
}
PIECES = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\n", b"'", b'"', b"<", b"&#0;", b"&x;", b"]]>"),
    *(b"<!DOCTYPE a [<!ENTITY x '&x;'>]>", b"{" * 3000, b"[" * 3000, b"<a>" * 3000, b"9" * 5000, b"1e999", b"NaN"),
    *(
        b"=cmd|' /C calc'!A0",
        b"';drop table member;--",
        b"<script>",
        b"\\u0000",
        b"\\ud800",
        b",",
        b";",
        b"\t",
        b"_spc",
    ),
)


@st.composite
def mangled(draw: st.DrawFn, good: bytes) -> bytes:
    """Draw *good* after up to four changes."""
    body = good
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        until = draw(st.integers(at, min(len(body), at + 60)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6), st.just(body[at:until] * 2)))
        body = body[:at] + piece + body[draw(st.sampled_from((at, until, len(body)))) :]
    return body


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(data=st.data())
def test_what_is_mangled_is_read_or_refused_in_its_readers_own_word(name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    try:
        found = list(read(data.draw(mangled(good))))
    except BodyError:
        return
    json.dumps(list(map(str, found)))


@pytest.mark.parametrize("name", READERS)
def test_what_is_good_is_read(name: str) -> None:
    read, good = READERS[name]
    found = list(read(good))
    assert found
    assert not [one for one in found if "refused" in str(one).lower() or "flaw=Refused" in str(one)]


WRITTEN = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"\A[-+]?\d{1,20}[-/.T ]?\d{0,5}[-/. :]?\d{0,6}([.:]\d{1,12})?(Z|[+-]\d\d:?\d\d)?\Z"),
    st.datetimes().map(str),
)


@given(WRITTEN)
def test_any_text_is_a_date_or_is_refused(text: str) -> None:
    for read in (birth_date, instant):
        with suppress(PydanticCustomError):
            read(text)


@given(WRITTEN)
def test_a_date_that_is_accepted_is_kept_as_it_was(text: str) -> None:
    event = {"operation": "update", "occurred_at": text, "member": {"member_number": "1", "date_of_birth": text}}
    try:
        found = parse_event(event, max_bytes=64_000)
    except InvalidEventError:
        return
    assert restored_event(dump_event(found)) == found

"""What it costs to refuse an event grows with the event, however it is made, and leaves nothing in the memory."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from producers.intake.formats import read_body
from producers.intake.refused import excerpt_of
from producers.intake.siebel_message import Dialect, Terms
from producers.intake.siebel_xml import unescape
from producers.intake.spellings import fold
from shared.errors import InvalidEventError
from shared.personal import values_of
from shared.settings import SiebelSettings
from tests.rig import member_event

TERMS = Terms(Dialect.of(SiebelSettings()), datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
GOOD = '{"operation":"update","occurred_at":"2026-11-23T08:51:00Z","member":{"member_number":"M-1","last_name":"A"}}'
EVENT = (
    '{"operation":"update","occurred_at":"2026-11-23T08:51:00Z","member":{"member_number":"M-2","last_name":"A",%s}}'
)
MESSAGE = "<SiebelMessage><ListOfCT_spcLOY_spcMember>%s</ListOfCT_spcLOY_spcMember></SiebelMessage>"
MEMBER = "<LOY_spcMember><Member_spcNumber>M-1</Member_spcNumber></LOY_spcMember>"
SECONDS = 3.0
"""Far more than any of these takes, far less than they took: minutes to hours."""


def outcomes(content_type: str, body: str) -> list[bool]:
    try:
        return [not isinstance(event, InvalidEventError) for _, event in read_body(content_type, body.encode(), TERMS)]
    except InvalidEventError:
        return []


@pytest.mark.parametrize(
    "fields",
    [
        '"street":" a' + " " * 200_000 + 'a"',
        '"first_name":"' + "a-" * 100_000 + '"',
        '"first_name":"ann","note":"' + "ann " * 200_000 + '"',
        '"note":"' + "%25" * 200_000 + '"',
        ",".join(f'"name{number}":"ann{number}"' for number in range(20_000)),
        '"' + "street 12 " * 50_000 + '":1',
    ],
    ids=["blanks", "long name", "long text", "escapes", "many names", "long label"],
)
def test_an_event_that_is_too_large_costs_no_more_than_to_read_it(fields: str) -> None:
    begun = time.process_time()
    assert outcomes("application/json", f"[{EVENT % fields},{GOOD}]") == [False, True]
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize(
    "body",
    [
        '[{"member":{"a":"' + ",{" * 500_000 + f'"}}, {GOOD}]',
        '[{"member":{"a":' + '"a' * 200_000 + f',{{}},"}}, {GOOD}]',
    ],
    ids=["objects in a text", "texts in a text"],
)
def test_nobody_looks_for_the_end_of_a_broken_event_for_ever(body: str) -> None:
    begun = time.process_time()
    assert True not in outcomes("application/json", body)  # where it ends is uncertain: none is taken
    assert time.process_time() - begun < SECONDS


def test_nor_for_the_elements_that_are_open_in_a_broken_member() -> None:
    body = MESSAGE % ("<LOY_spcMember>" + "<a>" * 100_000 + "</b>" * 100_000 + MEMBER)
    begun = time.process_time()
    assert outcomes("application/xml", body) == []
    assert time.process_time() - begun < SECONDS


def test_a_street_in_a_long_text_is_sought_nowhere() -> None:
    begun = time.process_time()
    assert "12 Mill Lane" in values_of({"street": "Mill Lane 12", "street_2": " a" + " " * 60_000 + "a"})
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize("reduce", [fold, unescape])
def test_a_name_of_megabytes_is_not_remembered(reduce: Callable[[str], str]) -> None:
    name = "_1" + "a" * 1_000_000
    held = sys.getrefcount(name)
    assert reduce(name)
    assert sys.getrefcount(name) == held


def test_a_person_known_from_a_far_field_is_hidden_in_the_first_ones() -> None:
    many = {f"field_{number}": "x" for number in range(200)}
    fields: dict[str, Any] = {"note": "for Lindqvist", **many, "last_name": "Lindqvist"}
    kept = excerpt_of(member_event("M-1", **fields))
    assert "lindqvist" not in kept.lower()

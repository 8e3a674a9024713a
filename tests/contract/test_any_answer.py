"""One arbitrary answer of each system for one member among thirty good ones: the thirty end right at each stage.

Whatever the one came to is an outcome that can be concluded and written down, and never a success that nobody gave.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.instances import Done, Failed, Result, Work
from shared.ledger.engine import json_rows
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Ending, Rules, conclude
from shared.pipeline import Stage, SyncStatus
from shared.settings import CrowdTwistSettings, OicSettings, Settings, SiebelSettings
from tests.stages import opened
from tests.unit.test_transport import read_request, serving

BAD = "M-bad"
GOOD = [f"M-{index}" for index in range(30)]
MEMBERS = [*GOOD[:13], BAD, *GOOD[13:]]
Said = tuple[int, bytes]

STATUSES = st.sampled_from([200, 200, 200, 201, 202, 204, 301, 400, 401, 402, 403, 404, 408, 409, 410, 421, 422, 429])
STATUSES |= st.sampled_from([451, 499, 500, 502, 503, 504, 599])
OF_CROWDTWIST = ("id", "third_party_id", "is_active", "first_name", "date_of_birth", "country", "error", "message")
OF_OTHERS = ("user", "instanceId", "title", "detail", "errorCode", "items", "Id", "Member Number", "ERROR")
NAMES = st.sampled_from([*OF_CROWDTWIST, *OF_OTHERS])
TEXTS = st.text(max_size=20) | st.sampled_from([BAD, "M-1", "1-M-1", "page_not_found", "input_error", "\0", "\ud83d"])
TEXTS |= st.sampled_from(["x" * 5000, "Es sind keine Daten vorhanden.(SBL-EAI-04378)", "(SBL-DAT-00523)", ""])
NUMBERS = st.integers() | st.sampled_from([2**63, 2**64 - 1, 10**30, -1, 0]) | st.floats()
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    PLAIN, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(NAMES | TEXTS, parts, max_size=4), max_leaves=8
)
NESTED = st.sampled_from([70, 300, 900, 5000]).map(lambda depth: b"[" * depth + b"]" * depth)


def answers(own: dict[str, Any]) -> st.SearchStrategy[Said]:
    """Make answers: anything, and the system's *own* good one with something else in it."""
    mutated = st.dictionaries(NAMES, VALUES, max_size=2).map(lambda changes: own | changes)
    within = st.tuples(st.sampled_from(sorted(own)), VALUES).map(lambda change: own | {change[0]: change[1]})
    bodies = (VALUES | mutated | within).map(lambda value: json.dumps(value).encode())
    return st.tuples(STATUSES, bodies | NESTED | st.binary(max_size=50))


def user_of(number: str) -> dict[str, Any]:
    return {"third_party_id": number, "first_name": "Ann", "last_name": "Lee", "email_address": f"{number}@example.org"}


def work_of(stage: Stage, number: str) -> Work:
    member = {"member_number": number, "first_name": "Ann", "last_name": "Lee", "status": "Active"}
    event = {"operation": "update", "occurred_at": "2026-11-23T08:51:00+00:00", "member": member}
    user = None if stage is Stage.OIC else user_of(number)
    told = SyncStatus.SUCCESS if stage is Stage.SIEBEL else None
    row_id = f"1-{number}" if stage is Stage.SIEBEL and not number.endswith("5") else None
    return Work(1, 1, 1, number, "update", event, user, row_id, known_in_crowdtwist=True, status=told)


def good_answer(stage: Stage, request: bytes, number: str) -> Any:  # noqa: ANN401 - JSON
    match stage:
        case Stage.OIC:
            return {"instanceId": "a1", "user": user_of(number)}
        case Stage.CROWDTWIST:
            return {"id": 12, "is_active": True, **user_of(number)}
        case Stage.SIEBEL if request.startswith(b"GET"):
            return {"items": [{"Id": f"1-{number}", "Member Number": number}]}
        case Stage.SIEBEL:
            return {"items": {"Id": f"1-{number}"}}


def named(request: bytes) -> str:
    """Say whose request it is."""
    head = request.replace(b"%27", b"'")
    return next(
        number
        for number in sorted(MEMBERS, key=len, reverse=True)
        if any(mark % number.encode() in head for mark in (b"/%b?", b'"%b"', b"'%b'", b"/1-%b "))
    )


def settings_of(url: str) -> Settings:
    return Settings(
        oic=OicSettings(mode="remote", base_url=url, username="oic", password="x", timeout_s=5),
        crowdtwist=CrowdTwistSettings(base_url=url, api_key="x", timeout_s=5),
        siebel=SiebelSettings(base_url=url, username="x", password="x", timeout_s=5),
    )


def tried(stage: Stage, bad: Said, element: bytes | None = None) -> dict[str, Result]:
    """Try all members at *stage*, where *bad* answers the one; *element* is its part of an answer to many."""

    def said(request: bytes) -> Said:
        body = request.partition(b"\r\n\r\n")[2]
        if body.startswith(b"["):
            parts = [json.dumps({"Id": row["Id"]}).encode() for row in orjson.loads(body) if row["Id"] != f"1-{BAD}"]
            return 200, b"[" + b",".join([*parts, *([] if element is None else [element])]) + b"]"
        number = named(request)
        return bad if number == BAD else (200, orjson.dumps(good_answer(stage, request, number)))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            status, body = said(await read_request(reader))
            body = b"" if status == 204 else body
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
            await writer.drain()

    async def run() -> dict[str, Result]:
        async with serving(handler) as url:
            works = [work_of(stage, number) for number in MEMBERS]
            async with opened(stage, settings_of(url)) as runner:
                groups = [works[at : at + runner.group] for at in range(0, len(works), runner.group)]
                results = await asyncio.gather(*(runner.run(group) for group in groups))
            return dict(zip(MEMBERS, [result for some in results for result in some], strict=True))

    return asyncio.run(run())


def ending_of(stage: Stage, number: str, result: Result) -> Ending:
    rules = Rules(stage, RetryPolicy(1, 10, 3), report_after_s=300, jitter=0.5, carried=True)
    return conclude(work_of(stage, number), result, rules)


def check(stage: Stage, results: dict[str, Result], is_right: Callable[[Done, str], bool]) -> None:
    for number, result in results.items():
        ending = ending_of(stage, number, result)
        json_rows([ending.line, dict(result.facts)])
        if number != BAD:
            assert isinstance(result, Done), (number, result)
        assert isinstance(result, Failed) or is_right(result, number), (number, result)
        assert len(json_rows(list(result.calls))) < 40_000


SLOWLY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SMALLEST: list[Said] = [
    (200, b'{"id":18446744073709551615,"third_party_id":"M-bad"}'),
    (200, b'{"items":5}'),
    (404, b'{"message":"no Route matched with those values"}'),
]


@SLOWLY
@given(answers({"id": 12, "is_active": True, **user_of(BAD)}))
@example(SMALLEST[0])
@example(SMALLEST[2])
@example((200, b'{"id":12,"third_party_id":' + b"[" * 300 + b"]" * 300 + b"}"))
@example((200, b'{"id":12,"third_party_id":"M-1"}'))
def test_of_crowdtwist(bad: Said) -> None:
    def is_right(done: Done, number: str) -> bool:
        is_ours = number != BAD or json.loads(bad[1])["third_party_id"] == BAD
        return is_ours and done.facts["ct_user_id"] in range(1, 2**63)

    check(Stage.CROWDTWIST, tried(Stage.CROWDTWIST, bad), is_right)


@SLOWLY
@given(answers({"instanceId": "a1", "user": user_of(BAD)}))
@example((200, b'{"user":{"third_party_id":"M-bad","x":' + b"[" * 300 + b"]" * 300 + b"}}"))
@example(SMALLEST[2])
def test_of_oic(bad: Said) -> None:
    check(Stage.OIC, tried(Stage.OIC, bad), lambda done, number: done.facts["user"]["third_party_id"] == number)


@SLOWLY
@given(answers({"items": {"Id": f"1-{BAD}", "Member Number": BAD}}), st.none() | VALUES.map(json.dumps).map(str.encode))
@example(SMALLEST[1], b"5")
@example(SMALLEST[1], b"[" * 300 + b"]" * 300)
@example(SMALLEST[1], b'{"Id":"1-M-bad","Member Number":"M-1"}')
def test_of_siebel(bad: Said, element: bytes | None) -> None:
    results = tried(Stage.SIEBEL, bad, element)
    check(Stage.SIEBEL, results, lambda done, number: done.facts["row_id"] == f"1-{number}")


@pytest.mark.parametrize("stage", list(Stage))
def test_of_a_system_that_answers_as_it_should(stage: Stage) -> None:
    results = tried(stage, (200, orjson.dumps(good_answer(stage, b"PUT", BAD))), b'{"Id":"1-M-bad"}')
    assert all(isinstance(result, Done) for result in results.values())


REPEATED = b'"Ann","first_name":"Bo"'
ODD = [b'"\\u0000"', b'"Ann \\ud83d"', b'"\\udc00\\ud800"', b"9" * 400, b"-1e999", b"NaN", b"-Infinity"]
"""Values that are JSON, or nearly, and cannot be stored as they are."""


def with_odd(stage: Stage, odd: bytes) -> bytes:
    """A good answer about the bad member that holds the value."""
    if stage is Stage.SIEBEL:
        return b'{"items":{"Id":"1-M-bad","Member Number":"M-bad","x":%s}}' % odd
    good = json.dumps(good_answer(stage, b"PUT", BAD)).encode()
    return good.replace(b'"first_name": "Ann"', b'"first_name": %s' % odd)


@pytest.mark.parametrize("odd", [*ODD, REPEATED])
@pytest.mark.parametrize("stage", [Stage.CROWDTWIST, Stage.SIEBEL])
def test_a_value_that_cannot_be_stored_leaves_a_good_answer_good(stage: Stage, odd: bytes) -> None:
    good = with_odd(stage, odd)
    element = orjson.dumps({"Id": "1-M-bad"})[:-1] + b',"x":%s}' % odd
    results = tried(stage, (200, good), element)
    assert isinstance(results[BAD], Done), results[BAD]
    check(stage, results, lambda done, _: "\\ud8" not in json.dumps(dict(done.facts)))


@pytest.mark.parametrize("odd", ODD)
def test_such_a_value_of_oic_is_never_sent_on(odd: bytes) -> None:
    results = tried(Stage.OIC, (200, with_odd(Stage.OIC, odd)))
    bad = results.pop(BAD)
    assert isinstance(bad, Failed)
    assert bad.error.code == "unavailable"
    assert all(isinstance(result, Done) for result in results.values())


@pytest.mark.parametrize("odd", [*ODD, REPEATED])
def test_a_refusal_with_such_a_value_is_a_refusal(odd: bytes) -> None:
    said = b'{"error":"input_error","message":"Email Address is already taken.","x":%s}' % odd
    result = tried(Stage.CROWDTWIST, (400, said))[BAD]
    assert isinstance(result, Failed)
    assert (result.error.code, result.error.what) == ("data_error", "Email Address is already taken.")

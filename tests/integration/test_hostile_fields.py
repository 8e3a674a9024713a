"""What is hostile to a spreadsheet, a browser, a header or a statement, through every field, is text at every door."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import httpx
import pytest
from sqlalchemy import Engine

from shared.errors import DataError, StageError, UnavailableError
from shared.instances import Work
from shared.settings import Settings
from tests.calling import outcomes
from tests.console import HTML, console, logged_in
from tests.road import Road
from tests.roles import READERS

HOSTILE = (
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1+1",
    '"><script>pwned()</script><img src=x onerror=pwned()>',
    "</script><script>pwned()</script>",
    "' onmouseover='pwned()",
    "x\r\nX-Evil: 1\r\n\r\n<html>",
    "'; drop table instance; --",
)
FIELDS = (
    *("member_number", "row_id", "program_id", "language", "first_name", "last_name", "middle_name", "email_address"),
    *("postal_code", "city", "country_code", "ct_city_id"),
)
_ASKS_OUTSIDE = ("comparison", "/live/")
_FORMULA = re.compile(r"[\s\x00-\x1f]*[=+@-]")
_OURS = re.compile(r"-?[\d.]+|-")


def _events() -> list[dict[str, object]]:
    """Return an event for each field with each of what is hostile, and one with it everywhere."""
    found: list[dict[str, object]] = []
    for hostile in HOSTILE:
        for field in (*FIELDS, "event_id", "unknown field", hostile, "all"):
            member = {"member_number": f"M-{len(found)}", "status": "Active", "last_name": "Lee"}
            named = {"event_id": hostile} if field == "event_id" else {}
            member |= {} if named else dict.fromkeys(FIELDS if field == "all" else (field,), hostile)
            found.append(
                {"operation": "update", "occurred_at": "2026-11-01T10:00:00Z", "member": member, "force": True, **named}
            )
    return found


def _refused(work: Work) -> StageError | None:
    """Fail as the system would that repeats what it was sent: every third is well, down, or refuses the member."""
    said = HOSTILE[work.instance_id % len(HOSTILE)]
    kinds = (None, UnavailableError("CrowdTwist", said, 503), DataError("CrowdTwist", said, 400))
    return kinds[work.instance_id % 3]


@pytest.mark.parametrize("who", ["vera", "ada"])
def test_what_is_hostile_is_text_at_every_door(ledger: Engine, ledger_url: str, who: str) -> None:
    road = Road(ledger)
    with console(Settings(_env_file=None, ledger_url=ledger_url)) as client:
        answer = client.post("/v1/member-events", json=_events(), headers={"Authorization": "Bearer tok-ada"})
        assert set(outcomes(answer)) <= {"accepted", "refused", "superseded", "conflict"}
        _is_text(answer)
        road.travel(_refused)
        assert road.states().keys() >= {"completed", "dead", "rejected"}
        logged_in(client, f"tok-{who}")
        doors = [route.split()[1] for route in READERS.split("\n") if route.strip().startswith("GET")]
        ids = road.sql("select min(id) from instance group by state, failed_stage order by 1")
        for door in (one for one in doors if not any(word in one for word in _ASKS_OUTSIDE)):
            for number in ids if "{" in door else (0,):
                _is_text(client.get(_address(road, door, number), headers=_headers(door, who)))
        for hostile in HOSTILE:
            for page in ("/search", "/instances", "/dead-letters", "/v1/instances", "/instances.csv"):
                _is_text(client.get(page, params=_asked(hostile), headers=_headers(page, who)))
    assert road.sql("select count(*) > 0 from instance") == [True]


def _address(road: Road, door: str, number: int) -> str:
    (member,) = road.sql(f"select member_number from instance where id = {number}") or ("",)
    quoted = str(httpx.URL("/", params={"x": member}).query, "ascii")[2:].replace("+", "%20").replace("/", "%2F")
    return re.sub(
        r"{.*?}", lambda name: quoted if "number" in name[0] else "outcomes" if "what" in name[0] else str(number), door
    )


def _headers(door: str, who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer tok-{who}"} if door.startswith(("/v1", "/metrics")) else HTML


def _asked(hostile: str) -> dict[str, str]:
    return {"q": hostile, "text": hostile, "member": hostile, "code": hostile}


def _is_text(answer: httpx.Response) -> None:
    """See that nothing in an answer is more than text to whoever reads it."""
    where, kind = str(answer.request.url), answer.headers.get("content-type", "")
    assert answer.status_code < 500, where
    assert "x-evil" not in answer.headers, where
    assert answer.headers["x-content-type-options"] == "nosniff", where
    if "json" in kind:
        json.loads(answer.text.splitlines()[0] if "ndjson" in kind and answer.text else answer.text or "null")
    elif "csv" in kind:
        cells = [cell for row in csv.reader(io.StringIO(answer.text, newline="")) for cell in row]
        assert not [cell for cell in cells if _FORMULA.match(cell) and not _OURS.fullmatch(cell)], where
    else:
        page = _Page()
        page.feed(answer.text)
        assert not page.run, where


class _Page(HTMLParser):
    """A page as a browser reads it: what of it would be *run*, beside files of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.run: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.run += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        self.run += [f"{tag} {value}" for _, value in attrs if (value or "").strip().lower().startswith("javascript:")]

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script and "pwned" in data:
            self.run.append(data)

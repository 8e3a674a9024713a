"""Exports: all that matches, page by page, the same columns for ever, nobody named, and no formula."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from producers.operations import export
from producers.operations.export import COLUMNS, Format, Wanted, What, exported
from shared.ledger.filters import Filter
from shared.pipeline import State
from tests.road import ALWAYS_REFUSED, Road
from tests.terminal import Terminal
from tests.whole_person import NUMBER, OTHER, filled

NAMES = ("Zoraida", "Quuxley", "zq.person", "Quuxville")


def rows(ledger: Engine, what: What, where: Filter | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    pieces = exported(ledger, Wanted(what, where or Filter(), limit=limit))
    return [json.loads(line) for piece in pieces for line in piece.splitlines()]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a page of two."""
    monkeypatch.setattr(export, "_PAGE", 2)


def test_the_columns_are_those_that_are_promised() -> None:
    assert COLUMNS[What.OUTCOMES][:9] == (
        *("instance_id", "event_id", "member_number", "operation", "lane", "origin", "state", "status", "code"),
    )
    assert COLUMNS[What.ATTEMPTS][:6] == ("instance_id", "member_number", "at", "stage", "attempt", "state")
    assert list(COLUMNS[What.CASES])[:5] == ["case_id", "state", "member_number", "instance_id", "kind"]


@pytest.mark.usefixtures("pages")
def test_everything_is_exported_in_pages_of_one_transaction_each(road: Road) -> None:
    road.accept("A", "B", "C", "D", "E")
    road.travel(ALWAYS_REFUSED)
    road.accept("F")
    begun: list[int] = []
    event.listen(road.ledger, "begin", lambda _: begun.append(1))
    assert [row["member_number"] for row in rows(road.ledger, What.OUTCOMES)] == ["E", "D", "C", "B", "A"]
    assert len(begun) == 3
    assert [row["member_number"] for row in rows(road.ledger, What.OUTCOMES, limit=3)] == ["E", "D", "C"]
    assert [row["member_number"] for row in rows(road.ledger, What.OUTCOMES, Filter(states=(State.PENDING,)))] == ["F"]
    tries = rows(road.ledger, What.ATTEMPTS, Filter(members=("B",)))
    assert [(row["stage"], row["attempt"], row["code"]) for row in tries] == [
        ("siebel", 1, None),
        ("crowdtwist", 1, "data_error"),
        ("oic", 1, None),
    ]
    assert [row["member_number"] for row in rows(road.ledger, What.CASES)] == ["E", "D", "C", "B", "A"]
    assert [row["member_number"] for row in rows(road.ledger, What.CASES, Filter(members=("A", "C")))] == ["C", "A"]


@pytest.mark.parametrize("what", What)
@pytest.mark.parametrize("form", Format)
def test_an_export_names_nobody(ledger: Engine, what: What, form: Format) -> None:
    filled(ledger)
    Road(ledger).sql("update data_case set rule = null, note = null")  # neither is ever kept with a person in it
    Road(ledger).sql("update activity set attempt = 1 where what like 'member%'")
    where = Filter(states=(State.HELD, State.PENDING)) if what is What.OUTCOMES else Filter()
    said = "".join(exported(ledger, Wanted(what, where, form)))
    assert NUMBER in said
    assert [name for name in NAMES if name in said] == []


def read(said: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(said))


def test_no_cell_is_a_formula(cli: Terminal, road: Road) -> None:
    road.accept("-A", "@x")
    road.travel(ALWAYS_REFUSED)
    shown = cli("export", "outcomes", "--format", "csv", "--state", "rejected")
    assert shown.code == 0
    assert [row["member_number"] for row in read(shown.out)] == ["'@x", "'-A"]
    assert cli("export", "outcomes", "--format", "csv", "--state", "dead").code == 1
    assert cli("export", "attempts", "--limit", "1").json["member_number"] == "@x"
    assert cli("export", "everything").code == 2


def test_an_export_is_streamed_to_whoever_may_read(client: httpx.Client, ledger: Engine) -> None:
    filled(ledger)
    vera, oscar = ({"Authorization": f"Bearer tok-{name}"} for name in ("vera", "oscar"))
    answer = client.get("/v1/export/cases", params={"format": "csv"}, headers=vera)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [row["path"] for row in read(answer.text)] == ["***", "***"]
    told = client.get("/v1/export/cases", headers=oscar)
    assert [json.loads(line)["path"] for line in told.text.splitlines()] == [[OTHER], [NUMBER]]
    assert client.get("/v1/export/cases", params={"format": "xml"}, headers=vera).status_code == 400
    assert client.get("/v1/export/people", headers=vera).status_code in (400, 404)
    assert client.get("/v1/export/cases").status_code == 401

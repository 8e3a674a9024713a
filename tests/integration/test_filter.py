"""Each condition of the filter is said once, in `shared.ledger.filters`: everything else follows from its row."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from sqlalchemy import Engine
from starlette.datastructures import QueryParams

from producers.console.selection import TypedSelection, pieces
from producers.http.operating import FilterBody
from producers.operations.job_control import Selection
from producers.operations.reads import filter_of
from shared.ledger.engine import transaction
from shared.ledger.filters import CONDITIONS, SUGGESTED, Condition, Filter, matching
from tests.commands import options

FILTERED = ("instances", "dead-letters", "requeue", "discard")

every_condition = pytest.mark.parametrize("row", CONDITIONS, ids=[row.name for row in CONDITIONS])


def words_of(row: Condition) -> list[str]:
    """Return two values of a condition that takes several, one of any other."""
    words = ["2026-11-23T08:51:00Z"] if row.is_instant else (row.choices or ["M-1", "M-2"])
    return words[: 2 if row.several else 1]


def filter_with(row: Condition) -> Filter:
    words = words_of(row)
    return filter_of(datetime.now(UTC), **{row.name: words if row.several else words[0]})


@every_condition
def test_a_condition_is_a_query_parameter_and_part_of_every_body(client: httpx.Client, row: Condition) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/instances", "/v1/dead-letters"):
        (described,) = (one for one in paths[path]["get"]["parameters"] if one["name"] == row.name)
        assert described["description"]
    for path in ("/v1/requeues", "/v1/requeues/rehearse", "/v1/discards"):
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert row.help in schema["properties"]["filter"]["anyOf"][0]["properties"][row.name]["description"]
    body = FilterBody.model_validate({row.name: words_of(row) if row.several else words_of(row)[0]})
    assert body.read() == filter_with(row)


@every_condition
def test_the_api_refuses_what_a_condition_cannot_mean_by_its_name(client: httpx.Client, row: Condition) -> None:
    answer = client.get("/v1/instances", params={row.name: "a\x00"}, headers={"Authorization": "Bearer tok-vera"})
    assert (answer.status_code, answer.json()["field"].partition(".")[0]) == (400, row.name)


@pytest.mark.parametrize("name", FILTERED)
def test_a_condition_is_an_option_of_every_command_that_filters(name: str) -> None:
    found = options(name)
    for row in CONDITIONS:
        option = found[row.name]
        assert option.opts == [f"--{row.name}"]
        assert option.multiple is row.several
        assert option.help.lower().startswith(row.help.lower())


@every_condition
def test_a_condition_is_a_field_of_every_form_and_keeps_what_was_typed(oscar: httpx.Client, row: Condition) -> None:
    for path in ("/instances", "/dead-letters"):
        words = ["rejected"] if row.name == "state" else words_of(row)
        page = oscar.get(path, params={row.name: words}).text
        for word in words:
            assert f'name="{row.name}"' in page
            assert f'value="{word}"' in page


@every_condition
def test_a_stored_selection_leads_back_to_the_same_instances(row: Condition) -> None:
    where = filter_with(row)
    asked = json.loads(json.dumps(Selection(where=where).asked))
    (piece,) = pieces(asked)
    assert f"{row.name} " in piece.text
    typed = TypedSelection.of(QueryParams(parse_qsl(urlsplit(piece.address).query)))
    assert typed.where() == where.of_dead_letters()


@every_condition
def test_a_condition_is_part_of_the_statement_and_nothing_else_is(ledger: Engine, row: Condition) -> None:
    with transaction(ledger) as tx:
        every, _ = matching(tx, Filter(), limit=10)
        statement, parameters = matching(tx, filter_with(row), limit=10)
        tx.execute(statement, parameters)
    assert statement.text != every.text
    assert [one.name for one, _ in filter_with(row).given()] == [row.name]


def test_suggestions_are_made_for_every_condition_that_has_them(oscar: httpx.Client) -> None:
    suggested = [row.name for row in CONDITIONS if row.suggested]
    assert suggested == ["code", "member", "incident"]
    assert set(suggested) < set(SUGGESTED)
    page = oscar.get("/instances").text
    for name in suggested:
        assert oscar.get("/suggestions", params={"field": name}).status_code == 200
        assert f'data-suggest="{name}"' in page


def test_no_condition_is_made_of_a_word_that_is_none() -> None:
    with pytest.raises(TypeError, match="stages"):
        filter_of(datetime.now(UTC), stages=["oic"])

"""`/openapi.json`: complete for whoever writes a client, and true."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from sqlalchemy import Engine

from producers.http.request import CODES
from producers.operations.reconcile.runs import Ask
from producers.site import create_app
from shared.ledger import run_turns
from shared.ledger.jobs import Kind
from shared.settings import Settings
from tests.calling import assert_problem, served
from tests.integration.test_repair import differs
from tests.road import ALWAYS_REFUSED, Road

Operation = tuple[str, str, dict[str, Any]]
OPEN = {"/healthz", "/readyz"}


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    with served(create_app(Settings(ledger_url=ledger_url))) as opened:
        yield opened


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    described: dict[str, Any] = client.get("/openapi.json").json()
    return described


def operations(document: dict[str, Any]) -> list[Operation]:
    return [(path, method, one) for path, item in document["paths"].items() for method, one in item.items()]


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each body and answer that has content: (what, content)."""
    parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
    for what, part in parts.items():
        for media_type, content in part.get("content", {}).items():
            yield f"{what} {media_type}", content


def examples(content: dict[str, Any]) -> list[Any]:
    several = [one["value"] for one in content.get("examples", {}).values()]
    return [content["example"]] if "example" in content else several


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    found = operations(document)
    assert len(found) >= 25
    assert len({one["operationId"] for _, _, one in found}) == len(found)
    for path, method, one in found:
        assert one["summary"], (path, method)
        assert one["description"], (path, method)
        assert set(one["tags"]) <= tags, (path, method)
        for parameter in one.get("parameters", []):
            assert parameter["description"], (path, method, parameter["name"])


def test_every_body_and_answer_has_examples_that_conform_to_its_schema(document: dict[str, Any]) -> None:
    for path, method, one in operations(document):
        for what, content in contents(one):
            schema = {**content["schema"], "components": document["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema)
            assert examples(content), (path, method, what)
            for example in examples(content):
                assert [error.message for error in validator.iter_errors(example)] == [], (path, method, what)


def test_every_error_is_a_problem_with_its_codes(document: dict[str, Any]) -> None:
    for path, method, one in operations(document):
        for status, answer in one["responses"].items():
            assert "X-Request-Id" in answer["headers"], (path, method, status)
            if int(status) >= 400:
                (content,) = answer["content"].items()
                assert content[0] == "application/problem+json", (path, method, status)
                (codes,) = re.findall(r"'code': {'enum': (\[.*?\])", str(content[1]["schema"]))
                assert all(f"`{code}`" in document["info"]["description"] for code in re.findall(r"\w+", codes))
        assert path in OPEN or {"401", "403"} <= one["responses"].keys(), (path, method)
    assert all(f"`{code}`" in document["info"]["description"] for code in CODES)


def test_what_needs_a_token_says_so(ledger: Engine, ledger_url: str, document: dict[str, Any]) -> None:
    assert ledger.url.database
    of = Settings(ledger_url=ledger_url)
    api = of.api.model_validate({"tokens": {"v-token": {"name": "vera", "role": "viewer"}}})
    with served(create_app(of.model_copy(update={"api": api}))) as guarded:
        described = guarded.get("/openapi.json").json()
        assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        for path, method, one in operations(described):
            assert one.get("security", []) == ([] if path in OPEN else [{"token": []}]), (path, method)
            if path not in OPEN:
                address = re.sub(r"{\w+}", "1", path.replace("{name}", "oic"))
                assert_problem(guarded.request(method, address), 401, "unauthorised")
    for path, method, one in operations(document):
        assert one.get("security", []) == ([] if path in OPEN else [{"token": []}, {}]), (path, method)


def test_lists_are_paged_by_the_cursor_that_they_give(
    client: httpx.Client, document: dict[str, Any], ledger: Engine
) -> None:
    road = Road(ledger)
    road.dead("M-1", "M-2", "M-3")
    road.accept("M-4", "M-5")
    road.travel(ALWAYS_REFUSED)
    road.accept("M-6", "M-7")
    road.travel()
    for number in (1, 2):
        resent = {"acknowledged_since": "1h", "filter": {"member": [f"M-{5 + number}"]}, "reason": "restored"}
        client.post("/v1/resends", json=resent)
        client.post("/v1/requeues", json={"ids": [number]})
        client.post("/v1/discards", json={"ids": [number], "reason": "a test member"})
        road.sql("insert into job (kind, requested_by, reason, asked, size) values ('undo', 'oscar', 'x', '{}', 0)")
        client.post("/v1/member-events", json={"operation": str(number)})
        with ledger.begin() as tx:
            run = run_turns.create(tx, Ask(sample=number).request("oscar", Settings(_env_file=None)))
        road.sql(f"""
            insert into guard_hold (kind, state, fingerprint, stage, message, alike, went_out, told, try_at)
            values ('flood', 'holding', 'f{number}', 'oic', 'Last Name is missing', 51, 60, 0, now())
        """)
        road.sql("""
            insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto, resolved_at,
                                  settled_at, frozen)
            select 'connection', 'closed', 'oic', 'down', 'oic-1', now(), now(), now(), now(), now(),
                   '{"live_p95_s": null, "live_p95_week_before_s": null, "time_line": []}'
        """)
        road.sql(f"""
            insert into approval (state, what, guard_id, count, asked_by, reason)
            values ('waiting', 'discard guard', {number}, 51, 'oscar', 'wrong in Siebel')
        """)
        client.post(
            "/v1/maintenance", json={"name": "oic", "from": f"+{number}h", "until": f"+{number + 1}h", "reason": "x"}
        )
        differs(road, f"M-{number}", "never_sent", run=run)
        differs(road, f"N-{number}", "never_sent", run=run)
        client.post("/v1/repairs", json={"run": run, "reason": "the workflow was inactive"})
    paged = [
        path
        for path, _, one in operations(document)
        if "cursor" in {parameter["name"] for parameter in one.get("parameters", [])} and "{" not in path
    ]
    jobs = (f"{kind}s" for kind in Kind)
    lists = {"instances", "cases", "dead-letters", "audit", "refusals", "guards", "reconciliations", "incidents", *jobs}
    lists |= {"approvals", "maintenance"}
    assert {f"/v1/{name}" for name in lists} == set(paged)
    for path in paged:
        whole = client.get(path, params={"list": "true"}).json()
        assert (len(whole["items"]) > 1, whole["next"]) == (True, None), path
        items: list[Any] = []
        cursor = ""
        while cursor is not None:
            page = client.get(path, params={"list": "true", "limit": 1, "cursor": cursor}).json()
            items += page["items"]
            cursor = page["next"]
        assert items == whole["items"], path


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/requeues", "GET, POST"),
        ("/v1/requeues/rehearse", "POST"),
        ("/v1/requeues/1", "GET"),
        ("/v1/requeues/1/stop", "POST"),
        ("/v1/instances", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client, path: str, methods: str) -> None:
    answer = client.delete(path)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == methods


def test_instants_beyond_all_time_are_understood(client: httpx.Client, ledger: Engine) -> None:
    Road(ledger).accept("M-1")
    for since, until, count in (
        ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 1),
        ("999999w", "", 1),
        ("9999-12-31", "", 0),
        ("", "0001-01-01", 0),
    ):
        answer = client.get("/v1/instances", params={"since": since, "until": until})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) == count


def test_a_text_may_hold_any_character_but_controls(client: httpx.Client) -> None:
    for word in ("S\u00e3o\u00a0Paulo", "a\u200db", "\ue000"):
        assert client.get("/v1/instances", params={"text": word, "member": word}).status_code == 200
        assert_problem(client.get(f"/v1/members/{word}"), 404, "no_such_member")
    for word in ("a\nb", "\x00", "\x9f"):
        assert_problem(client.get("/v1/instances", params={"code": word}), 400, "invalid_parameter")

"""What `make bench` measures us against: the same work, and the contract of its modules, whether installed or not."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import respx

from shared.settings import OicSettings
from shared.systems.oic import map_member
from tests.bench.contestants import names, work
from tests.bench.events import member_event

FOLDER = Path(work.__file__).parent
CONTESTANTS = [FOLDER / f"{name}.py" for name in names()]
SIGNATURES = {"prepare": [], "enqueue": ["events"], "workers": []}
EVENT = member_event("B-1")
EVENT["member"]["row_id"] = "1-B/1"


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BENCH_CROWDTWIST_URL", "http://crowdtwist.test")
    monkeypatch.setenv("BENCH_SIEBEL_URL", "http://siebel.test")
    monkeypatch.setenv("BENCH_POSTGRES_URL", "postgresql+psycopg://ann:secret@127.0.0.1:1/bench")
    yield
    work.client.cache_clear()


@pytest.mark.parametrize("changed", [{}, {"middle_name": "Lee", "gender": "F"}, {"status": "Inactive"}])
def test_the_contestants_send_the_user_that_we_create(changed: dict[str, str]) -> None:
    event = EVENT | {"member": EVENT["member"] | changed}
    ours = {name: value for name, value in map_member(event, OicSettings()).items() if value is not None}
    assert work.user_of(event) == ours


@respx.mock
def test_an_event_is_one_post_and_then_one_put() -> None:
    post = respx.post("http://crowdtwist.test/v2/users", params={"api_key": "sandbox-key"}).respond(200)
    put = respx.put("http://siebel.test/siebel/v1.0/data/LOY%20Member/LOY%20Member/1-B%2F1").respond(200)
    work.deliver(EVENT)
    assert [call.request.method for call in respx.calls] == ["POST", "PUT"]
    assert json.loads(post.calls.last.request.content) == work.user_of(EVENT)
    assert json.loads(put.calls.last.request.content) == {"CT Sync Status": "Success", "CT Sync Error": ""}
    assert put.calls.last.request.headers["Authorization"].startswith("Basic ")


@respx.mock
def test_what_is_refused_is_raised_and_no_status_is_written() -> None:
    respx.post("http://crowdtwist.test/v2/users").respond(503)
    with pytest.raises(httpx.HTTPStatusError):
        work.deliver(EVENT)
    assert len(respx.calls) == 1


def test_the_database_is_named_as_drivers_other_than_sqlalchemys_read_it() -> None:
    assert work.postgres_dsn() == "postgresql://ann:secret@127.0.0.1:1/bench"


def test_every_kind_of_queue_is_there() -> None:
    assert {path.stem for path in CONTESTANTS} == {
        *("arq", "celery_chain", "dramatiq", "huey", "pgqueuer"),
        *("procrastinate", "rq", "saq", "taskiq", "taskiq_batched"),
    }


@pytest.mark.parametrize("path", CONTESTANTS, ids=lambda path: path.stem)
def test_a_contestant_has_what_the_bench_asks_of_it(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    functions = {
        node.name: [argument.arg for argument in node.args.args]
        for node in module.body
        if isinstance(node, ast.FunctionDef)
    }
    assert constants["TITLE"]
    assert f"\n{constants['DISTRIBUTION']}==" in (FOLDER.parents[2] / "deploy/requirements-bench.lock").read_text()
    assert SIGNATURES.items() <= functions.items()

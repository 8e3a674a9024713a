"""The connections as operators have them: look, test, pause, resume, typed and over HTTP, and what is recorded."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.site import create_app
from shared.ledger import connections, spending
from shared.ledger.engine import transaction
from shared.ledger.spending import Budget
from shared.lifecycle.breaker import Seen
from shared.pipeline import Lane, Stage
from shared.settings import CrowdTwistSettings, Settings, settings
from tests.calling import assert_problem, served
from tests.rig import Pipeline, eventually, member_event
from tests.terminal import Terminal

TOKENS = {
    "v-token": {"name": "vera", "role": "viewer"},
    "o-token": {"name": "oscar", "role": "operator"},
}
VERA, OSCAR = ({"Authorization": f"Bearer {name}-token"} for name in "vo")
SECRET = "sandbox-key"


@pytest.fixture
def configured(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings of a pipeline, in the environment."""
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_")]:
        monkeypatch.delenv(name)
    pipeline.settings |= {"MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "2", "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "100"}
    for name, value in pipeline.environment.items():
        if name.startswith("MEMBERSYNC_"):
            monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield settings()
    settings.cache_clear()


@pytest.fixture
def cli(configured: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    assert configured.ledger_url
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal(capsys)


@pytest.fixture
def client(configured: Settings) -> Iterator[httpx.Client]:
    """An api with tokens."""
    api = configured.api.model_validate({"tokens": TOKENS})
    with served(create_app(configured.model_copy(update={"api": api}))) as opened:
        yield opened


def actions(ledger: Engine) -> list[dict[str, Any]]:
    with ledger.begin() as tx:
        return [dict(row) for row in tx.execute(text("select * from operator_action order by id")).mappings()]


def bring_down(ledger: Engine, stage: Stage = Stage.CROWDTWIST) -> None:
    """Let a connection be down, with a probe a minute away."""
    rules = replace(CrowdTwistSettings().breaker_rules, failures=1, members=1, probe_first_s=60)
    with transaction(ledger) as tx:
        seen = Seen(is_up=False, failed={1: "M-1"}, error="CrowdTwist: away, says ann.lee@example.org")
        connections.observe(tx, stage, seen, rules)


def breaker(ledger: Engine, stage: Stage = Stage.CROWDTWIST) -> str:
    with transaction(ledger) as tx:
        return connections.gate(tx, stage).breaker.position


def test_they_are_listed_with_switch_breaker_budget_and_who_is_held(cli: Terminal, pipeline: Pipeline) -> None:
    pipeline.send(member_event("M-1"))
    pipeline.sql("update instance set state = 'held', due_stage = 'crowdtwist'")
    bring_down(pipeline.ledger)
    with transaction(pipeline.ledger) as tx:
        spending.pay(tx, Budget(Stage.CROWDTWIST, 100, 0.2), Lane.BULK, 30)
        spending.pay(tx, Budget(Stage.CROWDTWIST, 100, 0.2), Lane.LIVE, 5)
    page = cli("connections", "--json").json
    assert page["next"] is None
    assert [one["name"] for one in page["items"]] == ["oic", "crowdtwist", "siebel"]
    oic, crowdtwist, _ = page["items"]
    assert (oic["state"], oic["since"], oic["budget"], oic["held"]) == ("up", None, None, 0)
    assert (crowdtwist["state"], crowdtwist["breaker"], crowdtwist["failures"]) == ("open", "open", 1)
    assert crowdtwist["since"] is not None
    assert 50 < crowdtwist["next_probe_in_s"] <= 60
    assert crowdtwist["last_error"] == "CrowdTwist: away, says a***@e***.org"
    assert crowdtwist["held"] == 1
    assert crowdtwist["budget"] == {
        "per_minute": 100,
        "used": 35,
        "used_live": 5,
        "used_bulk": 30,
        "free_live": 65,
        "free_bulk": 50,
    }
    for command in ("connections", "status"):
        shown = cli(command).out
        assert re.search(r"CrowdTwist +down .*35 of 100 +65 live, 50 bulk", shown), shown
        assert "last error: CrowdTwist: away" in shown
        assert "ann.lee" not in shown


def test_the_metric_of_the_budget_is_what_was_paid_for(client: httpx.Client, ledger: Engine) -> None:
    with transaction(ledger) as tx:
        spending.pay(tx, Budget(Stage.CROWDTWIST, 100, 0.2), Lane.LIVE, 25)
    answer = client.get("/metrics", headers=VERA).text
    assert 'membersync_budget_used_ratio{name="crowdtwist"} 0.25' in answer


def test_a_pause_needs_a_reason_is_recorded_and_done_once(cli: Terminal, ledger: Engine) -> None:
    assert cli("connections", "pause", "crowdtwist").code == 2
    assert actions(ledger) == []
    paused = cli("connections", "pause", "crowdtwist", "--reason", "their window", "--json")
    assert (paused.code, paused.json["changed"], paused.json["connection"]["state"]) == (0, True, "paused")
    assert paused.json["connection"]["paused_reason"] == "their window"
    again = cli("connections", "pause", "crowdtwist", "--reason", "me too")
    assert again.code == 1
    assert "paused already" in again.out
    assert "their window" in again.out
    resumed = cli("connections", "resume", "crowdtwist", "--reason", "it is over")
    assert (resumed.code, cli("connections", "resume", "crowdtwist").code) == (0, 1)
    found = [(one["what"], one["reason"], one["asked"], one["answer"], one["denied"]) for one in actions(ledger)]
    of = {"connection": "crowdtwist"}
    assert found == [
        ("pause", "their window", of, "paused: what is due there is held", False),
        ("pause", "me too", of, "refused: it is paused already", False),
        ("resume", "it is over", of, "resumed: what was held goes out", False),
        ("resume", None, of, "refused: it is not paused", False),
    ]
    assert {one["role"] for one in actions(ledger)} == {"cli"}


@pytest.mark.parametrize(
    "words", [["test"], ["pause"], ["stop", "crowdtwist"], ["test", "oracle"], ["pause", "siebel", "--reason", " "]]
)
def test_what_cannot_be_meant_is_a_usage_error(cli: Terminal, words: list[str]) -> None:
    assert cli("connections", *words).code == 2


@pytest.mark.parametrize("name", list(Stage))
def test_a_test_that_passes_heals_a_connection_at_once(cli: Terminal, pipeline: Pipeline, name: Stage) -> None:
    bring_down(pipeline.ledger, name)
    tested = cli("connections", "test", name, "--json")
    assert (tested.code, tested.json["ok"], tested.json["code"]) == (0, True, None)
    assert (tested.json["was"], tested.json["now"]) == ("open", "closed")
    assert tested.json["answer"].startswith("passed: it was down and counts as up again")
    assert breaker(pipeline.ledger, name) == "closed"
    assert [(one["what"], one["asked"]) for one in actions(pipeline.ledger)] == [("test", {"connection": name})]


@pytest.mark.parametrize(
    ("kind", "details", "code"),
    [
        ("refuse", {}, "unreachable"),
        ("maintenance", {}, "unavailable"),
        ("status", {"status": 401, "body": {"error": "access_denied", "message": "no"}}, "unauthorised"),
        ("hang", {}, "outcome_unknown"),
    ],
)
def test_a_test_that_fails_says_why_and_changes_nothing(
    cli: Terminal, pipeline: Pipeline, kind: str, details: dict[str, object], code: str
) -> None:
    bring_down(pipeline.ledger)
    pipeline.sandbox.control.fault("crowdtwist", kind, **details)
    tested = cli("connections", "test", "crowdtwist", "--json")
    assert (tested.code, tested.json["ok"], tested.json["code"]) == (1, False, code)
    assert breaker(pipeline.ledger) == "open"
    assert SECRET not in json.dumps(tested.json)
    (action,) = actions(pipeline.ledger)
    assert action["answer"].startswith("failed: CrowdTwist")


def test_a_tests_call_is_paid_for_out_of_the_budget(cli: Terminal, pipeline: Pipeline) -> None:
    assert cli("connections", "test", "crowdtwist").code == 0
    assert pipeline.sql("select lane, calls from spend where name = 'crowdtwist'") == [("live", 1)]
    pipeline.sql("update spend set calls = 100")
    tested = cli("connections", "test", "crowdtwist", "--json")
    assert (tested.code, tested.json["code"]) == (1, "budget_spent")
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] == 1


def test_a_connection_that_has_no_address_cannot_be_tested(
    cli: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("MEMBERSYNC_HOME", str(tmp_path))
    monkeypatch.setenv("MEMBERSYNC_SIEBEL__BASE_URL", "")
    tested = cli("connections", "test", "siebel", "--json")
    assert (tested.code, tested.json["code"]) == (1, "not_configured")
    assert "MEMBERSYNC_SIEBEL__BASE_URL" in tested.json["what"]


def test_beside_a_running_stack_its_ledger_and_simulators_are_found(
    cli: Terminal, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LEDGER_URL", "CROWDTWIST__BASE_URL", "CROWDTWIST__API_KEY"):
        monkeypatch.delenv(f"MEMBERSYNC_{name}")
    monkeypatch.setenv("MEMBERSYNC_HOME", str(tmp_path))
    stack = {"pid": os.getpid(), "ledger_url": pipeline.ledger_url}
    sandbox = {"sandbox": {"crowdtwist": pipeline.sandbox.crowdtwist, "control": "http://127.0.0.1:1"}}
    (tmp_path / "stack.json").write_text(json.dumps(stack | sandbox), encoding="utf-8")
    assert cli("connections", "test", "crowdtwist").code == 0
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] == 1


def test_over_http_the_same_with_who_asked(client: httpx.Client, pipeline: Pipeline) -> None:
    listed = client.get("/v1/connections", headers=VERA).json()
    assert [one["name"] for one in listed["items"]] == ["oic", "crowdtwist", "siebel"]
    url = "/v1/connections/crowdtwist"
    assert_problem(client.post(f"{url}/pause", headers=OSCAR, json={}), 400, "invalid_parameter")
    assert_problem(client.post(f"{url}/pause", headers=OSCAR, json={"why": "x"}), 400, "invalid_parameter")
    paused = client.post(f"{url}/pause", headers=OSCAR, json={"reason": "their window"}).json()
    assert (paused["changed"], paused["connection"]["paused_by"]) == (True, "oscar")
    bring_down(pipeline.ledger)
    tested = client.post(f"{url}/test", headers=OSCAR).json()
    assert (tested["ok"], tested["was"], tested["now"]) == (True, "open", "closed")
    assert tested["answer"] == "passed; it counts as up again, and it stays paused"
    assert client.get("/v1/connections", headers=VERA).json()["items"][1]["state"] == "paused"
    resumed = client.post(f"{url}/resume", headers=OSCAR).json()
    assert (resumed["changed"], resumed["connection"]["state"]) == (True, "up")
    assert client.post(f"{url}/resume", headers=OSCAR).json()["changed"] is False
    assert_problem(client.post("/v1/connections/oracle/test", headers=OSCAR), 404, "no_such_connection")
    found = [(one["who"], one["role"], one["what"]) for one in actions(pipeline.ledger)]
    assert found == [("oscar", "operator", what) for what in ("pause", "test", "resume", "resume")]


@pytest.mark.parametrize("act", ["pause", "resume", "test"])
def test_who_may_only_look_is_denied_and_that_is_recorded(client: httpx.Client, ledger: Engine, act: str) -> None:
    answer = client.post(f"/v1/connections/siebel/{act}", headers=VERA, json={"reason": "me"})
    assert_problem(answer, 403, "forbidden")
    assert_problem(client.post(f"/v1/connections/siebel/{act}", json={"reason": "me"}), 401, "unauthorised")
    (action,) = actions(ledger)
    assert (action["who"], action["what"], action["asked"], action["denied"]) == ("vera", act, {"name": "siebel"}, True)
    assert client.get("/v1/connections", headers=VERA).json()["items"][2]["state"] == "up"


def test_without_tokens_another_web_page_can_switch_nothing(configured: Settings, ledger: Engine) -> None:
    with served(create_app(configured)) as local:
        evil = local.post("/v1/connections/siebel/pause", headers={"Origin": "http://evil"}, json={"reason": "x"})
        assert_problem(evil, 403, "forbidden_origin")
        own = str(local.base_url).rstrip("/")
        ours = local.post("/v1/connections/siebel/pause", headers={"Origin": own}, json={"reason": "x"})
        assert ours.json()["changed"] is True
    assert [one["who"] for one in actions(ledger)] == ["local"]


def test_the_description_shows_examples_of_each(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for act in ("pause", "resume", "test"):
        posted = paths[f"/v1/connections/{{name}}/{act}"]["post"]
        assert posted["requestBody"]["content"]["application/json"]["examples"]
        assert posted["responses"]["200"]["content"]["application/json"]["example"]
    listed = paths["/v1/connections"]["get"]["responses"]["200"]["content"]["application/json"]
    assert listed["example"]["items"][0]["name"] == "crowdtwist"


def test_a_passed_test_sends_out_what_was_held(cli: Terminal, pipeline: Pipeline) -> None:
    pipeline.settings |= {f"MEMBERSYNC_CROWDTWIST__PROBE_{name}_S": "60" for name in ("FIRST", "CAP")}
    pipeline.sandbox.control.fault("crowdtwist", "maintenance")
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(20)))
        eventually(lambda: pipeline.states() == {"held": 20}, "everybody held")
        pipeline.sandbox.control.heal("crowdtwist")
        assert cli("connections", "test", "crowdtwist").code == 0
        eventually(lambda: pipeline.states() == {"completed": 20}, "all completed, with the next probe a minute away")

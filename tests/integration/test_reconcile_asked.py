"""Reconciliations as people and programs ask for them: over HTTP and on the command line, and who may see whom."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from producers.site import create_app
from tests.calling import assert_problem, served
from tests.reconciling import Programme, named
from tests.rig import Pipeline, eventually

TOKENS = {f"{role[0]}-token": {"name": role, "role": role} for role in ("viewer", "operator", "admin")}
VIEWER, OPERATOR, ADMIN = ({"Authorization": f"Bearer {token}"} for token in TOKENS)


@pytest.fixture
def programme(pipeline: Pipeline) -> Iterator[Programme]:
    pipeline.sandbox.control.set("siebel", auto_members=False)
    pipeline.settings |= {
        "MEMBERSYNC_RECONCILE__SHARE": "1",
        "MEMBERSYNC_RECONCILE__SETTLE_S": "0.2",
    }
    with pipeline.whole():
        yield Programme(pipeline, {})


@pytest.fixture
def client(programme: Programme) -> Iterator[httpx.Client]:
    settings = programme.of
    api = settings.api.model_validate({"tokens": TOKENS, "host": "0.0.0.0"})  # noqa: S104  # nothing listens
    with served(create_app(settings.model_copy(update={"api": api})), host="membersync") as opened:
        yield opened


def reconcile(programme: Programme, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "producers.cli", *arguments]
    return subprocess.run(
        command, env=programme.pipeline.environment, capture_output=True, text=True, timeout=90, check=False
    )


def over(client: httpx.Client, address: str) -> dict[str, Any]:
    """Return a run when it has ended."""
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(client.get(address, headers=VIEWER).json())
        return found["ended_at"] is not None

    eventually(is_over, "the run to end")
    return found


def test_a_run_over_http(programme: Programme, client: httpx.Client) -> None:
    programme.sync("M-1", "M-2")
    programme.seed("M-1", first_name="Hanna")
    begun = client.post("/v1/reconciliations", json={"full": True}, headers=OPERATOR)
    assert begun.status_code == 202
    assert begun.json()["state"] in {"planned", "running"}
    assert begun.json()["drift"] == {"estimate": None, "low": None, "high": None, "confidence": 0.95}
    run = over(client, begun.headers["Location"])
    assert run["id"] == begun.json()["id"]
    assert (run["state"], run["mode"], run["members"]) == ("done", "full", {"siebel": 2, "ledger": 2, "crowdtwist": 2})
    assert run["differences"]["missed_event"] == 1
    assert sum(run["differences"].values()) == 1
    assert (run["compared"], run["covered"], run["repaired"]) == (2, 1.0, 0)
    assert run["drift"]["estimate"] == 0.5
    (listed,) = client.get("/v1/reconciliations", headers=VIEWER).json()["items"]
    assert listed == run
    found = client.get(f"/v1/reconciliations/{run['id']}/differences?class=missed_event", headers=VIEWER).json()
    (one,) = found["items"]
    assert (one["member_number"], one["class"], one["field"]) == ("M-1", "missed_event", "first_name")
    assert (one["siebel"], one["crowdtwist"], one["ledger"]) == ("H***", None, "A***")
    assert one["first_seen_at"] < one["seen_at"]
    (whole,) = client.get(f"/v1/reconciliations/{run['id']}/differences", headers=ADMIN).json()["items"]
    assert (whole["siebel"], whole["ledger"]) == ("Hanna", "Ann")
    shown = client.get("/v1/audit?what=unmask", headers=VIEWER).json()["items"]
    assert [(one["who"], one["asked"]) for one in shown] == [("admin", {"reconciliation": run["id"]})]
    other = client.get(f"/v1/reconciliations/{run['id']}/differences?class=orphan", headers=VIEWER).json()
    assert other == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"full": True, "sample": 5}, "sample"),
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"since": "yesterday"}, "since"),
        ({"member": [" "]}, "members"),
        ({"everything": True}, "everything"),
    ],
)
def test_what_cannot_be_meant_names_its_field(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/reconciliations", json=body, headers=OPERATOR)
    assert_problem(answer, 400, "invalid_parameter")
    assert answer.json()["field"] == field


def test_who_may_only_read_starts_and_stops_nothing(programme: Programme, client: httpx.Client) -> None:
    assert_problem(client.post("/v1/reconciliations", json={}, headers=VIEWER), 403, "forbidden")
    assert_problem(client.post("/v1/reconciliations/1/stop", headers=VIEWER), 403, "forbidden")
    assert_problem(client.get("/v1/reconciliations/99", headers=VIEWER), 404, "no_such_reconciliation")
    assert_problem(client.post("/v1/reconciliations/99/stop", headers=OPERATOR), 404, "no_such_reconciliation")
    assert programme.pipeline.sql("select count(*) from reconciliation") == [0]


def test_a_run_on_the_command_line(programme: Programme) -> None:
    programme.sync(*named("fine", 3))
    equal = reconcile(programme, "reconcile", "--full", "--wait", "--json")
    assert equal.returncode == 0, equal.stderr
    assert json.loads(equal.stdout)["state"] == "done"
    programme.in_crowdtwist("DELETE", "fine-001")
    differs = reconcile(programme, "reconcile", "--sample", "100", "--wait")
    assert differs.returncode == 1, differs.stderr
    assert "gone at destination" in differs.stdout
    only = reconcile(programme, "reconcile", "--member", "fine-000", "--wait")
    assert only.returncode == 0, only.stderr
    begun = reconcile(programme, "reconcile", "--member", "fine-001")
    assert (begun.returncode, begun.stdout.strip()) == (0, "4")
    eventually(lambda: programme.pipeline.sql("select state from reconciliation where id = 4") == ["done"], "done")
    shown = json.loads(reconcile(programme, "reconciliations", "4", "--json").stdout)
    assert shown["differences"]["gone_at_destination"] == 1
    listed = json.loads(reconcile(programme, "reconciliations", "--json").stdout)
    assert [one["id"] for one in listed["items"]] == ["4", "3", "2", "1"]
    found = json.loads(reconcile(programme, "reconciliations", "4", "--class", "gone_at_destination", "--json").stdout)
    assert [one["member_number"] for one in found["items"]] == ["fine-001"]
    assert reconcile(programme, "reconciliations", "9").returncode == 1
    assert reconcile(programme, "reconcile", "--full", "--sample", "3").returncode == 2

"""Reconciliations as people and programs ask for them: over HTTP and on the command line, and who may see whom."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.operations.reconcile.files import ROWS_PACKED
from producers.site import create_app
from tests.calling import assert_problem, served
from tests.reconciling import Programme, named
from tests.rig import Pipeline, eventually

HEADER = b"Row Id,Member Number,Status,Contact First Name,Contact Last Name,Email Address\n"
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
    assert (one["siebel"], one["crowdtwist"], one["ledger"]) == ("H***", "A***", "A***")
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
        ({"since": "2199-12-31"}, "since"),
        ({"member": [" "]}, "member"),
        ({"everything": True}, "everything"),
    ],
)
def test_what_cannot_be_meant_names_its_field(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/reconciliations", json=body, headers=OPERATOR)
    assert_problem(answer, 400, "invalid_parameter")
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("asked", "named_in_words"),
    [
        (["--sample", "99999999999999999999"], "--sample: must be 1 to 1000000000"),
        (["--since", "2199-12-31"], "--since: lies in the future"),
        (["--member", ""], "--member: holds something that is no member number"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named_and_no_run_is_made(
    pipeline: Pipeline, asked: list[str], named_in_words: str
) -> None:
    programme = Programme(pipeline, {})
    refused = reconcile(programme, "reconcile", *asked)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert named_in_words in " ".join(refused.stderr.replace("│", " ").split())
    assert pipeline.sql("select count(*) from reconciliation") == [0]


@pytest.mark.parametrize(
    ("option", "content", "why"),
    [
        ("siebel", b"a,b\n1,2\n", "line 1: has no column Id"),
        ("siebel", HEADER, "has no rows: all that CrowdTwist has would seem to be gone from Siebel"),
        ("crowdtwist", b"\x00\xff" * 500, "is binary data, and no text"),
        (
            "crowdtwist",
            b"Id,Member Number\n1-A,M-1\n1-B,M-2\n",
            "has no row that can be read; of the first, column Id: must be CrowdTwist's number of a user",
        ),
        (
            "crowdtwist",
            b"third_party_id,city\nM-1,M\xfcnchen\n",
            "has no row that can be read; of the first, column city: holds a control character, or is not UTF-8",
        ),
    ],
)
def test_a_file_that_is_none_is_named_and_no_run_is_made(
    pipeline: Pipeline, tmp_path: Path, option: str, content: bytes, why: str
) -> None:
    file = tmp_path / "members.csv"
    file.write_bytes(content)
    refused = reconcile(Programme(pipeline, {}), "reconcile", f"--{option}-file", str(file), "--wait")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"membersync: {option}_file members.csv: {why}\n"
    assert pipeline.sql("select count(*) from reconciliation") == [0]


def test_a_file_that_breaks_off_stops_its_run_and_what_has_no_rows_but_only_changes_does_not(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    programme = Programme(pipeline, {})
    broken = tmp_path / "broken.csv"
    rows = b"".join(b"1-%d,M-%d,Active,Ann,Lee,ann@example.org\n" % (place, place) for place in range(ROWS_PACKED + 1))
    broken.write_bytes(HEADER + rows + b"x" * 2_000_000)
    refused = reconcile(programme, "reconcile", "--siebel-file", str(broken))
    assert refused.returncode == 2
    assert refused.stderr == f"membersync: siebel_file broken.csv: line {ROWS_PACKED + 3}: is too long to be CSV\n"
    (stopped,) = pipeline.sql("select state from reconciliation")
    assert stopped == "stopped"
    shown = json.loads(reconcile(programme, "reconciliations", "1", "--json").stdout)
    assert (shown["covered"], shown["compared"]) == (0.0, 0)
    (tmp_path / "incremental.csv").write_bytes(HEADER)
    begun = reconcile(programme, "reconcile", "--siebel-file", str(tmp_path / "incremental.csv"))
    assert (begun.returncode, begun.stdout.strip()) == (0, "2")


def test_of_a_member_that_is_nobody_a_run_says_that_nobody_was_compared(programme: Programme) -> None:
    nobody = reconcile(programme, "reconcile", "--member", "M-404", "--wait", "--json")
    assert nobody.returncode == 0, nobody.stderr
    run = json.loads(nobody.stdout)
    assert (run["meaning"], run["covered"]) == ("nobody was compared", 0.0)
    assert run["drift"] == {"estimate": None, "low": None, "high": None, "confidence": 0.95}


def test_where_to_see_why_somebody_could_not_be_looked_at_is_said(programme: Programme) -> None:
    programme.sync("M-1")
    programme.pipeline.sandbox.control.fault("crowdtwist", kind="html", status=200, member=["M-1"])
    unseen = reconcile(programme, "reconcile", "--member", "M-1", "--wait")
    assert unseen.returncode == 1, unseen.stderr
    assert "1 could not be looked at, and may differ\nwhy one could not be looked at: `membersync" in unseen.stdout


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

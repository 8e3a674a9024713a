"""The runbook's way back from a ledger that was restored to before the newest acknowledged write."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from shared.ledger.models import Base
from tests.forked import run_to_end
from tests.postgres import binaries
from tests.reconciling import Programme
from tests.rig import Pipeline, eventually, member_event
from tests.road import Road
from tests.terminal import Terminal

WHY = ("--reason", "ledger restored")


def client(program: str, pipeline: Pipeline, *arguments: str) -> None:
    """Run a client of the server's own version: what one of a newer version saves, an older server may refuse."""
    url = pipeline.ledger.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(binaries() / program), "--data-only", f"--dbname={url}", *arguments]
    ran = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def restore(pipeline: Pipeline, dump: Path) -> None:
    tables = ", ".join(f'"{name}"' for name in (*Base.metadata.tables, "alembic_version"))
    pipeline.sql(f"truncate {tables}")
    client("pg_restore", pipeline, str(dump))
    pipeline.ledger.dispose()


def typed(pipeline: Pipeline, *arguments: str, code: int = 0) -> None:
    ran = run_to_end(("-m", "producers.cli", *arguments), pipeline.environment, within_s=120)
    assert ran.returncode == code, ran.stdout + ran.stderr


def names(pipeline: Pipeline) -> dict[str, str]:
    return {user["third_party_id"]: user["first_name"] for user in pipeline.sandbox.control.users()}


def test_what_it_forgot_is_found_and_nothing_older_goes_out(pipeline: Pipeline, tmp_path: Path) -> None:
    control = pipeline.sandbox.control
    control.set("siebel", auto_members=False)
    control.set("crowdtwist", journal=True)
    pipeline.settings |= {"MEMBERSYNC_RECONCILE__SETTLE_S": "0.2", "MEMBERSYNC_RECONCILE__SHARE": "1.0"}
    programme = Programme(pipeline, {})
    with pipeline.whole():
        programme.sync("M-1", "M-2", "M-3", "M-4")
        typed(pipeline, "connections", "pause", "crowdtwist", *WHY)
        pipeline.send(member_event("M-2", 1, first_name="Older"))
        eventually(lambda: pipeline.states() == {"completed": 4, "held": 1}, "one is on its way")
        client("pg_dump", pipeline, "--format=custom", f"--file={tmp_path / 'ledger.dump'}")
        backed_up_at = datetime.now(UTC).isoformat()
        typed(pipeline, "connections", "resume", "crowdtwist", *WHY)
        eventually(pipeline.settled, "all is sent")
        for number, name in (("M-1", "Newer"), ("M-2", "Newest")):
            programme.seed(number, first_name=name)
            programme.send(number, minute=2, first_name=name)
        assert names(pipeline) == {"M-1": "Newer", "M-2": "Newest", "M-3": "Ann", "M-4": "Ann"}

    restore(pipeline, tmp_path / "ledger.dump")
    assert pipeline.states() == {"completed": 4, "held": 1}
    before = len(control.journal("crowdtwist"))
    typed(pipeline, "connections", "pause", "siebel", *WHY)  # the other was when it was saved
    with pipeline.whole():
        programme.seed("M-4", first_name="Live")
        pipeline.send(member_event("M-4", 3, first_name="Live"))
        waiting = [word for state in ("pending", "waiting", "held", "dead") for word in ("--state", state)]
        typed(pipeline, "discard", *waiting, "--until", backed_up_at, *WHY, "--yes")
        eventually(lambda: pipeline.states().get("discarded") == 1, "what nobody can vouch for is given up")
        typed(pipeline, "drop-checks", *WHY)
        for name in ("crowdtwist", "siebel"):
            typed(pipeline, "connections", "resume", name, *WHY)
        eventually(pipeline.settled, "who came since is sent")
        typed(pipeline, "reconcile", "--full", "--wait", code=1)
        (run,) = pipeline.sql("select max(id) from reconciliation")
        typed(pipeline, "repair", str(run), *WHY, "--yes")
        eventually(lambda: pipeline.sql("select count(*) from job where ended_at is null") == [0], "repaired")
        eventually(pipeline.settled, "all is sent")
        typed(pipeline, "reconcile", "--full", "--wait")

    assert names(pipeline) == {"M-1": "Newer", "M-2": "Newest", "M-3": "Ann", "M-4": "Live"}
    assert "Older" not in str(control.journal("crowdtwist")[before:])
    assert {(one["status"], one["error"]) for one in control.members()} == {("Success", "")}
    control.set("crowdtwist", journal=False)


def test_checks_are_counted_first_and_dropped_only_while_both_connections_are_paused(road: Road, cli: Terminal) -> None:
    road.accept("M-1", "M-2")
    road.travel()
    road.sql("update member set read_back_at = now() + interval '1 min'")
    road.sql("update member set tell_again_at = now() where member_number = 'M-2'")
    assert cli("drop-checks", "--dry-run", "--json").json == {"read_backs": 2, "tellings": 1}
    assert cli("connections", "pause", "siebel", *WHY).code == 0
    refused = cli("drop-checks", *WHY)
    assert (refused.code, "CrowdTwist must be paused before" in refused.err) == (1, True)
    assert cli("connections", "pause", "crowdtwist", *WHY).code == 0
    assert cli("drop-checks").code == 2, "it is not said why"
    dropped = cli("drop-checks", *WHY)
    assert dropped.out == "dropped: 2 looks at CrowdTwist, 1 repetitions to Siebel\n"
    assert road.sql("select count(*) from member where read_back_at is not null or tell_again_at is not null") == [0]
    (filed,) = road.sql("select answer from operator_action where what = 'drop checks'")
    assert filed == "dropped 2 looks at CrowdTwist, 1 repetitions to Siebel"

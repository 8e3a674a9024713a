"""CrowdTwist was restored to an older state: a resend with real processes brings it back, and nothing older lands."""

import os
import signal
from datetime import UTC, datetime, timedelta

import httpx
import psutil

from producers.operations import job_control
from producers.operations.job_control import Ask, Operator
from producers.operations.job_selections import Acknowledged
from shared.ledger.jobs import Job, Kind
from shared.settings import settings
from tests.rig import Pipeline, eventually, member_event, publishing

OLGA = Operator("olga", "operator")


def begin(pipeline: Pipeline, *, recreate: bool = False, rate: int | None = None) -> int:
    selection = Acknowledged(since=datetime.now(UTC) - timedelta(hours=1))
    ask = Ask(Kind.RESEND, selection, "CrowdTwist was restored", rate, recreate=recreate)
    with publishing(pipeline.environment):
        _, job = job_control.start(pipeline.ledger, OLGA, ask, settings())
    assert job is not None
    return int(job.job_id)


def progress(pipeline: Pipeline, job: int) -> Job:
    found = job_control.progress(pipeline.ledger, Kind.RESEND, job)
    assert found is not None
    return found


def counts(job: Job) -> dict[str, int]:
    return {state: count for state, count in job.counts.items() if count}


def erase(pipeline: Pipeline, number: str) -> None:
    """Erase a member at CrowdTwist, as somebody there does who was asked to."""
    query = {"id_type": "third_party_id", "api_key": "sandbox-key"}
    httpx.delete(f"{pipeline.sandbox.crowdtwist}/v2/users/{number}", params=query).raise_for_status()


def names(pipeline: Pipeline) -> dict[str, str]:
    return {user["third_party_id"]: user["last_name"] for user in pipeline.sandbox.control.users()}


def statuses(pipeline: Pipeline) -> list[tuple[str, str, list[object]]]:
    return [(one["member_number"], one["status"], one["history"]) for one in pipeline.sandbox.control.members()]


def test_what_a_restore_lost_is_back_with_one_put_each_and_siebel_hears_nothing(pipeline: Pipeline) -> None:
    control = pipeline.sandbox.control
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}", last_name="Old") for index in range(60)))
        eventually(lambda: pipeline.states() == {"completed": 60}, "created")
        control.back_up()
        pipeline.send(*(member_event(f"M-{index}", minute=1, last_name="New") for index in range(40)))
        pipeline.send(*(member_event(f"N-{index}", last_name="Born") for index in range(5)))
        eventually(lambda: pipeline.states() == {"completed": 105}, "updated")
        control.restore()
        erase(pipeline, "M-0")
        said, before = statuses(pipeline), control.state("crowdtwist")
        job = begin(pipeline)
        eventually(lambda: progress(pipeline, job).over, "resent")
        done = progress(pipeline, job)
        assert (done.state, counts(done)) == ("done", {"succeeded": 59, "gone": 6})
        after = control.state("crowdtwist")
        assert (after["puts"] - before["puts"], after["posts"] - before["posts"]) == (65, 0)
        assert names(pipeline) == {f"M-{index}": "New" if index < 40 else "Old" for index in range(1, 60)}
        again = begin(pipeline, recreate=True)
        eventually(lambda: progress(pipeline, again).over, "recreated")
        # The ledger saw M-0 being created within the hour too: for it that is as good as lost by the restore.
        assert counts(progress(pipeline, again)) == {"succeeded": 65}
        assert {number for number, name in names(pipeline).items() if name == "Born"} == {f"N-{i}" for i in range(5)}
        assert statuses(pipeline) == said
    assert pipeline.states() == {"completed": 105}


def test_live_changes_meanwhile_and_a_worker_that_is_killed_leave_the_newest_everywhere(pipeline: Pipeline) -> None:
    control = pipeline.sandbox.control
    pipeline.settings |= {
        "MEMBERSYNC_DISPATCHER__LEASE_S": "8",
        "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "3",
        "MEMBERSYNC_OIC__TIMEOUT_S": "3",
        "MEMBERSYNC_SIEBEL__TIMEOUT_S": "3",
    }
    members = [f"M-{index:03}" for index in range(300)]
    with pipeline.whole():
        control.back_up()
        pipeline.send(*(member_event(number, last_name="V0") for number in members))
        eventually(lambda: pipeline.states() == {"completed": 300}, "created")
        control.restore()
        control.set("crowdtwist", latency_ms=50)
        job = begin(pipeline, recreate=True)
        for version in range(1, 6):
            pipeline.send(*(member_event(number, version, last_name=f"V{version}") for number in members[::3]))
            eventually(lambda: counts(progress(pipeline, job)).get("planned", 0) < 300, "under way")
            if version == 3:
                for child in psutil.Process(pipeline.running[1].pid).children():
                    os.kill(child.pid, signal.SIGKILL)
        eventually(lambda: progress(pipeline, job).over and pipeline.settled(), "all settled", within_s=120)
        eventually(lambda: pipeline.sql("select count(*) from errand") == [0], "no errand is left")
    done = progress(pipeline, job)
    assert set(counts(done)) <= {"succeeded", "closed", "failed"}
    assert names(pipeline) == {number: "V5" if index % 3 == 0 else "V0" for index, number in enumerate(members)}
    assert control.state("crowdtwist")["max_in_flight_per_member"] == 1
    assert {status for _, status, _ in statuses(pipeline)} == {"Success"}
    assert pipeline.sql("select count(*) from member where not synced") == [0]


def test_a_resend_that_is_stopped_in_the_middle_leaves_everything_true(pipeline: Pipeline) -> None:
    control = pipeline.sandbox.control
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}", last_name="Old") for index in range(200)))
        eventually(lambda: pipeline.states() == {"completed": 200}, "created")
        control.back_up()
        pipeline.send(*(member_event(f"M-{index}", minute=1, last_name="New") for index in range(200)))
        eventually(lambda: pipeline.states() == {"completed": 400}, "updated")
        control.restore()
        job = begin(pipeline, rate=1200)
        eventually(lambda: counts(progress(pipeline, job)).get("succeeded", 0) > 20, "some went out")
        assert job_control.stop(pipeline.ledger, OLGA, Kind.RESEND, job)
        eventually(lambda: progress(pipeline, job).over, "over")
        done = counts(progress(pipeline, job))
        assert set(done) == {"succeeded", "put_back"}
        assert pipeline.sql("select count(*) from errand") == [0]
        sent = sum(name == "New" for name in names(pipeline).values())
        assert sent == done["succeeded"]
        pipeline.send(*(member_event(f"M-{index}", minute=2, last_name="Newest") for index in range(200)))
        eventually(lambda: pipeline.states() == {"completed": 600}, "updated again")
    assert set(names(pipeline).values()) == {"Newest"}


def test_an_outage_in_the_middle_is_waited_for(pipeline: Pipeline) -> None:
    control = pipeline.sandbox.control
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(100)))
        eventually(lambda: pipeline.states() == {"completed": 100}, "created")
        job = begin(pipeline, rate=1200)
        eventually(lambda: counts(progress(pipeline, job)).get("succeeded", 0) > 40, "the rest is under way")
        fault = control.fault("crowdtwist", "maintenance")
        eventually(
            lambda: pipeline.sql("select breaker from connection where name = 'crowdtwist'") != ["closed"], "down"
        )
        control.heal("crowdtwist", fault)
        eventually(lambda: progress(pipeline, job).over and pipeline.settled(), "over")
        eventually(lambda: pipeline.sql("select count(*) from errand") == [0], "no errand is left")
        assert counts(progress(pipeline, job)) == {"succeeded": 100}
    assert pipeline.states() == {"completed": 100}

"""Dead letters at the command line: causes, plans, questions, jobs followed, exit codes."""

import io
import signal
import time

import pytest
from sqlalchemy import Engine

from producers.operations import advice
from tests.rig import eventually
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road, busy
from tests.terminal import Terminal, running
from tests.unpacking import unpack_events

WELL = ("--reason", "CrowdTwist is well again")


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def test_dead_letters_are_grouped_by_cause_with_exact_keys(cli: Terminal, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    road.sql("update instance set error = 'CrowdTwist: bob@example.org is taken' where id = 3")
    ran = cli("dead-letters", "--json")
    assert (ran.code, set(ran.json)) == (0, {"items", "next"})
    first, second = ran.json["items"]
    assert " ".join(first) == "stage code message count first_at last_at fixed coming fingerprint notes"
    assert (first["stage"], first["code"], first["message"], first["count"]) == (
        "crowdtwist",
        "unavailable",
        "CrowdTwist: answered 503",
        2,
    )
    assert second["message"] == "CrowdTwist: <e-mail> is taken"
    assert "answered 503" in cli("dead-letters").out
    cut = cli("dead-letters", "--limit", "1")
    assert ("answered 503" in cut.out, "taken" in cut.out) == (True, False)
    assert cut.err == "1 more cause; --limit shows them\n"


def test_each_cause_is_told_with_what_to_do_about_it(cli: Terminal, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    road.sql("update instance set code = 'unauthorised', error = 'CrowdTwist: refused our credentials' where id = 2")
    road.sql("update instance set error = 'CrowdTwist: answered something that is not JSON' where id = 3")
    said = " ".join(cli("dead-letters").out.split())
    assert "1 unauthorised at CrowdTwist: CrowdTwist refused our credentials: test the connection" in said
    assert "1 unavailable at CrowdTwist: Not CrowdTwist itself answered" in said
    assert "1 unavailable at CrowdTwist: CrowdTwist was up and failed on these members" in said


def test_dead_letters_are_listed_and_data_errors_shown_by_state(cli: Terminal, road: Road) -> None:
    road.dead("M-1")
    road.accept("M-2")
    road.travel(ALWAYS_REFUSED)
    listed = cli("dead-letters", "--list", "--json").json["items"]
    assert [item["member_number"] for item in listed] == ["M-1"]
    (refused,) = cli("dead-letters", "--state", "rejected", "--json").json["items"]
    assert (refused["code"], refused["count"]) == ("data_error", 1)
    nothing = cli("dead-letters", "--stage", "oic", "--json")
    assert (nothing.code, nothing.json) == (1, {"items": [], "next": None})
    assert cli("dead-letters", "--state", "completed").code == 2


def test_one_is_requeued_without_a_question_and_followed_to_its_end(cli: Terminal, road: Road) -> None:
    road.dead("M-1")
    with busy(road):
        ran = cli("requeue", "1")
    assert ran.code == 0, ran.err
    assert "1  will be sent" in ran.out
    assert "1 succeeded" in ran.out
    assert road.states() == {"completed": 1}


def test_a_dry_run_shows_every_verdict_and_changes_nothing(cli: Terminal, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3", "M-4")
    road.accept("M-2", minute=1)
    road.travel()
    road.accept("M-3", minute=1)
    road.dead("M-4", minute=1)
    road.sql("update instance set state = 'pending', stage = 'oic', finished_at = null where id = 6")
    before = road.states()
    ran = cli("requeue", "1", "2", "3", "4", "--dry-run")
    assert ran.code == 0
    for line in (
        "1  will be sent",
        "1  closed as superseded: a newer success overtook it",
        "1  merged into a newer pending event",
        "1  refused",
    ):
        assert line in ran.out
    assert "requeue the newer one (instance 7)" in ran.out
    assert (road.states(), road.sql("select count(*) from job")) == (before, [0])
    counts = cli("requeue", "1", "2", "3", "4", "--dry-run", "--json").json["plan"]["counts"]
    assert counts == {"send": 1, "merged": 1, "superseded": 1, "refused": 1}


def test_many_need_a_reason_and_a_yes(cli: Terminal, road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.dead("M-1", "M-2")
    assert cli("requeue", "--code", "unavailable", "--yes").code == 2
    assert cli("requeue", "--code", "unavailable", *WELL, "--json").code == 2
    for answer in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        asked = cli("requeue", "--code", "unavailable", *WELL)
        assert (asked.code, road.sql("select count(*) from job")) == (1, [0])
        assert "Requeue 2 instances?" in asked.err
    with busy(road):
        done = cli("requeue", "--code", "unavailable", *WELL, "--yes", "--json")
    assert (done.code, done.json["job"]["state"], done.json["job"]["counts"]["succeeded"]) == (0, "done", 2)
    assert road.sql("select what, reason, count, denied, asked from operator_action") == [
        ("requeue", "CrowdTwist is well again", 2, False, {"filter": {"codes": ["unavailable"]}})
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["requeue"],
        ["requeue", "x1"],
        ["requeue", "1", "--code", "bug"],
        ["requeue", "1", "--rate", "0"],
        ["discard", "1"],
        ["jobs", "--stop"],
    ],
)
def test_what_cannot_be_meant_ends_with_2(cli: Terminal, road: Road, arguments: list[str]) -> None:
    road.dead("M-1")
    assert cli(*arguments).code == 2
    assert road.states() == {"dead": 1}


def test_nothing_matched_or_all_refused_ends_with_1(cli: Terminal, road: Road) -> None:
    road.accept("M-1")
    assert cli("requeue", "--stage", "oic", *WELL).code == 1
    refused = cli("requeue", "1")
    assert refused.code == 1
    assert refused.out.count("\n") == 1, "a refusal is said once"
    assert refused.out.strip().startswith("instance 1 of member M-1: refused, it is pending")


def test_many_refusals_are_counted_by_reason_and_a_few_named_one_by_one(cli: Terminal, road: Road) -> None:
    road.accept(*(f"M-{number}" for number in range(12)))
    few, many = (cli("requeue", *map(str, range(1, until)), "--dry-run").out for until in (4, 13))
    assert ("3  refused" in few, few.count("it is pending")) == (True, 3)
    assert "12 of them: it is pending" in many
    assert many.count("of member M-") == 10


def test_a_job_that_stops_by_itself_ends_with_1_and_says_why(cli: Terminal, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    with busy(road, ALWAYS_DOWN):
        ran = cli("requeue", "--state", "dead", *WELL, "--yes")
    assert ran.code == 1
    assert "stopped: 1 of 1 failed again" in ran.out
    advised = f"1 failed again: {advice.for_dead_letter('crowdtwist', 'unavailable', 'answered 503')}"
    assert advised in " ".join(ran.out.split())
    assert advised in " ".join(cli("jobs", "1").out.split())
    assert road.states() == {"dead": 3}


def test_a_job_is_left_to_itself_shown_and_stopped(cli: Terminal, road: Road) -> None:
    road.dead("M-1", "M-2")
    started = cli("requeue", "--state", "dead", *WELL, "--yes", "--no-wait", "--json").json
    assert started["job"]["state"] == "planned"
    assert [job["job_id"] for job in cli("jobs", "--json").json["items"]] == ["1"]
    stopped = cli("jobs", "1", "--stop", "--json")
    assert (stopped.code, stopped.json["state"], stopped.json["counts"]["put_back"]) == (0, "stopped", 2)
    again = cli("jobs", "1", "--stop")
    assert (again.code, cli("jobs", "1").code, cli("jobs", "9").code) == (1, 0, 1)
    assert "job 1 is over" in again.err
    assert road.sql("select what, answer from operator_action order by id") == [
        ("requeue", "job 1"),
        ("stop requeue", "stopped"),
        ("stop requeue", "refused: no such job, or it is over"),
    ]


def test_ctrl_c_leaves_the_job_running_and_says_so(road: Road, ledger_url: str) -> None:
    road.dead("M-1")
    with running("requeue", "1", MEMBERSYNC_LEDGER_URL=ledger_url) as process:
        eventually(lambda: road.sql("select count(*) from job") == [1], "a job")
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "job 1 goes on by itself" in err
    assert road.until_over(1).state == "done"


def test_discarding_wants_a_reason_and_is_final(cli: Terminal, road: Road) -> None:
    road.dead("M-1", "M-2")
    assert cli("discard", "1", "--dry-run").code == 0
    with busy(road):
        ran = cli("discard", "--code", "unavailable", "--reason", "test members", "--yes")
    assert ran.code == 0
    assert road.states() == {"discarded": 2}
    assert cli("discard", "1", "--reason", "again").code == 1


def test_a_rehearsal_shows_what_would_be_sent_differently_and_names_nobody(cli: Terminal, road: Road) -> None:
    road.dead("M-1")
    unpack_events(road.ledger)
    road.sql(
        """update payload set event_json = jsonb_set(cast(event_json as jsonb), '{member,first_name}', '"Anastasia"')"""
    )
    road.sql("""update mapping set user_json = '{"third_party_id": "M-1", "country_code": "FR", "city_id": 7}'""")
    ran = cli("requeue", "1", "--rehearse")
    assert ran.code == 0
    assert '  changed  country_code: "FR" -> "IN"' in ran.out
    assert '  added    first_name: null -> "A***"' in ran.out
    assert "Anastasia" not in ran.out
    (shown,) = cli("requeue", "1", "--rehearse", "--json").json["items"]
    assert (shown["outcome"], shown["member_number"]) == ("differs", "M-1")
    assert road.states() == {"dead": 1}
    road.sql("""update payload set event_json = jsonb_set(cast(event_json as jsonb), '{member,last_name}', '""')""")
    assert "Data Error: Contact" in cli("requeue", "1", "--rehearse").out

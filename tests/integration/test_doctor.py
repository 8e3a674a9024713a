"""`membersync doctor` on a real ledger, broker and simulators: what it finds, and that it only looks."""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from producers.doctor import broker
from producers.doctor.check import Subject
from producers.doctor.examination import CHECKS, WITHIN_S, examine
from producers.operations import broker_reached
from shared.ledger import connections, heartbeats
from shared.ledger.engine import transaction
from shared.lifecycle.breaker import Seen
from shared.pipeline import Stage
from shared.settings import CrowdTwistSettings, settings
from tests.commands import commands_in, parse
from tests.rabbit import need_rabbitmq, running_node, url_of
from tests.rig import Pipeline, eventually, member_event
from tests.road import Road
from tests.terminal import Terminal

STARTS_WITHIN_S = 60.0
BESIDE_THE_LEDGER = {"broker", "test of crowdtwist"}
if os.environ.get("MEMBERSYNC_TEST_BROKER") != "rabbitmq":  # which does not tell its clock
    BESIDE_THE_LEDGER.add("clock of the broker")
ALWAYS = {"ledger", *BESIDE_THE_LEDGER}


class Report:
    """What a doctor found, of whom no remedy is believed that cannot be typed."""

    def __init__(self, findings: list[dict[str, Any]], code: int = 0, text: str = "") -> None:
        self.code = code
        self.text = text
        self.findings = findings
        for one in findings:
            assert set(one) == {"check", "level", "looked_at", "found", "why", "remedy"}
            assert one["level"] == "ok" or (one["why"] and one["remedy"]), one
            for command in commands_in(one["remedy"]):
                parse(command)

    def all(self, check: str) -> list[dict[str, Any]]:
        return [one for one in self.findings if one["check"] == check]

    def the(self, check: str) -> dict[str, Any]:
        (found,) = self.all(check)
        return found


class Doctor:
    """Somebody who types `membersync doctor --json`, or makes one check alone."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __call__(self, *arguments: str) -> Report:
        ran = self._terminal("doctor", "--json", *arguments)
        assert set(ran.json) == {"ok", "verdict", "findings"}
        assert ran.json["ok"] is (ran.code == 0)
        return Report(ran.json["findings"], ran.code, ran.out + ran.err)

    def look(self, name: str) -> Report:
        settings.cache_clear()
        checks = [check for check in CHECKS if check.name == name]
        return Report([asdict(one) for one in examine(Subject(settings(), offline=True), checks=checks)])


@pytest.fixture
def doctor(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Doctor]:
    """A terminal with the settings of a pipeline."""
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_")]:
        monkeypatch.delenv(name)
    for name, value in pipeline.environment.items():
        if name.startswith("MEMBERSYNC_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("MEMBERSYNC_HOME", str(pipeline.logs))
    monkeypatch.setattr(heartbeats, "SILENT_S", 60.0)  # who is well on a machine that has much else to do, is well
    yield Doctor(Terminal(capsys))
    settings.cache_clear()


def everything(pipeline: Pipeline) -> list[Any]:
    """Return all that a doctor might change."""
    tables = ("connection", "operator_action", "connection_change", "instance", "job", "mail")
    return [pipeline.sql(f"select * from {table} order by 1") for table in tables]  # our own tables


def bring_down(pipeline: Pipeline) -> None:
    rules = replace(CrowdTwistSettings().breaker_rules, failures=1, members=1, probe_first_s=600)
    with transaction(pipeline.ledger) as tx:
        seen = Seen(is_up=False, failed={1: "M-1"}, error="CrowdTwist: answered 503, says ann.lee@example.org")
        connections.observe(tx, Stage.CROWDTWIST, seen, rules)


@contextmanager
def altered(pipeline: Pipeline, revision: str, serves_from: str = "0046") -> Iterator[None]:
    """The ledger as another version left it."""
    (before,) = pipeline.sql("select version_num from alembic_version")
    change = "update alembic_version set version_num = '{}'; update compatibility set serves_from = '{}'"
    pipeline.sql(change.format(revision, serves_from))
    try:
        yield
    finally:
        pipeline.sql(change.format(before, "0046"))


def test_where_everything_works_nothing_is_wrong_and_nothing_is_changed(doctor: Doctor, pipeline: Pipeline) -> None:
    with pipeline.whole():
        eventually(lambda: pipeline.sql("select count(*) from heartbeat") == [3], "who is at work")
        before = everything(pipeline)
        report = doctor()
    assert [one for one in report.findings if one["level"] != "ok"] == []
    assert report.code == 0
    assert {one["check"] for one in report.findings} >= {
        *ALWAYS,
        "dispatcher",
        "workers",
        "leases",
        "due instances",
        "jobs",
        "mail",
    }
    assert "w1@test" in str(report.findings)
    assert everything(pipeline) == before


def test_offline_it_calls_nobody_and_without_our_processes_it_says_which_to_start(
    doctor: Doctor, pipeline: Pipeline
) -> None:
    report = doctor("--offline")
    assert [pipeline.sandbox.control.state(name)["calls_total"] for name in ("crowdtwist", "siebel")] == [0, 0]
    assert report.code == 1
    assert report.the("dispatcher")["level"] == "fail"
    assert "`membersync dispatcher`" in report.the("dispatcher")["remedy"]
    assert "`membersync worker --lane live`" in report.the("workers")["remedy"]


def test_a_lane_that_nobody_serves_is_named(doctor: Doctor, pipeline: Pipeline) -> None:
    with pipeline.process("-m", "celery", "-A", "workers.app", "worker", "-n", "w@test", "-Q", "oic.live"):
        eventually(lambda: len(doctor.look("workers").findings) > 1, "a worker that answers")
        live, bulk = doctor.look("workers").findings
    assert live["found"] == "nobody consumes crowdtwist.live, siebel.live"
    assert "--lane bulk" in bulk["remedy"]


def test_a_paused_connection_is_told_with_who_and_why(doctor: Doctor, pipeline: Pipeline) -> None:
    with transaction(pipeline.ledger) as tx:
        connections.pause(tx, Stage.SIEBEL, by="olga", reason="their window")
    found = doctor.look("connections").the("connection siebel")
    assert found["level"] == "warn"
    assert "paused by olga" in found["found"]
    assert "their window" in found["found"]
    assert "`membersync connections resume siebel`" in found["remedy"]


def test_a_connection_that_is_down_stays_so_though_its_test_passes(doctor: Doctor, pipeline: Pipeline) -> None:
    bring_down(pipeline)
    before = everything(pipeline)
    report = doctor()
    assert report.the("connection crowdtwist")["level"] == "fail"
    assert "answered 503, says a***@e***.org" in report.the("connection crowdtwist")["found"]
    assert report.the("test of crowdtwist")["level"] == "ok"
    assert everything(pipeline) == before
    assert pipeline.sql("select calls from spend where name = 'crowdtwist'") == [1]
    pipeline.sql("update connection set last_error = 'CrowdTwist: refused our credentials'")
    remedy = doctor.look("connections").the("connection crowdtwist")["remedy"]
    assert "correct MEMBERSYNC_CROWDTWIST__API_KEY" in remedy


def test_a_test_that_fails_says_why(doctor: Doctor, pipeline: Pipeline) -> None:
    pipeline.sandbox.control.fault("siebel", "maintenance")
    found = doctor().the("test of siebel")
    assert (found["level"], "[unavailable]" in found["found"]) == ("fail", True)


def test_while_the_ledger_is_away_the_other_checks_go_on(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", "postgresql://ann:secret@127.0.0.1:1/none")
    report = doctor()
    assert report.code == 1
    assert report.the("ledger")["level"] == "fail"
    assert "refused" in report.the("ledger")["found"]
    assert "secret" not in report.text
    assert {report.the(check)["level"] for check in BESIDE_THE_LEDGER} == {"ok"}
    assert "could not be looked at" in report.the("leases")["found"]
    assert "ledger" in report.the("leases")["remedy"]


def test_while_the_broker_is_away_the_other_checks_go_on(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERSYNC_BROKER_URL", "redis://:secret@127.0.0.1:1/0")
    report = doctor("--offline")
    assert report.the("broker")["level"] == "fail"
    assert "could not be looked at" in report.the("workers")["found"]
    assert report.the("ledger")["level"] == "ok"
    assert "secret" not in report.text


def test_where_nobody_answers_it_ends_all_the_same(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        where = f"127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", f"postgresql://{where}/none")
        monkeypatch.setenv("MEMBERSYNC_BROKER_URL", f"redis://{where}/0")
        for name in ("CROWDTWIST", "SIEBEL"):
            monkeypatch.setenv(f"MEMBERSYNC_{name}__BASE_URL", f"http://{where}")
        began = time.monotonic()
        report = doctor()
    assert time.monotonic() - began < WITHIN_S + STARTS_WITHIN_S
    assert {report.the(check)["level"] for check in ("ledger", "broker", "test of siebel")} == {"fail"}


def test_an_old_schema_and_one_of_the_future_are_told_apart(doctor: Doctor, pipeline: Pipeline) -> None:
    with altered(pipeline, "0001"):
        old = doctor.look("ledger's schema").the("ledger's schema")
    with altered(pipeline, "9999", serves_from="9000"):
        future = doctor.look("ledger's schema").the("ledger's schema")
    assert (old["level"], old["remedy"]) == ("fail", "`membersync migrate`")
    assert (future["level"], "newer version" in future["why"]) == ("fail", True)


def test_a_lease_that_nobody_gives_back_is_found(doctor: Doctor, pipeline: Pipeline) -> None:
    road = Road(pipeline.ledger)
    road.accept("M-1", "M-2")
    road.claim()
    assert doctor.look("leases").the("leases")["found"] == (
        "2 running, 2 of them wait in the broker for a worker; no lease is overdue"
    )
    road.sql("update instance set lease_until = now() - interval '3 minutes' where member_number = 'M-1'")
    found = doctor.look("leases").the("leases")
    assert (found["level"], found["found"]) == ("fail", "1 of 2: the lease ran out, the oldest 3 min ago")
    assert "`membersync dispatcher`" in found["remedy"]


def test_what_is_due_for_long_while_nothing_ends_is_found(doctor: Doctor, pipeline: Pipeline) -> None:
    road = Road(pipeline.ledger)
    road.accept("M-1")
    assert doctor.look("due instances").the("due instances")["level"] == "ok"
    road.sql("update instance set due_at = now() - interval '6 minutes'")
    found = doctor.look("due instances").the("due instances")
    assert (found["level"], found["looked_at"]) == ("fail", "what is due in the live lane at OIC")
    road.accept("M-2")
    road.sql("update instance set due_at = now() + interval '1 hour' where member_number = 'M-1'")
    road.travel()
    road.sql("update instance set due_at = now() - interval '6 minutes' where member_number = 'M-1'")
    assert doctor.look("due instances").the("due instances")["level"] == "ok"


def test_what_hanging_workers_leave_in_the_broker_is_found(doctor: Doctor, pipeline: Pipeline) -> None:
    road = Road(pipeline.ledger)
    road.accept("M-1")
    road.claim()
    road.sql("update instance set due_at = now() - interval '6 minutes'")
    assert doctor.look("due instances").the("due instances")["level"] == "fail"


def test_a_job_that_nobody_takes_further_is_found(doctor: Doctor, pipeline: Pipeline) -> None:
    pipeline.sql("""
        insert into job (kind, requested_by, reason, asked, size, next_at)
        values ('requeue', 'olga', 'well again', '{}', 1, now() - interval '2 minutes')
    """)
    found = doctor.look("jobs").the("jobs")
    assert (found["level"], "job 1 (requeue)" in found["found"]) == ("warn", True)
    assert "`membersync jobs 1 --stop`" in found["remedy"]


def test_stray_messages_of_late_are_told_and_older_ones_are_not(doctor: Doctor, pipeline: Pipeline) -> None:
    columns = "insert into stray_message (at, queue, reason, headers, body) values"
    pipeline.sql(f"{columns} (now() - interval '2 days', 'oic.live', 'an old one', '', '')")
    assert doctor.look("stray messages").the("stray messages")["level"] == "ok"
    pipeline.sql(f"{columns} (now(), 'oic.bulk', 'no task of that name', '', '')")
    found = doctor.look("stray messages").the("stray messages")
    assert (found["level"], "in oic.bulk: no task of that name" in found["found"]) == ("warn", True)


def test_mail_that_waits_for_long_is_told_with_the_servers_last_answer(doctor: Doctor, pipeline: Pipeline) -> None:
    pipeline.sql("insert into mail (kind, subject, plain, html, last_error) values ('up', 's', 'p', 'h', '451 later')")
    assert doctor.look("mail").the("mail")["level"] == "ok"
    pipeline.sql("update mail set created_at = now() - interval '1 hour'")
    found = doctor.look("mail").the("mail")
    assert (found["level"], found["found"]) == ("warn", "1 wait, the oldest for 60 min: 451 later")
    pipeline.sql("update mail set sent_at = now(), last_error = '550 no such user'")
    found = doctor.look("mail").the("mail")
    assert (found["level"], found["found"]) == ("warn", "not all of it was taken: 550 no such user")


def test_a_misspelt_variable_is_told_with_the_one_that_was_meant(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("MEMBERSYNC_SIEBEL__PASSWORT=x\n", encoding="utf-8")
    monkeypatch.setenv("MEMBERSYNC_CROWDTWIST__BUDGET_PERMINUTE", "1")
    monkeypatch.setenv("MEMBERSYNC_ZZ", "1")
    monkeypatch.setenv("MEMBERSYNC_TOKEN", "of produce")
    monkeypatch.setenv("MEMBERSYNC_SIEBEL__FIELD_NAMES__ROW_ID", "Id")
    found = doctor.look("settings").findings
    assert [(one["level"], one["remedy"]) for one in found] == [
        ("warn", "rename it to MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE"),
        ("warn", "rename it to MEMBERSYNC_SIEBEL__PASSWORD"),
        ("warn", "remove it; .env.example lists every setting"),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CROWDTWIST__API_KEY": ""}, "MEMBERSYNC_CROWDTWIST__API_KEY: not set"),
        ({"SIEBEL__USERNAME": "", "SIEBEL__PASSWORD": ""}, "__USERNAME, MEMBERSYNC_SIEBEL__PASSWORD: not set"),
        ({"OIC__MODE": "remote", "OIC__TOKEN_URL": "http://t"}, "__CLIENT_ID, MEMBERSYNC_OIC__CLIENT_SECRET: not set"),
        ({"OIC__MODE": "remote"}, "MEMBERSYNC_OIC__USERNAME, MEMBERSYNC_OIC__PASSWORD: not set"),
        ({"SIEBEL__BASE_URL": ""}, "MEMBERSYNC_SIEBEL__BASE_URL is not set"),
        ({"API__HOST": "0.0.0.0"}, "MEMBERSYNC_API__TOKENS is not set"),  # noqa: S104  # that it is open is the point
    ],
)
def test_a_setting_that_is_missing_or_open_is_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(f"MEMBERSYNC_{name}", value)
    found = doctor.look("settings").the("settings")
    assert (found["level"], said in found["found"]) == ("fail", True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"API__PORT": "many"}, "MEMBERSYNC_API__PORT: Input should be a valid integer"),
        ({"API__TOKENS": "secret"}, "MEMBERSYNC_API__TOKENS is not valid JSON"),
        ({"DISPATCHER__LEASE_S": "10"}, "dispatcher.lease_s (10.0) must exceed"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named_and_not_shown(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(f"MEMBERSYNC_{name}", value)
    report = doctor()
    assert (report.code, report.the("settings")["level"]) == (1, "fail")
    assert said in report.the("settings")["found"]
    assert "secret" not in report.text


def test_with_no_settings_at_all_it_says_what_to_set(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_") and name != "MEMBERSYNC_HOME"]:
        monkeypatch.delenv(name)
    report = doctor("--offline")
    assert report.code == 1
    assert "MEMBERSYNC_LEDGER_URL" in report.the("ledger")["found"]
    assert "`membersync up`" in report.the("ledger")["remedy"]


def test_beside_a_running_stack_its_servers_and_simulators_are_examined(
    doctor: Doctor, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_") and name != "MEMBERSYNC_HOME"]:
        monkeypatch.delenv(name)
    stack = {
        "pid": os.getpid(),
        "ledger_url": pipeline.ledger_url,
        "broker_url": pipeline.broker_url,
        "sandbox": {"crowdtwist": pipeline.sandbox.crowdtwist, "siebel": pipeline.sandbox.siebel},
    }
    (pipeline.logs / "stack.json").write_text(json.dumps(stack), encoding="utf-8")
    report = doctor()
    assert {report.the(check)["level"] for check in (*ALWAYS, "test of siebel", "settings", "disk")} == {"ok"}
    assert report.the("disk")["looked_at"] == str(pipeline.logs)


def test_rabbitmq_is_examined_too(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need_rabbitmq()
    monkeypatch.setattr(broker, "_ANSWERS_WITHIN_S", (0.5,))  # nobody is there who could
    with running_node(tmp_path) as node:
        monkeypatch.setenv("MEMBERSYNC_BROKER_URL", url_of(node))
        report = doctor("--offline")
        alarms = ("set_vm_memory_high_watermark", "0", "0.4"), ("set_disk_free_limit", "1000000GB", "50MB")
        for command, alarm, usual in alarms:
            node.control(command, alarm)
            low = "memory" if "memory" in command else "disk"
            eventually(lambda: doctor.look("broker").the("broker")["level"] == "fail", "an alarm")
            found, refusal = doctor.look("broker").the("broker"), f"blocks who publishes: low on {low}"
            assert found["found"].endswith(refusal)
            assert "`rabbitmq-diagnostics alarms`" in found["remedy"]
            assert broker_reached.refusal_of(url_of(node)) == refusal
            node.control(command, usual)
            eventually(lambda: doctor.look("broker").the("broker")["level"] == "ok", "none")
    assert re.fullmatch(r"RabbitMQ \d+\.\d+.* answers", report.the("broker")["found"])
    assert report.the("broker's queues")["found"] == "empty"
    assert "no worker answers" in report.the("workers")["found"]


def test_an_event_on_its_way_is_nothing_to_worry_about(doctor: Doctor, pipeline: Pipeline) -> None:
    pipeline.send(member_event("M-1"))
    assert doctor.look("due instances").the("due instances")["found"] == "1 live at OIC"

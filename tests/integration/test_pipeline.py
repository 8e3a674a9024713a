"""Real dispatcher and worker processes on a real ledger and broker: what must hold of the whole."""

import json
import os
import signal

import psutil
import pytest
from kombu import Connection, Consumer, Message, Producer, Queue

from shared.broker import transport_options
from tests.rig import Pipeline, eventually, flush, member_event, messages


def test_events_arrive_in_crowdtwist_and_their_status_in_siebel(pipeline: Pipeline) -> None:
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(120)))
        eventually(lambda: pipeline.states() == {"completed": 120}, "all completed")
    control = pipeline.sandbox.control
    assert {user["third_party_id"] for user in control.users()} == {f"M-{index}" for index in range(120)}
    assert {member["status"] for member in control.members()} == {"Success"}
    assert control.state("crowdtwist")["posts"] == 120
    assert control.state("siebel")["puts"] < 60


def test_five_hundred_updates_of_one_member_end_with_the_last_and_never_overlap(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.set("crowdtwist", latency_ms=20)
    with pipeline.whole():
        for index in range(500):
            pipeline.send(member_event("M-1", minute=index, last_name=f"L{index}"))
        eventually(pipeline.settled, "all settled")
    state = pipeline.sandbox.control.state("crowdtwist")
    user = pipeline.sandbox.control.user("M-1")
    assert user is not None
    assert user["last_name"] == "L499"
    assert state["max_in_flight_per_member"] == 1
    assert state["posts"] + state["puts"] < 250
    assert pipeline.states().keys() == {"completed", "superseded"}


def test_a_data_error_reaches_siebel_in_crowdtwists_words(pipeline: Pipeline) -> None:
    with pipeline.whole():
        pipeline.send(member_event("M-1", email_address="same@example.org"))
        eventually(lambda: pipeline.states() == {"completed": 1}, "the first")
        receipt = pipeline.send(member_event("M-2", email_address="same@example.org"))[0]
        eventually(lambda: pipeline.states().get("rejected") == 1, "the second")
    member = pipeline.sandbox.control.call("GET", "siebel/members", row_id="1-M-2").json()
    assert member["status"] == "Data Error"
    assert member["error"] == f"Email Address is already taken [instance {receipt.instance_id}]"


def test_a_short_outage_heals_by_itself(pipeline: Pipeline) -> None:
    fault = pipeline.sandbox.control.fault("crowdtwist", "maintenance")
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(5)))
        eventually(lambda: pipeline.sandbox.control.state("crowdtwist")["calls_total"] >= 3, "some failed calls")
        pipeline.sandbox.control.heal("crowdtwist", fault)
        eventually(lambda: pipeline.states() == {"completed": 5}, "all completed")


def test_a_killed_worker_process_costs_a_lease_and_nothing_else(pipeline: Pipeline) -> None:
    pipeline.settings |= {
        "MEMBERSYNC_DISPATCHER__LEASE_S": "8",
        "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "3",
        "MEMBERSYNC_OIC__TIMEOUT_S": "3",
        "MEMBERSYNC_SIEBEL__TIMEOUT_S": "3",
    }
    pipeline.sandbox.control.set("crowdtwist", latency_ms=1000)
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(40)))
        eventually(lambda: pipeline.sandbox.control.state("crowdtwist")["in_flight"] > 10, "calls under way")
        for child in psutil.Process(pipeline.running[1].pid).children():
            os.kill(child.pid, signal.SIGKILL)
        pipeline.sandbox.control.set("crowdtwist", latency_ms=0)
        eventually(lambda: pipeline.states() == {"completed": 40}, "all completed")
    assert len(pipeline.sandbox.control.users()) == 40
    assert pipeline.sandbox.control.state("crowdtwist")["max_in_flight_per_member"] == 1


def test_a_broker_that_forgets_everything_costs_only_latency(pipeline: Pipeline) -> None:
    pipeline.settings |= {"MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "1"}
    with pipeline.process("-m", "producers.cli", "dispatcher"):
        pipeline.send(*(member_event(f"M-{index}") for index in range(30)))
        eventually(lambda: bool(messages(pipeline.broker_url, "oic.live")), "a message in the queue")
        flush(pipeline.broker_url)
        with pipeline.worker():
            eventually(lambda: pipeline.states() == {"completed": 30}, "all completed")


def test_one_slow_member_holds_up_neither_its_batch_nor_the_next(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.fault("crowdtwist", "slow", member="M-3", seconds=12)
    pipeline.settings |= {"MEMBERSYNC_WORKER__PATIENCE_S": "0.5"}
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(20)))
        eventually(lambda: pipeline.states().get("completed") == 19, "the others", within_s=9)
        pipeline.send(*(member_event(f"N-{index}") for index in range(5)))
        eventually(lambda: pipeline.states().get("completed") == 24, "the next batch", within_s=9)
        eventually(lambda: pipeline.states() == {"completed": 25}, "the slow one too")


def test_messages_on_the_broker_hold_ids_and_no_persons_data(pipeline: Pipeline) -> None:
    with pipeline.process("-m", "producers.cli", "dispatcher"):
        pipeline.send(member_event("M-1", first_name="Zebulon", last_name="Quixote", postal_code="90210"))
        eventually(lambda: bool(messages(pipeline.broker_url, "oic.live")), "a message in the queue")
    ((headers, raw),) = messages(pipeline.broker_url, "oic.live")
    assert headers["argsrepr"] == "1 member: M-1"
    for word in (b"Zebulon", b"Quixote", b"90210", b"example.org", b"sandbox-key"):
        assert word not in raw


def test_logs_are_json_lines_without_persons_data(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.fault("crowdtwist", "status", member="M-1", status=500, times=1)
    with pipeline.whole():
        pipeline.send(member_event("M-1", first_name="Zebulon", last_name="Quixote", postal_code="90210"))
        pipeline.send(member_event("M-2", last_name="", first_name="Zebulon"))
        eventually(lambda: pipeline.states() == {"completed": 1, "rejected": 1}, "both ended")
    logged = pipeline.log_text()
    for word in ("Zebulon", "Quixote", "90210", "example.org", "sandbox-key", "SADMIN"):
        assert word not in logged
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    failed = [line for line in lines if line["event"] == "failed"]
    assert {(line["stage"], line["code"]) for line in failed} == {("crowdtwist", "unavailable"), ("oic", "data_error")}
    assert all("timestamp" in line and "process" in line for line in lines)


@pytest.mark.parametrize("auth", ["oauth2", "basic"])
def test_the_flow_runs_in_oracle_integration_when_it_is_remote(pipeline: Pipeline, auth: str) -> None:
    pipeline.settings |= {"MEMBERSYNC_OIC__MODE": "remote"} | (
        {
            "MEMBERSYNC_OIC__TOKEN_URL": f"{pipeline.sandbox.oic}/oauth2/v1/token",
            "MEMBERSYNC_OIC__CLIENT_ID": "membersync",
            "MEMBERSYNC_OIC__CLIENT_SECRET": "secret",
        }
        if auth == "oauth2"
        else {"MEMBERSYNC_OIC__USERNAME": "oic", "MEMBERSYNC_OIC__PASSWORD": "oic-password"}
    )
    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(5)))
        eventually(lambda: pipeline.states() == {"completed": 5}, "all completed")
    assert pipeline.sandbox.control.state("oic")["instances"] == 5
    assert len(set(pipeline.sql("select oic_instance_id from mapping"))) == 5
    assert len(pipeline.sandbox.control.users()) == 5


def test_the_same_events_sent_twice_cause_no_second_call(pipeline: Pipeline) -> None:
    events = [member_event(f"M-{index}") for index in range(10)]
    with pipeline.whole():
        pipeline.send(*events)
        eventually(lambda: pipeline.states() == {"completed": 10}, "all completed")
        calls = pipeline.sandbox.control.state("crowdtwist")["calls_total"]
        assert {receipt.outcome for receipt in pipeline.send(*events)} == {"duplicate"}
        later = [member_event(f"M-{index}", minute=1) for index in range(10)]
        assert {receipt.outcome for receipt in pipeline.send(*later)} == {"unchanged"}
        assert pipeline.settled()
    assert pipeline.sandbox.control.state("crowdtwist")["calls_total"] == calls


def test_a_worker_of_both_lanes_takes_live_before_bulk_every_time(valkey_url: str) -> None:
    flush(valkey_url)
    taken: list[str] = []

    def take(body: str, message: Message) -> None:
        taken.append(body)
        message.ack()

    queues = [Queue(name, routing_key=name) for name in ("oic.live", "oic.bulk")]
    with (
        Connection(valkey_url, transport_options=transport_options(valkey_url)) as connection,
        Consumer(connection, queues, callbacks=[take]),
        Producer(connection) as producer,
    ):
        for sent in ("oic.live",), ("oic.bulk", "oic.live"):  # in turns, the queue that was taken from would be last
            for name in sent:
                producer.publish(name, routing_key=name)
            for _ in sent:
                connection.drain_events(timeout=5)
    assert taken == ["oic.live", "oic.live", "oic.bulk"]

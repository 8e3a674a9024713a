"""The same pipeline on RabbitMQ: quorum queues, confirmed publishing, and a broker that restarts."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from kombu import Connection, Producer

from deploy.local.programs import free_port
from producers.doctor import broker
from producers.doctor.check import Level, Subject
from shared.broker import ask_workers, transport_options
from shared.settings import Settings
from tests.network import AUTHORITY, CLIENT, CLIENTS_AUTHORITY, SERVER
from tests.rabbit import Node, need_rabbitmq, running_node, running_rabbitmq, url_of
from tests.rig import Pipeline, eventually, member_event

NOBODY = "127.0.0.2"
TLS_PORT = free_port()
_TLS = (
    f"listeners.ssl.1 = 127.0.0.1:{TLS_PORT}",
    f"ssl_options.certfile = {SERVER}",
    f"ssl_options.keyfile = {SERVER}",
    f"ssl_options.cacertfile = {CLIENTS_AUTHORITY}",
    "ssl_options.verify = verify_peer",
    "ssl_options.fail_if_no_peer_cert = true",
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    need_rabbitmq()
    with running_node(tmp_path_factory.mktemp("rabbitmq"), *_TLS) as node:
        yield node


@pytest.fixture
def on_rabbitmq(pipeline: Pipeline, node: Node) -> Pipeline:
    return replace(pipeline, broker_url=url_of(node))


def test_events_arrive_through_rabbitmq(on_rabbitmq: Pipeline) -> None:
    with on_rabbitmq.whole():
        on_rabbitmq.send(*(member_event(f"M-{index}") for index in range(60)))
        eventually(lambda: on_rabbitmq.states() == {"completed": 60}, "all completed")
    assert {member["status"] for member in on_rabbitmq.sandbox.control.members()} == {"Success"}


def test_a_broker_that_is_away_is_waited_for(on_rabbitmq: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    with running_rabbitmq(folder) as url:
        away = replace(on_rabbitmq, broker_url=url)
        with away.process("-m", "producers.cli", "dispatcher"):
            away.send(member_event("M-1"))
            eventually(lambda: "published" in away.log_text(), "published")
    away = replace(on_rabbitmq, running=[])
    with away.whole():
        eventually(lambda: away.states() == {"completed": 1}, "completed on another broker")


def stands(pid: int) -> bool:
    """Tell whether a process that was sent SIGSTOP does nothing any more: a moment later, on a busy machine."""
    return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}


def test_a_publisher_waits_for_a_frozen_broker_no_longer_than_it_must(node: Node) -> None:
    """Otherwise for ever, and a dispatcher with it."""
    url = url_of(node)
    with Connection(url, transport_options=transport_options(url)) as connection:
        producer = Producer(connection)
        producer.publish("confirmed", routing_key="nobody")
        pids = node.pids()
        assert pids
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            eventually(lambda: all(map(stands, pids)), "all of it stands")
            with pytest.raises(TimeoutError):
                producer.publish("never confirmed", routing_key="nobody")
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@pytest.mark.usefixtures("node")
def test_rabbitmq_is_known_by_its_certificate_and_knows_us_by_ours(tmp_path: Path) -> None:
    ours = f"ssl_certfile={CLIENT}"
    silent = f"{NOBODY}:{TLS_PORT}"
    for options, said, level in (
        (f"ssl_ca_certs={AUTHORITY}&{ours}", f"answers; not at {silent}", Level.WARN),
        (f"ssl_ca_certs={AUTHORITY}", "certificate required|EOF occurred|reset by peer", Level.FAIL),
        (f"ssl_ca_certs={CLIENTS_AUTHORITY}&{ours}", "certificate verify failed", Level.FAIL),
        (f"ssl_ca_certs={tmp_path}/none.pem&{ours}", "none.pem cannot be read", Level.FAIL),
    ):
        url = f"amqps://guest:guest@localhost:{TLS_PORT},{silent},127.0.0.1:{TLS_PORT}//?{options}"
        found = broker.look_at_broker(Subject(Settings(_env_file=None, broker_url=url)))[0]
        # After a handshake of TLS 1.3 the server says what it lacks and closes: luck decides which of both is heard.
        assert any(words in found.found for words in said.split("|")), found.found
        assert found.level is level
    assert ask_workers(url.replace(f"{tmp_path}/none.pem", str(AUTHORITY)), "ping", within_s=0.1) == {}

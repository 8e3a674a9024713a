"""What others put on the broker: filed at once, obeyed never, and the worker lives on as if nothing had come."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import amqp
import psutil
import pytest
import redis
from celery import Celery
from kombu import Connection, Exchange, Producer

from shared.broker import ask_workers
from shared.pipeline import Lane, Stage
from tests import forgeries
from tests.rabbit import need_rabbitmq, running_rabbitmq
from tests.rig import DISPATCHER, Pipeline, eventually, member_event

_LIVE = Stage.OIC.queue(Lane.LIVE)
_STALL_S = 30.0
"""What a stalled child, or a worker that starts again, takes longer than."""


def _envelopes() -> dict[str, Any]:
    found = {f"body: {kind}": forgeries.envelope(body) for kind, body in forgeries.BODIES.items()}
    found |= {f"header: {kind}": forgeries.envelope(**changes) for kind, changes in forgeries.HEADERS.items()}
    found |= {f"envelope: {kind}": envelope for kind, envelope in forgeries.ENVELOPES.items()}
    for number, envelope in enumerate(found.values()):
        tag = envelope["properties"].get("delivery_tag") if _has_properties(envelope) else None
        if isinstance(tag, str):
            envelope["properties"]["delivery_tag"] = f"{number:08x}{tag[8:]}"
    return found


def _has_properties(envelope: object) -> bool:
    return isinstance(envelope, dict) and isinstance(envelope.get("properties"), dict)


def _processes(pipeline: Pipeline) -> set[int]:
    worker = psutil.Process(pipeline.running[1].pid)
    return {worker.pid, *(child.pid for child in worker.children())}


def _strays(pipeline: Pipeline) -> int:
    return int(pipeline.sql("select count(*) from stray_message")[0])


def test_every_forgery_is_filed_at_once_and_the_same_worker_goes_on(on_valkey: Pipeline) -> None:
    forged = [json.dumps(one).encode() for one in _envelopes().values()] + list(forgeries.TEXTS.values())
    with on_valkey.whole(), redis.Redis.from_url(on_valkey.broker_url) as client:
        on_valkey.send(member_event("M-0"))
        eventually(lambda: on_valkey.states() == {"completed": 1}, "the first")
        before = _processes(on_valkey)
        began = time.monotonic()
        for text in forged:
            client.lpush(_LIVE, text)
        on_valkey.send(member_event("M-1"))
        eventually(lambda: on_valkey.states() == {"completed": 2}, "the good event behind them", within_s=_STALL_S)
        assert time.monotonic() - began < _STALL_S
        eventually(lambda: _strays(on_valkey) == len(forged), "all filed", within_s=_STALL_S)
        assert _processes(on_valkey) == before
        eventually(lambda: client.hlen("unacked") == 0, "nothing left unacknowledged", within_s=_STALL_S)
    assert set(on_valkey.sql("select queue from stray_message")) == {_LIVE}
    assert "Traceback" not in on_valkey.log_text()


def test_an_order_from_outside_is_refused_and_a_question_is_answered(pipeline: Pipeline) -> None:
    with pipeline.whole():
        pipeline.send(member_event("M-0"))
        eventually(lambda: pipeline.states() == {"completed": 1}, "the first")
        before = _processes(pipeline)
        with Celery("stranger", broker=pipeline.broker_url, set_as_current=False) as stranger:
            for method, arguments in forgeries.COMMANDS.items():
                stranger.control.broadcast(method, arguments=arguments)
        eventually(lambda: _strays(pipeline) == len(forgeries.COMMANDS), "all filed", within_s=_STALL_S)
        pipeline.send(*(member_event(f"M-{index}") for index in range(1, 20)))
        eventually(lambda: pipeline.states() == {"completed": 20}, "the others", within_s=_STALL_S)
        for question in ("ping", "stats", "active_queues", "active", "conf", "registered"):
            assert ask_workers(pipeline.broker_url, question, within_s=60, limit=1).keys() == {"w1@test"}
        assert _processes(pipeline) == before
    assert all("refused" in reason for reason in pipeline.sql("select reason from stray_message"))


def test_rubbish_in_the_remote_control_does_not_end_it(on_valkey: Pipeline) -> None:
    question = forgeries.envelope(json.dumps(forgeries.command("shutdown")).encode())
    rubbish = [*forgeries.TEXTS.values(), *(json.dumps(one).encode() for one in (*_envelopes().values(), question))]
    with on_valkey.worker(), redis.Redis.from_url(on_valkey.broker_url) as client:
        assert ask_workers(on_valkey.broker_url, "ping", within_s=60, limit=1)  # or it may not listen there yet
        before = _processes_of(on_valkey, 0)
        for text in rubbish:
            client.publish("/0.celery.pidbox", text)
        assert ask_workers(on_valkey.broker_url, "ping", within_s=_STALL_S, limit=1).keys() == {"w1@test"}
        eventually(lambda: _strays(on_valkey) == len(rubbish), f"all {len(rubbish)} filed", within_s=_STALL_S)
        assert _processes_of(on_valkey, 0) == before
    assert "Traceback" not in on_valkey.log_text()


def _processes_of(pipeline: Pipeline, index: int) -> set[int]:
    worker = psutil.Process(pipeline.running[index].pid)
    return {worker.pid, *(child.pid for child in worker.children())}


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need_rabbitmq()
    with running_rabbitmq(Path(tmp_path_factory.mktemp("rabbitmq"))) as url:
        yield url


def test_every_forgery_is_filed_on_rabbitmq_too(pipeline: Pipeline, rabbitmq_url: str) -> None:
    on = replace(pipeline, broker_url=rabbitmq_url)
    with on.whole(), Connection(rabbitmq_url) as connection:
        on.send(member_event("M-0"))
        eventually(lambda: on.states() == {"completed": 1}, "the first")
        before = _processes(on)
        producer = Producer(connection.channel(), Exchange(""), routing_key=_LIVE)
        sent = 0
        for body in forgeries.BODIES.values():
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            producer.publish(
                text, headers=forgeries.headers(), content_type="application/json", content_encoding="utf-8"
            )
            sent += 1
        for changes in forgeries.HEADERS.values():
            if _fits_amqp(changes):
                text = json.dumps(forgeries.body()).encode()
                producer.publish(
                    text,
                    headers=forgeries.headers(**changes),
                    content_type="application/json",
                    content_encoding="utf-8",
                )
                sent += 1
        for kind in ("application/x-python-serialize", "text/plain", "application/x-yaml"):
            producer.publish(b"x", headers=forgeries.headers(), content_type=kind, content_encoding="binary")
            sent += 1
        for properties in forgeries.PROPERTIES.values():
            _publish_raw(producer.channel, properties)
            sent += 1
        on.send(member_event("M-1"))
        eventually(lambda: on.states() == {"completed": 2}, "the good event behind them", within_s=_STALL_S)
        eventually(lambda: _strays(on) == sent, f"all {sent} filed", within_s=_STALL_S)
        assert _processes(on) == before


def _publish_raw(channel: Any, properties: dict[str, Any]) -> None:  # noqa: ANN401  # kombu's stubs have none
    """Send what is no JSON with *properties*, by way of an exchange whose messages may have any routing key."""
    channel.exchange_declare("forged", "fanout")
    channel.queue_bind(_LIVE, "forged")
    true = {"content_type": "application/json", "content_encoding": "utf-8", "application_headers": forgeries.headers()}
    message = amqp.Message(b"forged", **(true | properties))
    channel.basic_publish(message, exchange="forged", routing_key=b"\xff\xfe")


def _fits_amqp(changes: dict[str, Any]) -> bool:
    """Return whether AMQP's field tables, and Erlang, can carry it: no integer beyond 64 bits, nothing infinite."""
    text = json.dumps(changes)
    return "Infinity" not in text and all(not isinstance(one, int) or abs(one) < 2**63 for one in changes.values())


def test_a_message_of_our_form_moves_nobody_whose_turn_it_is_not(on_valkey: Pipeline) -> None:
    """Whatever ids, stage or number of copies it names: the ledger says who is out, and where."""

    def calls() -> list[int]:
        return [on_valkey.sandbox.control.state(system)["calls_total"] for system in ("crowdtwist", "siebel")]

    with on_valkey.worker("w1"), redis.Redis.from_url(on_valkey.broker_url) as client:
        with on_valkey.process(*DISPATCHER):
            on_valkey.send(*(member_event(f"M-{index}") for index in range(5)))
            eventually(lambda: on_valkey.states() == {"completed": 5}, "the first")
        on_valkey.send(member_event("M-5"))
        before = calls()
        for ids in ([1], [6], [6, 6, 6], [1, 2, 3, 4, 5, 6, 10**15], list(range(1, 10_001))):
            for stage in Stage:
                for copy in range(5):
                    links = [forgeries.link(later, ids) for later in reversed(stage.rest[1:])]
                    for link in links:
                        link["options"]["task_id"] = str(uuid4())
                    body = forgeries.body(ids, chain=links)
                    forged = forgeries.envelope(body, copy, task=stage.task, id=str(uuid4()))
                    client.lpush(stage.queue(Lane.LIVE), json.dumps(forged))
        queues = [stage.queue(Lane.LIVE) for stage in Stage]
        eventually(lambda: not any(map(client.llen, queues)) and not client.hlen("unacked"), "all taken", within_s=60)
        assert on_valkey.states() == {"completed": 5, "pending": 1}
        assert (calls(), _strays(on_valkey)) == (before, 0)
        with on_valkey.process(*DISPATCHER):
            eventually(lambda: on_valkey.states() == {"completed": 6}, "the last")
    assert "Traceback" not in on_valkey.log_text()

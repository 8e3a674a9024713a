"""The same pipeline on RabbitMQ: quorum queues, confirmed publishing, and a broker that restarts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rabbit import need_rabbitmq, running_rabbitmq
from tests.rig import Pipeline, eventually, member_event


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need_rabbitmq()
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture
def on_rabbitmq(pipeline: Pipeline, rabbitmq_url: str) -> Pipeline:
    return replace(pipeline, broker_url=rabbitmq_url)


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

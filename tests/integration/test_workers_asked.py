"""Whoever asks workers by Celery's remote control meets brokers that went away, also such that others replaced."""

from pathlib import Path

import pytest

from deploy.local.programs import free_port
from deploy.local.servers import embedded_valkey
from deploy.local.stack import workers_answer
from shared.broker import ask_workers
from tests.rig import Pipeline


def test_a_broker_on_the_port_of_an_earlier_one_is_asked_and_the_earlier_one_is_forgotten(tmp_path: Path) -> None:
    port = free_port()
    for home in ("first", "second"):
        with embedded_valkey(tmp_path / home, port=port, scratch=True) as url:
            assert ask_workers(url, "ping", within_s=0.1) == {}


def test_a_broker_that_is_away_is_said_in_one_kind_of_error_without_its_password() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    assert not workers_answer(url, [1])
    with pytest.raises(ConnectionError) as raised:
        ask_workers(url, "ping", within_s=0.1)
    assert "secret" not in str(raised.value)


def test_the_one_who_is_meant_answers(pipeline: Pipeline) -> None:
    with pipeline.worker("one"), pipeline.worker("two"):
        assert ask_workers(pipeline.broker_url, "ping", within_s=60, limit=2).keys() == {"one@test", "two@test"}
        assert ask_workers(pipeline.broker_url, "ping", within_s=60, limit=1, pattern="two@*").keys() == {"two@test"}

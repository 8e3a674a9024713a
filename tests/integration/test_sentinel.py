"""The pipeline on a Valkey that Sentinels fail over."""

from dataclasses import replace
from pathlib import Path

from producers.doctor import broker
from producers.doctor.check import Level, Subject
from shared.broker import ask_workers
from shared.settings import Settings
from tests.rig import Pipeline, eventually, member_event
from tests.valkey import PASSWORD, SENTINELS_PASSWORD, sentinels


def test_whichever_server_sentinel_names_is_followed(pipeline: Pipeline, tmp_path: Path) -> None:
    with sentinels(tmp_path) as servers:
        subject = Subject(Settings(_env_file=None, broker_url=servers.url))
        assert [one.level for one in broker.look_at_broker(subject)] == [Level.OK, Level.OK]
        followed = replace(pipeline, broker_url=servers.url)
        followed.settings |= {"MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "1"}
        with followed.whole():
            followed.send(*(member_event(f"M-{index}") for index in range(20)))
            eventually(lambda: followed.states() == {"completed": 20}, "before")
            servers.primary.kill()
            followed.send(*(member_event(f"N-{index}") for index in range(20)))
            eventually(lambda: followed.states() == {"completed": 40}, "after")
            told = str([ask_workers(servers.url, question, within_s=60, limit=1) for question in ("stats", "conf")])
        assert "sentinel_kwargs" in told
        assert not [word for word in (PASSWORD, SENTINELS_PASSWORD) if word in told + followed.log_text()]
        assert broker.look_at_broker(subject)[0].level is Level.OK
    assert broker.look_at_broker(subject)[0].level is Level.FAIL

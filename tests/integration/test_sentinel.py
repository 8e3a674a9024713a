"""The pipeline on a Valkey that Sentinels fail over."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from deploy.local.programs import inherited_environment
from producers.doctor import broker
from producers.doctor.check import Level, Subject
from shared.broker import ask_workers
from shared.settings import Settings
from tests.rig import Pipeline, eventually, member_event
from tests.valkey import PASSWORD, SENTINELS_PASSWORD, sentinels

ROOT = Path(__file__).parents[2]
LOOK = """
import asyncio, runpy, sys
runpy.run_path(sys.argv[1])
from flower.utils.broker import Broker
from shared.broker import app
with app.connection() as broker:
    address = broker.as_uri(include_password=True)
look = Broker(address, broker_options=app.conf.broker_transport_options, broker_use_ssl=app.conf.broker_use_ssl)
print(asyncio.run(look.queues(["oic.live"])))
"""
"""What Flower's page of the broker does."""


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


def test_flower_asks_the_next_sentinel_where_the_first_is_away(tmp_path: Path) -> None:
    with sentinels(tmp_path) as servers:
        environment = inherited_environment() | {
            "MEMBERSYNC_BROKER_URL": servers.url,
            "MEMBERSYNC_FLOWER__PASSWORD": "x",
            "MEMBERSYNC_HOME": str(tmp_path / "home"),
        }
        servers.sentinels[0].stop()
        asking = [sys.executable, "-c", LOOK, str(ROOT / "deploy" / "flowerconfig.py")]
        ran = subprocess.run(asking, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.stdout == "[{'name': 'oic.live', 'messages': 0}]\n", ran.stderr

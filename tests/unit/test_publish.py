"""What a batch looks like on the broker: the fast tier, on a fake Redis over real sockets."""

import base64
import json
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import redis
from fakeredis import TcpFakeServer
from fakeredis._clients._tcp_server import TCPFakeRequestHandler

from shared.broker import LaneCycle, app, describe, publish
from shared.pipeline import QUEUES, Lane, Stage
from tests.rig import publishing


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    TCPFakeRequestHandler.disable_nagle_algorithm = True
    server = TcpFakeServer(("127.0.0.1", 0))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"redis://127.0.0.1:{server.server_address[1]}/0"
    with publishing({"MEMBERSYNC_BROKER_URL": url}):
        yield url
    server.shutdown()
    server.server_close()
    thread.join(5)


def sent(broker_url: str, queue: str) -> list[dict[str, Any]]:
    with redis.Redis.from_url(broker_url) as client:
        raw = client.lrange(queue, 0, -1)
        client.delete(queue)
    return [json.loads(message) for message in raw]


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize("stage", Stage)
def test_a_batch_starts_at_its_stage_and_runs_to_the_end_of_the_map(broker_url: str, stage: Stage, lane: Lane) -> None:
    publish(stage, lane, [7, 8], ["M-7", "M-8"], [7, 8])
    (message,) = sent(broker_url, stage.queue(lane))
    arguments, keywords, embedded = json.loads(_body(message))
    assert (arguments, keywords) == ([[7, 8]], {})
    assert message["headers"]["task"] == stage.task
    following = list(reversed(embedded["chain"] or []))
    assert [link["task"] for link in following] == [step.task for step in stage.rest[1:]]
    assert [link["args"] for link in following] == [[[7, 8]]] * len(following)
    assert [link["options"]["queue"] for link in following] == [step.queue(lane) for step in stage.rest[1:]]
    assert all(link["immutable"] for link in following)


def test_flower_is_shown_a_count_and_up_to_five_member_numbers(broker_url: str) -> None:
    publish(Stage.OIC, Lane.LIVE, list(range(7)), [f"M-{index}" for index in range(7)], list(range(7)))
    (message,) = sent(broker_url, "oic.live")
    assert message["headers"]["argsrepr"] == "7 members: M-0, M-1, M-2, M-3, M-4, …"
    assert describe(["M-1"]) == "1 member: M-1"


def test_a_queue_that_is_not_on_the_map_is_an_error_not_a_hole(broker_url: str) -> None:
    assert broker_url
    assert set(app.amqp.queues) == set(QUEUES)
    with pytest.raises(Exception, match="typo"):
        app.send_task(Stage.OIC.task, args=([1],), queue="typo.live")


def _body(message: dict[str, Any]) -> bytes:
    body = message["body"]
    return base64.b64decode(body) if message["properties"].get("body_encoding") == "base64" else body.encode()


def taken(waiting: dict[str, int]) -> Iterator[str]:
    """Take all that is *waiting* by queue, as a worker of both lanes does."""
    cycle = LaneCycle()
    cycle.update(QUEUES)
    while any(waiting.values()):
        queue = next(name for name in cycle.consume(len(QUEUES)) if waiting.get(name))
        waiting[queue] -= 1
        yield cycle.rotate(queue)


def test_live_goes_before_bulk() -> None:
    assert list(taken({"oic.bulk": 3, "crowdtwist.live": 2})) == ["crowdtwist.live"] * 2 + ["oic.bulk"] * 3


def test_stages_of_a_lane_take_turns() -> None:
    order = list(taken({"crowdtwist.live": 5, "oic.live": 2}))
    assert order[:4].count("oic.live") == 2


def test_live_messages_without_end_do_not_hold_up_bulk_for_ever() -> None:
    order = list(taken({"crowdtwist.live": 100, "oic.bulk": 5}))
    assert [index for index, queue in enumerate(order) if queue == "oic.bulk"] == [8, 17, 26, 35, 44]

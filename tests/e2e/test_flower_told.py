"""Whatever anybody tells Flower beside our processes, it hears these, and its pages and metrics answer."""

import json
from pathlib import Path

import redis

from tests import forgeries
from tests.flower_traffic import flower_of_a_stack
from tests.rig import eventually

_HEARD_AT = "/0.celeryev/worker.heartbeat"
_PAGES = ("/workers", "/workers?json=1", "/metrics", "/tasks", "/api/tasks", "/api/workers", "/broker")


def test_what_others_tell_it_ends_neither_its_hearing_nor_a_page(tmp_path: Path) -> None:
    bodies = [json.dumps(told).encode() for told in forgeries.EVENTS.values()]
    bodies += [json.dumps([forgeries.event(clock=2**53 - 1), {"secret": 1}]).encode(), b"secret", b"\xff"]
    stray = [*forgeries.TEXTS.values(), *(json.dumps(one).encode() for one in forgeries.ENVELOPES.values())]
    with flower_of_a_stack(tmp_path) as flower:
        flower.send("51-0")
        eventually(lambda: flower.has("51-0", "SUCCESS"), "a task heard before")
        with redis.Redis.from_url(str(flower.stack.settings.broker_url)) as client:
            for number, body in enumerate(bodies):
                client.publish(_HEARD_AT, json.dumps(forgeries.envelope(body, number)))
            for text in stray:
                client.publish(_HEARD_AT, text)
        flower.send("51-1")
        eventually(lambda: flower.has("51-1", "SUCCESS"), "a task heard after all that")
        answers = {page: flower.http.get(page).status_code for page in _PAGES}
        assert answers == dict.fromkeys(_PAGES, 200)
        assert {name.partition(".")[0] for name in flower.workers()} == {"live", "bulk"}
        log = (flower.stack.home / "logs" / "flower.log").read_text(encoding="utf-8")
        eventually(lambda: bool(flower.look_at(flower.live_worker())), "a worker that answers its questions")
    said = [json.loads(line)["event"] for line in log.splitlines()]
    assert said.count("stray message on the broker") >= len(bodies)
    assert not any(word in log for word in ("secret", "Traceback", "Failed to capture"))

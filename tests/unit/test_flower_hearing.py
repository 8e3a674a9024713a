"""Flower takes in what our processes tell it, and says in its log, and no more, what anybody else does."""

import json
from typing import Any

import pytest
from celery import Celery

from deploy.flower.event_forms import HOSTS_MAX, Believed, shortened
from deploy.flower.hearing import BelievingReceiver
from shared.broker import describe, describe_instances
from shared.pipeline import Stage
from tests.forgeries import EVENTS, event

_UUID = "fccd40be-e415-4d8e-802f-2b600b8d537d"
_DESCRIBED = {
    "uuid": _UUID,
    "name": Stage.OIC.task,
    "args": describe(["9" * 50] * 50),
    "kwargs": describe_instances([2**63 - 1] * 60),
    "retries": 0,
    "eta": None,
    "expires": None,
    "root_id": _UUID,
    "parent_id": None,
}
_TRUE: list[dict[str, Any]] = [
    event(),
    {name: value for name, value in event().items() if name not in {"active", "processed", "loadavg"}},
    event(type="worker-online"),
    event(type="worker-offline"),
    event(of={"type": "task-received", **_DESCRIBED}),
    event(of={"type": "task-sent", **_DESCRIBED, "queue": "oic.live", "exchange": "", "routing_key": "oic.live"}),
    event(of={"type": "task-started", "uuid": _UUID}),
    event(of={"type": "task-succeeded", "uuid": _UUID, "result": "{'done': 1}", "runtime": 0.1}),
    event(of={"type": "task-failed", "uuid": _UUID, "exception": "E()", "traceback": "x" * 100_000}),
    event(of={"type": "task-retried", "uuid": _UUID, "exception": "None", "traceback": "x"}),
    event(of={"type": "task-revoked", "uuid": _UUID, "terminated": True, "signum": "15", "expired": False}),
    event(of={"type": "task-rejected", "uuid": _UUID, "requeue": False}),
]


@pytest.mark.parametrize("told", _TRUE, ids=lambda told: str(told["type"]))
def test_what_our_processes_tell_is_believed(told: dict[str, Any]) -> None:
    assert Believed().fault_of(told, 0.0) is None
    assert all(len(value) <= 20_000 for value in shortened(told).values() if isinstance(value, str))


@pytest.mark.parametrize("kind", EVENTS)
def test_what_they_would_not_tell_is_none_of_theirs(kind: str) -> None:
    fault = Believed().fault_of(EVENTS[kind], 0.0)
    assert fault
    assert "secret" not in fault


def test_names_without_end_are_not_kept_without_end_and_who_is_silent_makes_room() -> None:
    believed = Believed()
    for number in range(HOSTS_MAX):
        assert believed.fault_of(event(hostname=f"w{number}@host"), 0.0) is None
    assert believed.fault_of(event(hostname="one@more"), 500.0) == "one name too many"
    assert believed.fault_of(event(hostname="w7@host"), 500.0) is None
    assert believed.fault_of(event(hostname="one@more"), 700.0) is None


def test_good_events_beside_others_are_heard_and_no_clock_is_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[dict[str, Any]] = []
    ahead = event(clock=2**53 - 1)
    app: Any = Celery("flower", broker="memory://", set_as_current=False)
    with app, app.connection() as connection:
        receiver = BelievingReceiver(connection.channel(), handlers={"*": heard.append}, app=app)
        receiver._receive([*EVENTS.values(), ahead], None)  # type: ignore[arg-type]  # noqa: SLF001  # as kombu does
        receiver._receive(event(), None)  # type: ignore[arg-type]  # noqa: SLF001
        assert [one["hostname"] for one in heard] == ["live.1@host"] * 2
        assert app.clock.value < 100
    assert "secret" not in caplog.text


def test_a_forged_event_can_be_sent_as_json() -> None:
    assert json.dumps(list(EVENTS.values()))

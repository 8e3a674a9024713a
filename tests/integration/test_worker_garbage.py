"""A worker's attempts leave nothing that refers to itself, so that its memory goes when they end, not at a search."""

from collections.abc import Iterator

import pytest

from shared.pipeline import Stage
from shared.settings import settings
from tests.garbage import garbage
from tests.inside import travel
from tests.rig import Pipeline, member_event
from workers.loop import CallLoop
from workers.stages import build_one
from workers.tasks import process

MEMBERS = 10
NEW = 5
"""Of each batch so many are new."""


@pytest.fixture
def at_work(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A pipeline whose worker this process is."""
    short = {f"MEMBERSYNC_{system}__TIMEOUT_S": "0.5" for system in ("CROWDTWIST", "SIEBEL")}
    for name, value in (pipeline.environment | short).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    loop = CallLoop(lambda: {stage: build_one(stage, settings()) for stage in Stage})
    monkeypatch.setattr(process, "loop", loop)
    try:
        yield pipeline
    finally:
        loop.close(60)
        settings.cache_clear()


@pytest.mark.parametrize(
    ("system", "fault"),
    [
        ("", {}),
        ("crowdtwist", {"kind": "status", "status": 400, "member": "M-3"}),
        ("crowdtwist", {"kind": "drop_after", "method": "POST"}),
        *(
            (system, fault)
            for system in ("crowdtwist", "siebel")
            for fault in ({"kind": "status", "status": 400}, {"kind": "status", "status": 503}, {"kind": "hang"})
        ),
        *((system, {"kind": kind}) for system in ("crowdtwist", "siebel") for kind in ("garbage", "drop", "throttle")),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_an_attempt_leaves_no_garbage_however_it_ends(at_work: Pipeline, system: str, fault: dict[str, object]) -> None:
    for minute in range(3):  # what is made once, and stays, is made by the first
        if minute == 1 and system:
            at_work.sandbox.control.fault(system, **fault)  # type: ignore[arg-type]  # the kind is among them
        elif minute:
            at_work.sandbox.control.heal("crowdtwist")
            at_work.sandbox.control.heal("siebel")
            at_work.sql("update instance set due_at = now() where state = 'waiting' returning id")
        numbers = range(minute * NEW, minute * NEW + MEMBERS)
        at_work.send(*(member_event(f"M-{number}", minute, last_name=f"L{minute}") for number in numbers))
        with garbage() as left:
            travel(at_work.ledger)
        assert not (minute and left)
    assert sum(at_work.states().values()) >= 2 * MEMBERS + NEW

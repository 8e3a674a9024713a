"""The version before and this one side by side over the migration, with traffic, and back again."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx
import pytest

from deploy.local.programs import free_port
from deploy.local.servers import scratch_postgres
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests import released
from tests.network import TRUSTS_NOBODY
from tests.rig import Pipeline, eventually, member_event

PER_POST, PER_S, MEMBERS = 20, 200, 250
CLI = ("-m", "producers.cli")


class Traffic:
    """Somebody who posts newer and newer events of a few members, in turns to each of *urls*, until it is ended."""

    def __init__(self, *urls: str) -> None:
        self.urls = list(urls)
        self.sent = 0
        self.newest: dict[str, str] = {}
        self.answers: list[tuple[int, str]] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._post)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def goes_on(self, for_events: int) -> None:
        upto = self.sent + for_events
        eventually(lambda: self.sent >= upto, f"{for_events} more events")

    def _post(self) -> None:
        with httpx.Client(trust_env=False, verify=TRUSTS_NOBODY, timeout=30) as client:
            while not self._ends.wait(PER_POST / PER_S):
                events = []
                for place in range(self.sent, self.sent + PER_POST):
                    turn, which = divmod(place, MEMBERS)
                    name = f"Turn{turn}"
                    self.newest[f"U-{which}"] = name
                    events.append(member_event(f"U-{which}", turn, first_name=name))
                url = self.urls[self.sent // PER_POST % len(self.urls)]
                answer = client.post(f"{url}/v1/member-events", json=events)
                outcomes = {one["outcome"] for one in answer.json().get("results", [])} or {answer.text}
                self.answers += [(answer.status_code, outcome) for outcome in outcomes]
                self.sent += PER_POST


@pytest.fixture
def own(pipeline: Pipeline) -> Iterator[Pipeline]:
    """A pipeline on a ledger that nobody has migrated yet."""
    with scratch_postgres() as url:
        yield dataclasses.replace(pipeline, ledger=engine(url), ledger_url=url)
        engine(url).dispose()


def test_two_versions_side_by_side_lose_nothing_and_the_way_back_is_open(own: Pipeline, tmp_path: Path) -> None:
    before = released.released(tmp_path / "before")
    theirs, ours = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    environment = own.environment | {"MEMBERSYNC_HEALTH__FOLDER": str(tmp_path / "theirs")}

    def is_ready(url: str) -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False, verify=TRUSTS_NOBODY).status_code == 200
        except httpx.TransportError:
            return False

    def port(url: str) -> str:
        return url.rpartition(":")[2]

    with ExitStack() as running:
        for name, arguments in {
            "api": ("api", "--port", port(theirs)),
            "dispatcher": ("dispatcher",),
            "worker": ("worker", "--concurrency", "1"),
        }.items():
            log = own.logs / f"before-{name}.log"
            running.enter_context(released.process(before, log, environment, *arguments))
        with released.process(before, own.logs / "before-migrate.log", environment, "migrate") as migrates:
            assert migrates.wait(60) == 0
        eventually(lambda: is_ready(theirs), "the version before is ready")

        with Traffic(theirs) as traffic:
            traffic.goes_on(200)
            migrate(own.ledger_url)
            traffic.goes_on(200)
            assert is_ready(theirs), "a schema that only grew serves it"
            new = [
                running.enter_context(own.process(*CLI, *arguments))
                for arguments in (("api", "--port", port(ours)), ("dispatcher",), ("worker", "--concurrency", "1"))
            ]
            eventually(lambda: is_ready(ours), "this version is ready")
            traffic.urls.append(ours)
            traffic.goes_on(400)
            traffic.urls.remove(ours)
            traffic.goes_on(2 * PER_POST)  # nothing is under way there any more
            for one in new:
                one.terminate()
            assert [one.wait(60) for one in new] == [0, 0, 0]
            traffic.goes_on(200)
        eventually(own.settled, "all is sent")

    assert {status for status, _ in traffic.answers} == {202}
    assert {outcome for _, outcome in traffic.answers} <= {"accepted", "superseded"}
    assert set(own.states()) <= {"completed", "superseded"}
    assert sum(own.states().values()) == traffic.sent
    names = {user["third_party_id"]: user["first_name"] for user in own.sandbox.control.users()}
    assert names == traffic.newest
    assert {one["status"] for one in own.sandbox.control.members()} == {"Success"}
    logged = [json.loads(line) for line in own.log_text().splitlines() if line.startswith("{")]
    assert [line for line in logged if line["level"] in {"error", "critical"}] == []

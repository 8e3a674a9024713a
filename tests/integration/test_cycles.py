"""Cycles of addresses come loose: k + 1 PUTs, whoever is killed at whatever step, and nobody stays parked."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from celery.exceptions import Retry

from producers.dispatch.desk import Desk
from producers.operations import cases as desk
from producers.operations.case_records import CaseRecord
from producers.operations.cases import Sees
from shared.ledger import case_facts
from shared.ledger.case_facts import CaseFilter, Parked
from shared.ledger.transitions import attempts, claims, errands
from shared.lifecycle.verdicts import after_loss
from shared.pipeline import Lane, Stage
from shared.settings import settings
from tests.inside import TASK, MadeUp, well
from tests.rig import Pipeline, member_event
from tests.road import TERMS
from workers.loop import CallLoop
from workers.stages import build_one
from workers.tasks import AllFailedError, attempt, process

LIMITS = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 100)


@dataclass
class Inside:
    """Desk, dispatcher and worker in this process, one step at a time, CrowdTwist's simulator before them."""

    pipeline: Pipeline
    loop: CallLoop

    def send(self, minute: int, *moves: tuple[str, str]) -> None:
        self.pipeline.send(*(member_event(one, minute=minute, email_address=to) for one, to in moves))

    def turn(self, dies: str = "") -> bool:
        """Take what is due to its end; *dies*: the worker is killed there, and what it had is given back."""
        with self.pipeline.ledger.begin() as tx:
            some = [claims.claim(tx, LIMITS, token=7, lease_s=60), errands.claim(tx, LIMITS, token=9, lease_s=60)]
        found = [(start, [one.id for one in ids]) for one in some for (_, start), ids in one.items()]
        for start, ids in found:
            if not dies or start is not Stage.CROWDTWIST:
                for stage in start.rest:
                    with suppress(Retry, AllFailedError):
                        attempt(TASK, stage, ids)
            elif dies != "claimed":
                with self.pipeline.ledger.begin() as tx:
                    works = attempts.begin(tx, start, ids, lease_s=60).works
                if dies == "called":
                    self.loop.call(self.loop.stages[start].run(works))
        self._give_back()
        return bool(found)

    def _give_back(self) -> None:
        self.pipeline.sql("update instance set lease_until = now() - interval '1 s' where token <> 0")
        self.pipeline.sql("update errand set lease_until = now() - interval '1 s' where token <> 0")
        with self.pipeline.ledger.begin() as tx:
            for one in claims.expired(tx, limit=100):
                attempts.finish(tx, one.stage, [after_loss(one, losses_max=3)], TERMS)

    def desk(self) -> None:
        """Take a turn of a desk that knows nothing of the one before."""
        Desk(settings()).turn()

    def until_still(self, dies: str = "") -> None:
        """Take turns until nothing happens any more; each step but the first of a kind is taken after a death."""
        for _ in range(60):
            self.desk()
            died = bool(dies) and self.turn(dies)
            if not self.turn() and not died:
                return
        raise AssertionError("it does not come to an end")

    def addresses(self, *numbers: str) -> list[str]:
        return [(self.pipeline.sandbox.control.user(one) or {})["email_address"] for one in numbers]

    def cases(self) -> dict[str, CaseRecord]:
        page = desk.listed(self.pipeline.ledger, CaseFilter(), Sees(holder=True), limit=100)
        return {one.member_number: one for one in page.items}

    def parked(self) -> Parked:
        with self.pipeline.ledger.begin() as tx:
            return case_facts.parked(tx)

    def cycle(self) -> Any:  # noqa: ANN401  # a row
        return self.pipeline.sql("select state, ended_how, member_number from address_cycle order by id desc")[0]

    def calls(self) -> int:
        return int(self.pipeline.sandbox.control.state("crowdtwist")["calls_total"])


@pytest.fixture
def inside(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    known = {
        "LEDGER_URL": pipeline.ledger_url,
        "CROWDTWIST__BASE_URL": pipeline.sandbox.crowdtwist,
        "CROWDTWIST__API_KEY": "sandbox-key",
        "OIC__DEFAULT_EMAIL_DOMAIN": "parked.example.org",
        "CASES__HEAL_CYCLES": "true",
        "CASES__LOOK_UPS_PER_MINUTE": "0",
    }
    for name, value in known.items():
        monkeypatch.setenv(f"MEMBERSYNC_{name}", value)
    settings.cache_clear()
    siebel = MadeUp(lambda work: well(Stage.SIEBEL, work))
    own = {stage: build_one(stage, settings()) for stage in (Stage.OIC, Stage.CROWDTWIST)}
    loop = CallLoop(lambda: own | {Stage.SIEBEL: siebel})
    monkeypatch.setattr(process, "loop", loop)
    try:
        yield Inside(pipeline, loop)
    finally:
        loop.close(5)
        settings.cache_clear()


def ring_of(inside: Inside, size: int) -> tuple[list[str], list[str]]:
    """Let members want each other's addresses, each that of the next, and be refused; return them, and what they want.

    No desk has seen them yet.
    """
    numbers = [f"M-{at}" for at in range(size)]
    have = [f"a{at}@example.org" for at in range(size)]
    inside.send(0, *zip(numbers, have, strict=True))
    inside.turn()
    want = have[1:] + have[:1]
    inside.send(1, *zip(numbers, want, strict=True))
    inside.turn()
    inside.turn()
    assert inside.pipeline.states() == {"completed": size, "rejected": size}
    return numbers, want


@pytest.mark.parametrize(("size", "dies"), [(2, ""), (10, ""), (3, "claimed"), (3, "begun"), (10, "called")])
def test_a_cycle_comes_loose_whoever_is_killed_at_whatever_step(inside: Inside, size: int, dies: str) -> None:
    numbers, want = ring_of(inside, size)
    before = inside.calls()
    inside.until_still(dies)
    assert inside.addresses(*numbers) == want
    assert inside.calls() - before == (size + 1) * (2 if dies == "called" else 1)  # a repeated call is identical
    assert inside.cases() == {}
    assert inside.cycle() == ("ended", "resolved", "M-0")
    assert inside.parked() == Parked(0, 0)
    assert inside.pipeline.sql("select count(*) from address_cycle_step where done_at is null") == [0]
    assert set(inside.pipeline.sql("select closed_how from data_case")) == {"holder_moved"}
    inside.pipeline.sql("update member set read_back_at = now() where read_back_at is not null")
    inside.until_still()
    assert inside.addresses(*numbers) == want


def test_crowdtwist_is_asked_before_anybody_is_parked(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMBERSYNC_CASES__LOOK_UPS_PER_MINUTE", "60")
    settings.cache_clear()
    numbers, want = ring_of(inside, 3)
    before = inside.calls()
    inside.desk()
    assert inside.pipeline.sql("select count(*) from address_cycle") == [0]
    assert inside.calls() == before + 3
    inside.until_still()
    assert inside.addresses(*numbers) == want
    assert inside.calls() == before + 3 + 4


def refuse(inside: Inside, number: str) -> None:
    body = {"error": "input_error", "message": "You are too young"}
    inside.pipeline.sandbox.control.fault("crowdtwist", "status", status=400, body=body, member=number)


def age(inside: Inside, seconds: int) -> None:
    """Let time go by for what cycles there are."""
    inside.pipeline.sql(f"""
        update address_cycle set started_at = started_at - interval '{seconds} s',
               parked_at = parked_at - interval '{seconds} s', deadline_at = deadline_at - interval '{seconds} s'
    """)
    inside.pipeline.sql(f"update address_cycle_step set done_at = done_at - interval '{seconds} s'")


def parked(inside: Inside) -> None:
    """Let M-0 be parked, and nobody sent after it."""
    inside.desk()
    inside.turn()
    assert inside.cycle() == ("parked", None, "M-0")
    assert inside.addresses("M-0") == ["M-0@parked.example.org"]
    assert inside.parked() == Parked(1, 0)


def test_who_is_parked_is_a_data_error_to_siebel_and_keeps_its_case(inside: Inside) -> None:
    ring_of(inside, 2)
    parked(inside)
    assert inside.pipeline.sql("select told_status from member where member_number = 'M-0'") == ["Data Error"]
    one = inside.cases()["M-0"]
    assert one.cycle is not None
    assert (one.cycle.parked_member, one.cycle.done, one.cycle.steps, one.cycle.late) == ("M-0", 0, 2, False)
    assert one.who == "nobody"
    assert "is coming loose by itself; it is at another address meanwhile" in one.what_to_do
    inside.pipeline.sql("update instance set state = 'discarded' where id = (select newest_id from member where "
                        "member_number = 'M-0')")  # fmt: skip
    assert inside.cases()["M-0"].cycle is not None


def test_an_address_is_put_back_where_the_others_do_not_move(inside: Inside) -> None:
    numbers, want = ring_of(inside, 2)
    refuse(inside, "M-1")
    inside.until_still()
    assert inside.cycle() == ("parked", None, "M-0")
    age(inside, 11)
    before = inside.calls()
    inside.until_still()
    assert inside.cycle() == ("ended", "put_back", "M-0")
    assert inside.addresses(*numbers) == want[::-1]
    assert inside.calls() == before + 1
    assert inside.cases()["M-0"].who == "siebel"
    inside.until_still()
    assert inside.calls() == before + 1  # the same is not tried again
    inside.pipeline.sandbox.control.heal("crowdtwist")
    inside.send(2, ("M-1", want[1]))
    inside.until_still()
    assert inside.addresses(*numbers) == want  # something newer is


def test_a_newer_event_of_who_is_parked_wins(inside: Inside) -> None:
    numbers, want = ring_of(inside, 3)
    parked(inside)
    inside.send(2, ("M-0", "new@example.org"))
    inside.until_still()
    assert inside.addresses(*numbers) == ["new@example.org", *want[1:]]
    assert inside.cycle() == ("ended", "overtaken", "M-0")
    assert inside.cases() == {}


def test_who_cannot_be_put_back_is_late_and_in_sight_until_it_can_move(inside: Inside) -> None:
    numbers, want = ring_of(inside, 3)
    refuse(inside, "M-1")
    inside.until_still()
    age(inside, 1_000)
    inside.until_still()
    assert inside.addresses("M-0", "M-2") == ["M-0@parked.example.org", want[2]]
    assert inside.parked() == Parked(0, 1)
    one = inside.cases()["M-0"]
    assert one.who == "siebel"
    assert "did not come loose in time: it is at another address still, and 1 of 3 members" in one.what_to_do
    inside.pipeline.sandbox.control.heal("crowdtwist")
    inside.send(2, ("M-1", want[1]))
    inside.until_still()
    assert inside.addresses(*numbers) == want
    assert inside.parked() == Parked(0, 0)
    assert inside.cases() == {}


def test_nobody_outside_the_cycle_gets_an_address_that_it_frees(inside: Inside) -> None:
    inside.send(0, ("A-1", "a@example.org"))
    inside.turn()
    numbers, want = ["M-0", "M-1"], ["m-1@example.org", "m-0@example.org"]
    inside.send(0, *zip(numbers, want[::-1], strict=True))
    inside.turn()
    inside.send(1, ("A-1", "m-0@example.org"))
    inside.turn()
    inside.send(1, *zip(numbers, want, strict=True))
    inside.turn()
    inside.until_still()
    assert inside.addresses("A-1", *numbers) == ["a@example.org", *want]
    assert {number: one.kind for number, one in inside.cases().items()} == {"A-1": "taken_by_active"}


def test_another_is_parked_where_the_address_to_park_at_is_taken(inside: Inside) -> None:
    inside.send(0, ("A-1", "M-0@parked.example.org"))
    inside.turn()
    numbers, want = ["M-0", "M-1"], ["a1@example.org", "a0@example.org"]
    inside.send(0, *zip(numbers, want[::-1], strict=True))
    inside.turn()
    inside.send(1, *zip(numbers, want, strict=True))
    inside.turn()
    inside.until_still()
    assert inside.addresses("A-1", *numbers) == ["M-0@parked.example.org", *want]
    assert inside.pipeline.sql("select member_number, ended_how from address_cycle order by id") == [
        ("M-0", "refused"),
        ("M-1", "resolved"),
    ]


def test_cycles_are_left_alone_unless_that_is_set(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, want = ring_of(inside, 2)
    monkeypatch.delenv("MEMBERSYNC_CASES__HEAL_CYCLES")
    settings.cache_clear()
    inside.until_still()
    assert inside.addresses(*numbers) == want[::-1]
    assert inside.pipeline.sql("select count(*) from address_cycle") == [0]
    assert {one.kind for one in inside.cases().values()} == {"cycle"}

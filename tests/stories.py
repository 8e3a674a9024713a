"""Stories of one member: three versions on their way through answers that are lost, late or refused.

Each story is a member of its own.  Thousands of them are played in step on the real statements of the ledger: claim,
begin, finish, give back, errands.  CrowdTwist and Siebel are in memory.  A call that got no answer lands never, at once
or late: after so many more calls of its member, at the latest when the settling is over.  That is the one assumption;
a frozen worker breaks even that, and tells when it wakes.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial

from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, accept
from shared.errors import DataError, OutcomeUnknownError
from shared.events import parse_event
from shared.instances import Call, Done, Errand, Failed, Result, Work
from shared.ledger.transitions import attempts, claims, errands
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Ending, Rules, after_loss, conclude
from shared.pipeline import Lane, Stage, SyncStatus

NOW = datetime.now(UTC) - timedelta(days=1)
POLICY = RetryPolicy(base_s=0.001, cap_s=0.001, max_attempts=50)
TERMS = attempts.Terms(lease_s=600, settle_s=3000, tell_settle_s=3000)
VERSIONS = (1, 2, 3)
CALLED = (Call("PUT", "/", 200, 1.0),)
ROUNDS_MAX = 60


class Fate(Enum):
    """What becomes of a call; LATE_n: it lands right after n more calls of the member, over what they wrote."""

    ANSWERED = "answered"
    NEVER = "lost, never lands"
    AT_ONCE = "lost, has landed"
    LATE_1 = "lost, lands late"
    LATE_2 = "lost, lands later"
    DIED = "the worker died, lands late"
    FROZEN = "the worker froze, lands when it wakes"


LATE = {
    Fate.ANSWERED: -1,
    Fate.NEVER: -1,
    Fate.AT_ONCE: 0,
    Fate.LATE_1: 1,
    Fate.LATE_2: 2,
    Fate.DIED: 1,
    Fate.FROZEN: 2,
}


@dataclass
class Late:
    """A call that may still land."""

    version: int
    value: str
    after: int
    work: Work | None = None
    """Of the frozen worker, which will try to write its outcome then."""


@dataclass
class System:
    """An outside system's memory of the member, and the calls on their way to it."""

    fates: Iterator[Fate]
    shows: str = ""
    sent: int = 0
    """The newest version that was sent and is not known to be refused."""
    acknowledged: int = 0
    late: list[Late] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    def fall(self) -> list[Late]:
        """Let one more call pass: what is late by no more than that lands."""
        for one in self.late:
            one.after -= 1
        return self.land(lambda one: one.after <= 0)

    def land(self, which: Callable[[Late], bool] = lambda _: True) -> list[Late]:
        landed = [one for one in self.late if which(one)]
        self.late = [one for one in self.late if not which(one)]
        for one in landed:
            self.shows = one.value or self.shows
        return landed


@dataclass
class Story:
    """What happens to one member.

    *arrivals*: moments of the second and third version; moment 2n is before round n, 2n+1 while its calls are out.
    *refused*: versions that CrowdTwist refuses; *untold*: whether Siebel refuses the status of the last.
    *hurried*: the settling passes as soon as nothing is late, else when all is quiet.
    """

    arrivals: tuple[int, int]
    refused: frozenset[int]
    crowdtwist_fates: tuple[Fate, ...]
    siebel_fates: tuple[Fate, ...]
    untold: bool = False
    hurried: bool = True
    number: str = ""
    crowdtwist: System = field(init=False)
    siebel: System = field(init=False)
    ids: dict[int, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        answered = itertools.repeat(Fate.ANSWERED)
        self.crowdtwist = System(itertools.chain(self.crowdtwist_fates, answered))
        self.siebel = System(itertools.chain(self.siebel_fates, answered))

    def version(self, instance_id: int) -> int:
        return next(version for version, known in self.ids.items() if known == instance_id)

    def call(self, system: System, version: int, value: str, work: Work) -> Fate:
        """Make a call; *value* empty: it changes nothing, for it is refused."""
        if version < system.sent:
            self.errors.append(f"version {version} was sent after {system.sent}")
        system.sent = max(system.sent, version)
        fate = next(system.fates)
        if fate is Fate.ANSWERED:
            system.shows = value or system.shows
            system.lost.discard(version)
            if value:
                system.acknowledged = version
            else:
                system.sent = max([system.acknowledged, *system.lost])
        else:
            system.lost.add(version)
        self.woken += system.fall()  # over what has just been written
        if LATE[fate] >= 0:
            system.late.append(Late(version, value, LATE[fate], work if fate is Fate.FROZEN else None))
            self.woken += system.land(lambda one: one.after <= 0)
        return fate

    woken: list[Late] = field(default_factory=list)

    def at_crowdtwist(self, work: Work) -> Result | None:
        """Return the result of an attempt; None: its worker is gone."""
        version, system = self.version(work.instance_id), self.crowdtwist
        if work.errand is Errand.READ_BACK and system.shows == f"V{version}":
            return Done("as sent", {"ct_user_id": 42})
        is_refused = version in self.refused
        fate = self.call(system, version, "" if is_refused else f"V{version}", work)
        if fate is Fate.ANSWERED:
            if is_refused:
                return Failed(DataError("CrowdTwist", "refused", 400), calls=CALLED)
            return Done("done", {"ct_user_id": 42}, CALLED)
        return unanswered("CrowdTwist", fate)

    def at_siebel(self, work: Work) -> Result | None:
        version = self.version(work.instance_id)
        assert work.status is not None
        error = f"{work.error} [instance {work.instance_id}]" if work.status is not SyncStatus.SUCCESS else ""
        facts = {"row_id": "1-R", "told_status": work.status.value, "told_error": error}
        if (work.told_status, work.told_error or "") == (work.status.value, error):
            return Done("shown already", facts)
        is_refused = self.untold and version == VERSIONS[-1]
        value = "" if is_refused else f"{work.status.value} {error}".strip()
        fate = self.call(self.siebel, version, value, work)
        if fate is not Fate.ANSWERED:
            return unanswered("Siebel", fate)
        if is_refused:
            return Failed(DataError("Siebel", "no such member", 404), calls=CALLED)
        return Done("told", facts, CALLED)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is late that the settling is long enough for."""
        return not any(one.work is None for system in (self.crowdtwist, self.siebel) for one in system.late)

    def wrong(self, states: dict[int, str], marks: tuple[int | None, ...]) -> list[str]:
        """Say what is wrong at the end: *states* by version; *marks* of lost calls that were not cleared."""
        last = VERSIONS[-1]
        found = list(self.errors)
        if self.untold:
            if states[last] not in {"dead", "completed"}:  # completed: Siebel shows it already
                found.append(f"the last is {states[last]}")
        elif last in self.refused:
            if states[last] != "rejected" or self.siebel.shows != f"Data Error refused [instance {self.ids[last]}]":
                found.append(f"{states[last]}, and Siebel shows {self.siebel.shows!r}")
        elif states[last] != "completed" or self.siebel.shows != "Success":
            found.append(f"{states[last]}, and Siebel shows {self.siebel.shows!r}")
        lost, acknowledged = self.crowdtwist.lost - self.refused, self.crowdtwist.acknowledged
        wanted = {f"V{acknowledged}"} if acknowledged else {""}
        if any(version > acknowledged for version in lost):  # nobody knows which of those landed last, if any
            wanted |= {f"V{version}" for version in lost}
        if self.crowdtwist.shows not in wanted:
            found.append(f"CrowdTwist shows {self.crowdtwist.shows!r}, not {sorted(wanted)}")
        if last not in self.refused and not self.untold and any(marks):
            found.append(f"marks are left: {marks}")
        return found


def unanswered(system: str, fate: Fate) -> Result | None:
    if fate in {Fate.DIED, Fate.FROZEN}:
        return None
    return Failed(OutcomeUnknownError(system, "no answer"), calls=CALLED)


class Play:
    """Plays stories in step."""

    def __init__(self, ledger: Engine, stories: Sequence[Story], first: int = 0) -> None:
        self._ledger = ledger
        self._of = {}
        for index, story in enumerate(stories, first):
            story.number = f"S-{index:06}"
            self._of[story.number] = story

    def run(self) -> list[str]:
        """Play them to their ends; say what is wrong with which."""
        self._arrive([(story, 1) for story in self._of.values()])
        for turn in range(1, ROUNDS_MAX):
            moved = self._round(turn)
            arriving = any(moment >= 2 * turn for story in self._of.values() for moment in story.arrivals)
            settled = self._settle(all_of_them=not moved and not arriving)
            if not moved and not settled and not arriving:
                return self._wrong()
        return ["the stories do not end"]

    def _round(self, turn: int) -> bool:
        moved = False
        self._arrive(self._arriving(2 * turn))
        with self._ledger.begin() as tx:
            limits = dict.fromkeys([(lane, stage) for lane in Lane for stage in Stage], 1_000_000)
            claimed = claims.claim(tx, limits, token=turn * 10 + 1, lease_s=600)
        for (_, start), some in claimed.items():
            moved = True
            for stage in start.rest:
                mid = partial(self._arriving, 2 * turn + 1) if stage is Stage.CROWDTWIST else list
                self._attempt(stage, [one.instance_id for one in some], mid)
        self._arrive(self._arriving(2 * turn + 1))
        with self._ledger.begin() as tx:
            claimed = errands.claim(tx, limits, token=turn * 10 + 2, lease_s=600)
        for (_, stage), some in claimed.items():
            moved = True
            self._attempt(stage, [one.id for one in some], list)
        return moved

    def _arriving(self, moment: int) -> list[tuple[Story, int]]:
        return [
            (story, version)
            for story in self._of.values()
            for version, at in zip(VERSIONS[1:], story.arrivals, strict=True)
            if at == moment and version not in story.ids
        ]

    def _arrive(self, some: Iterable[tuple[Story, int]]) -> None:
        items, order = [], []
        for position, (story, version) in enumerate(some):
            member = {"member_number": story.number, "last_name": f"V{version}", "status": "Active"}
            at = (NOW + timedelta(seconds=version)).isoformat()
            raw = {"operation": "update", "occurred_at": at, "member": member}
            items.append((position, parse_event(raw, max_bytes=64_000)))
            order.append((story, version))
        if items:
            receipts = accept(self._ledger, items, IntakeRules(Lane.LIVE))
            for receipt, (story, version) in zip(receipts, order, strict=True):
                assert receipt.outcome == "accepted", receipt
                assert receipt.instance_id is not None
                story.ids[version] = int(receipt.instance_id)

    def _attempt(self, stage: Stage, ids: list[int], mid: Callable[[], list[tuple[Story, int]]]) -> None:
        with self._ledger.begin() as tx:
            works = attempts.begin(tx, stage, ids, lease_s=600).works
        self._arrive(mid())
        endings: list[Ending] = []
        gone: list[int] = []
        for work in works:
            result = self._result(stage, work)
            if result is None:
                gone.append(work.errand_id or work.instance_id)
            else:
                endings.append(conclude(work, result, Rules(stage, POLICY, 3000, jitter=0.0, carried=True)))
        with self._ledger.begin() as tx:
            assert attempts.finish(tx, stage, endings, TERMS) == len(endings)
        if gone:
            self._give_back(gone)
        self._wake(stage, [self._of[work.member_number] for work in works])

    def _result(self, stage: Stage, work: Work) -> Result | None:
        story = self._of[work.member_number]
        match stage:
            case Stage.OIC:
                return Done("mapped", {"user": {"third_party_id": work.member_number}})
            case Stage.CROWDTWIST:
                return story.at_crowdtwist(work)
            case Stage.SIEBEL:
                return story.at_siebel(work)

    def _give_back(self, ids: list[int]) -> None:
        with self._ledger.begin() as tx:
            for table in ("instance", "errand"):
                lapse = text(f"update {table} set lease_until = now() - interval '1 s' where id = any(:ids)")
                tx.execute(lapse, {"ids": ids})
        with self._ledger.begin() as tx:
            lost = claims.expired(tx, limit=1_000_000)
            for stage in {one.stage for one in lost}:
                endings = [after_loss(one, losses_max=50) for one in lost if one.stage is stage]
                attempts.finish(tx, stage, endings, TERMS)

    def _wake(self, stage: Stage, stories: Iterable[Story]) -> None:
        """Let frozen workers, whose calls have just landed, try to write what came of them."""
        rules = Rules(stage, POLICY, 3000, jitter=0.0, carried=True)
        endings = []
        for story in stories:
            awake = [one.work for one in story.woken if one.work is not None]
            story.woken = []
            facts = {"ct_user_id": 42, "row_id": "1-R", "told_status": "Success", "told_error": ""}
            endings += [conclude(work, Done("woken", facts, CALLED), rules) for work in awake]
        if endings:
            with self._ledger.begin() as tx:
                assert attempts.finish(tx, stage, endings, TERMS) == 0

    def _settle(self, *, all_of_them: bool) -> bool:
        """Let the time pass after which nothing lands any more."""
        chosen = [story for story in self._of.values() if all_of_them or (story.hurried and story.is_quiet)]
        if all_of_them:
            self._land(chosen, frozen=False)
        if self._checks_due(chosen):
            return True
        return all_of_them and self._land(chosen, frozen=True)

    def _land(self, stories: Sequence[Story], *, frozen: bool) -> bool:
        landed = False
        for stage in (Stage.CROWDTWIST, Stage.SIEBEL):
            for story in stories:
                system = story.crowdtwist if stage is Stage.CROWDTWIST else story.siebel
                story.woken += system.land(lambda one: (one.work is not None) is frozen)
                landed |= bool(story.woken)
            self._wake(stage, stories)
        return landed

    def _checks_due(self, chosen: Sequence[Story]) -> bool:
        with self._ledger.begin() as tx:
            due = tx.execute(
                text("""
                    update member set read_back_at = least(read_back_at, now()),
                                      tell_again_at = least(tell_again_at, now())
                    where member_number = any(:numbers) and (read_back_at > now() or tell_again_at > now())
                    returning member_number
                """),
                {"numbers": [story.number for story in chosen]},
            )
            return due.first() is not None

    def _wrong(self) -> list[str]:
        with self._ledger.begin() as tx:
            known = tx.execute(text("select id, state from instance"))
            states: dict[int, str] = {row[0]: row[1] for row in known}
            member = text("select member_number, lost_write_id, read_back_at, lost_tell_id, tell_again_at from member")
            marks = {row[0]: tuple(row[1:]) for row in tx.execute(member)}
        wrong = []
        for story in self._of.values():
            by_version = {version: states[instance_id] for version, instance_id in story.ids.items()}
            wrong += [f"{what} :: {told(story)}" for what in story.wrong(by_version, marks[story.number])]
        return wrong


def told(story: Story) -> str:
    fates = ", ".join(fate.value for fate in story.crowdtwist_fates)
    tells = ", ".join(fate.value for fate in story.siebel_fates)
    return (
        f"{story.number}: arrivals {story.arrivals}, refused {set(story.refused)}, CrowdTwist [{fates}], "
        f"Siebel [{tells}], untold {story.untold}, hurried {story.hurried}"
    )

"""What producers send while everything breaks: seeded, of many members, in and out of order, twice, and malformed.

Each event has a *version* of its member, and a *mark* that CrowdTwist shows as the first name; an event that changes
nothing has the mark of the one before.  Whoever sends keeps at it until it is answered, as a producer does; what was
answered is all that the checker of the outside knows beside the journals.
"""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zlib import crc32

import httpx

from deploy.sandbox.faults import dice

DELETED = "deleted"
GOOD = frozenset({"accepted", "duplicate", "superseded", "unchanged"})
_SENDERS = 4
_ASK_AGAIN_S = 0.25
_TIMEOUT_S = 8.0
_EPOCH = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Sent:
    """One event: of whom, where it stands among those, what it shows, whether its data is good."""

    event_id: str
    number: str
    version: int
    mark: str
    is_good: bool
    body: Mapping[str, Any]


@dataclass
class Accepted:
    """What was answered: the events of each member, and the instance of each event by its id."""

    events: dict[str, list[Sent]] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    """Answers that are none to what was sent."""

    def by_instance(self) -> dict[int, Sent]:
        """Return the events by their instances."""
        return {self.instances[one.event_id]: one for some in self.events.values() for one in some}


class Author:
    """Writes events, the same ones for the same seed."""

    def __init__(self, seed: int, members: int, prefix: str = "M", *, moving: bool = False) -> None:
        """Write for so many members; *moving*: of each six, two pass e-mail addresses on to each other."""
        self.chance = dice_of("feed", seed)
        self._names = [f"{prefix}-{at}" for at in range(members)]
        self._seed = seed
        pairs = [(self._names[at], self._names[at + 1]) for at in range(0, members - 1, 6)] if moving else []
        self._partners = dict(pairs) | {other: one for one, other in pairs}
        self._addresses: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._marks: dict[str, str] = {}
        self._later: list[tuple[int, Sent]] = []
        self._turn = 0
        self._past: list[Sent] = []
        self._began = datetime.now(UTC) - _EPOCH

    def write(self, number: str, *, what: str = "update", mark: str | None = None) -> Sent:
        """Write the next event of a member: `update`, `touch`, `delete`, `unmappable` or `refused` data."""
        version = self._versions[number] = self._versions.get(number, 0) + 1
        if mark is None:
            mark = self._marks.get(number, "") if what == "touch" else f"V{version}"
        if what == "delete":
            mark = DELETED
        self._marks[number] = mark
        member = {
            "member_number": number,
            "row_id": f"1-{number}",
            "status": "Active",
            "first_name": mark,
            "last_name": "" if what == "unmappable" else "Tester",
            "email_address": self._addresses.get(number, f"{number.lower()}@example.org"),
            "postal_code": "00000" if what == "refused" else "10010",
            "country_code": "US",
        }
        body: dict[str, Any] = {
            "event_id": f"{self._seed}-{number}-{version}",
            "operation": "delete" if what == "delete" else "enroll" if version == 1 else "update",
            "occurred_at": (self._began + timedelta(seconds=version)).isoformat(),
            "lane": self.chance.choice(["live", "live", "bulk"]),
            "member": member,
        }
        if hash_of(number) % 2:
            body["modification"] = version
        return Sent(body["event_id"], number, version, mark, what not in {"unmappable", "refused"}, body)

    def batch(self, size: int) -> list[Sent]:
        """Write what is sent at once: about *size* events."""
        self._turn += 1
        found = [sent for turn, sent in self._later if turn <= self._turn]
        self._later = [(turn, sent) for turn, sent in self._later if turn > self._turn]
        while len(found) < size:
            number = self.chance.choice(self._names)
            mark = self._marks.get(number)
            chance = self.chance.random()
            if number in self._partners and mark is not None and chance > 0.84:
                found += self._moved(number, self._partners[number])
            elif mark is None or (chance < 0.68 and mark != DELETED):
                found.append(self.write(number))
            elif mark == DELETED:  # who comes back is enrolled anew
                sent = self.write(number)
                found.append(Sent(*_fields(sent), {**sent.body, "operation": "enroll"}))
            elif chance < 0.76:
                found.append(self.write(number, what="touch"))
            elif chance < 0.84:
                some = [self.write(number) for _ in range(3)]
                found.append(some.pop())  # the newest first, the others afterwards
                self._later += [(self._turn + self.chance.randint(1, 6), one) for one in some]
            elif chance < 0.88:
                found.append(self.write(number, what=self.chance.choice(["unmappable", "refused"])))
            elif chance < 0.91:
                found.append(self.write(number, what="delete"))
            elif self._past:
                found.append(self.chance.choice(self._past))
        self._past = (self._past + found)[-400:]
        return found

    def _moved(self, giver: str, taker: str) -> list[Sent]:
        """Give a member a new address, and its old one to another; whichever of the two comes first."""
        given = self._addresses.get(giver, f"{giver.lower()}@example.org")
        self._addresses[giver] = f"{giver.lower()}.{self._versions[giver]}@example.org"
        first = self.write(giver)
        self._addresses[taker] = given
        return self.chance.sample([first, self.write(taker)], 2)

    def rest(self) -> list[Sent]:
        """Return what was still to be sent."""
        later, self._later = [sent for _, sent in self._later], []
        return later

    def malformed(self) -> object:
        """Write something that nobody can take."""
        return self.chance.choice([{"operation": "update"}, 7, {"operation": "x", "member": {}}, {"member": None}])


def _fields(sent: Sent) -> tuple[str, str, int, str, bool]:
    return sent.event_id, sent.number, sent.version, sent.mark, sent.is_good


def dice_of(*what: object) -> Random:
    """Return chance that is the same in each run, for each purpose another."""
    return dice(crc32(repr(what).encode()))


def hash_of(number: str) -> int:
    """Return a number that is the same in each run."""
    return sum(number.encode())


class Producers:
    """Post events to the api, those of a member one after the other, until each is answered."""

    def __init__(self, api_url: str) -> None:
        self.accepted = Accepted()
        self.give_up = threading.Event()
        self._url = f"{api_url}/v1/member-events"
        self._queues: list[queue.SimpleQueue[list[object] | None]] = [queue.SimpleQueue() for _ in range(_SENDERS)]
        self._lock = threading.Lock()
        self._left = 0

    def send(self, events: list[Sent], *others: object) -> None:
        """Have events sent, *others* are no events."""
        parts: list[list[object]] = [[] for _ in self._queues]
        for one in events:
            parts[hash_of(one.number) % _SENDERS].append(one)
        parts[0] += others
        with self._lock:
            self._left += sum(map(bool, parts))
        for part, some in zip(parts, self._queues, strict=True):
            if part:
                some.put(part)

    def accepted_by_now(self) -> Accepted:
        """Return what was answered until now; what is answered later does not change it."""
        with self._lock:
            events = {number: list(some) for number, some in self.accepted.events.items()}
            return Accepted(events, dict(self.accepted.instances), self.accepted.answers, list(self.accepted.wrong))

    @property
    def is_done(self) -> bool:
        """Whether all was answered."""
        with self._lock:
            return self._left == 0

    @contextmanager
    def at_work(self) -> Iterator["Producers"]:
        threads = [threading.Thread(target=self._work, args=(some,), daemon=True) for some in self._queues]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.give_up.set()
            for some in self._queues:
                some.put(None)
            for thread in threads:
                thread.join()

    def _work(self, some: "queue.SimpleQueue[list[object] | None]") -> None:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as http:
            while (part := some.get()) is not None and not self.give_up.is_set():
                self._post(http, part)
                with self._lock:
                    self._left -= 1

    def _post(self, http: httpx.Client, part: list[object]) -> None:
        body = [one.body if isinstance(one, Sent) else one for one in part]
        while not self.give_up.is_set():
            try:
                answer = http.post(self._url, json=body)
            except httpx.TransportError:
                time.sleep(_ASK_AGAIN_S)
                continue
            if answer.status_code in {202, 422}:
                self._note(part, answer.json()["results"])
                return
            if answer.status_code != 503:
                with self._lock:
                    self.accepted.wrong.append(f"HTTP {answer.status_code}: {answer.text[:200]}")
            time.sleep(_ASK_AGAIN_S)

    def _note(self, part: list[object], results: list[dict[str, Any]]) -> None:
        with self._lock:
            for one, result in zip(part, results, strict=True):
                self.accepted.answers += 1
                outcome = result["outcome"]
                if not isinstance(one, Sent):
                    if outcome != "refused" or not result["reason"]:
                        self.accepted.wrong.append(f"{one} was {outcome}")
                elif outcome not in GOOD:
                    self.accepted.wrong.append(f"{one.event_id} was {outcome}: {result['reason']}")
                elif one.event_id not in self.accepted.instances:
                    self.accepted.instances[one.event_id] = int(result["instance_id"])
                    self.accepted.events.setdefault(one.number, []).append(one)

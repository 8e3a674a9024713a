"""A recording as a load: the same messages at the same distances, or closer together, and what came of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import httpx

from deploy.siebel.pseudonyms import Pseudonyms, UnreadableError
from deploy.siebel.recorder import PATH
from deploy.siebel.recording import Message
from producers.cli.over_http import results_in

_HUNDREDTHS = 100
_NO_ANSWER = "no_answer"
_ANSWERED = {202, 422}
Send = Callable[[Message], httpx.Response]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to send: *speed* times as fast as they came, while at most *at_once* wait for their answers."""

    speed: float
    at_once: int


@dataclass(slots=True)
class Report:
    """What came of a replay.

    Shape: *statuses* of HTTP, 0 where no answer came, and *outcomes* of events, with their counts; *took_s* of each
    answer; *behind_s* is by how much the latest message was sent late, because all senders waited for answers;
    *unreadable* messages could not be given other names, and were not sent; *foreign* answers were good by their status
    and no api's.  Units: seconds.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    behind_s: float = 0.0
    unreadable: int = 0
    foreign: int = 0

    @property
    def is_taken(self) -> bool:
        """Whether there were messages, and intake has an answer to the events of each."""
        return bool(self.statuses) and self.statuses.keys() <= _ANSWERED and not self.foreign

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        cuts = quantiles(self.took_s, n=_HUNDREDTHS) if len(self.took_s) > 1 else self.took_s * (_HUNDREDTHS - 1)
        return {
            "messages": self.statuses.total(),
            "statuses": {str(status or _NO_ANSWER): count for status, count in sorted(self.statuses.items())},
            "events": dict(self.outcomes.most_common()),
            "answered_ms": {f"p{at}": round(cuts[at - 1] * 1000, 1) for at in (50, 95, 99)} if cuts else {},
            "behind_s": round(self.behind_s, 3),
            "unreadable": self.unreadable,
            "foreign": self.foreign,
        }


def sender(api: httpx.Client) -> Send:
    """Return what sends a message to *api*."""

    def send(message: Message) -> httpx.Response:
        lane = {"lane": message.lane} if message.lane else {}
        return api.post(PATH, params=lane, content=message.body, headers={"Content-Type": message.content_type})

    return send


def replayed(recorded: Iterable[Message], send: Send, pace: Pace, pseudonyms: Pseudonyms | None = None) -> Report:
    """Send what was *recorded*, and return what came of it.

    Each is due by the time of the first, not of the one before: a slow answer delays nothing but itself, until all
    senders wait.  The order of their beginnings is kept.
    """
    report = Report()
    lock, free = threading.Lock(), threading.BoundedSemaphore(pace.at_once)

    def one(message: Message) -> None:
        begun_s = time.monotonic()
        results: list[dict[str, Any]] | None = None
        try:
            answer = send(message)
            status, results = answer.status_code, results_in(answer)
        except httpx.RequestError:
            status = 0
        finally:
            free.release()
        with lock:
            report.statuses[status] += 1
            report.foreign += results is None and status in _ANSWERED
            report.outcomes.update(str(one["outcome"]) for one in results or ())
            report.took_s.append(time.monotonic() - begun_s)

    sent: list[Future[None]] = []
    never = threading.Event()
    first_s: float | None = None
    begun_s = time.monotonic()
    with ThreadPoolExecutor(pace.at_once) as senders:
        for message in recorded:
            try:
                new = message if pseudonyms is None else _renamed(message, pseudonyms)
            except UnreadableError:
                report.unreadable += 1
                continue
            first_s = message.at_s if first_s is None else first_s
            due_s = begun_s + (message.at_s - first_s) / pace.speed
            if (left_s := due_s - time.monotonic()) > 0:
                never.wait(left_s)
            free.acquire()
            report.behind_s = max(report.behind_s, time.monotonic() - due_s)
            sent = [ended for ended in sent if not ended.done() or ended.result()]
            sent.append(senders.submit(one, new))
    for ended in sent:
        ended.result()
    return report


def _renamed(message: Message, pseudonyms: Pseudonyms) -> Message:
    body = pseudonyms.body(message.content_type, message.body)
    return Message(message.at_s, message.lane, message.content_type, body)

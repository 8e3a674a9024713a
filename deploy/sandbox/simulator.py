"""One outside system on one port: latency and faults around the system's own answer, and the record of its calls.

What it can be told while it runs is one frozen object, replaced as a whole.  Of its calls it knows how many there were,
the busiest minute, how many of one member at once, and the last ones.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl, quote

from deploy.sandbox.faults import Fault, FaultPlan, Kind, dice
from deploy.sandbox.wire import Answer, Handler, Listener, Request, Response

_WINDOW_S = 60.0
_REMEMBERED = 20_000
_OVERLAPS_NAMED = 1_000


@dataclass(slots=True)
class Call:
    """One call at work; ``status`` stays None when it gets no answer."""

    method: str
    path: str
    query: str
    keys: tuple[str, ...]
    at: float
    began: float
    status: int | None = None


class CallLog:
    """The record of one simulator's calls.

    A call is in flight from the moment it has arrived until it is answered or its client has gone.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all calls but those in flight, which end as if they had not been."""
        self._last: deque[tuple[Call, float]] = deque(maxlen=_REMEMBERED)
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._window: deque[float] = deque()
        self._busiest = 0
        self._in_flight: dict[str, int] = {}
        self._at_once = 0
        self._max_at_once = 0
        self._max_per_key = 0
        self._overlapping: set[str] = set()

    def begin(self, request: Request, keys: tuple[str, ...]) -> Call:
        """Count a call that has arrived, for the members of *keys*."""
        now = time.monotonic()
        window = self._window
        window.append(now)
        while window[0] <= now - _WINDOW_S:
            window.popleft()
        self._busiest = max(self._busiest, len(window))
        self._at_once += 1
        self._max_at_once = max(self._max_at_once, self._at_once)
        for key in keys:
            at_once = self._in_flight.get(key, 0) + 1
            self._in_flight[key] = at_once
            self._max_per_key = max(self._max_per_key, at_once)
            if at_once > 1 and len(self._overlapping) < _OVERLAPS_NAMED:
                self._overlapping.add(key)
        return Call(request.method, request.path, request.query_string, keys, time.time(), now)

    def end(self, call: Call, *, record: bool) -> None:
        """Count its end; keep it among the last calls when *record*."""
        self._counts[call.method, call.status] += 1
        self._at_once = max(0, self._at_once - 1)
        for key in call.keys:
            left = self._in_flight.get(key, 0) - 1
            if left > 0:
                self._in_flight[key] = left
            else:
                self._in_flight.pop(key, None)
        if record:
            self._last.append((call, time.monotonic() - call.began))

    def summary(self) -> dict[str, object]:
        """Return the counts as JSON."""
        by_method: dict[str, dict[str, int]] = {}
        totals: Counter[str] = Counter()
        for (method, status), calls in self._counts.items():
            by_method.setdefault(method, {})["none" if status is None else str(status)] = calls
            totals[method] += calls
        now = time.monotonic()
        return {
            "calls": by_method,
            "calls_total": totals.total(),
            "posts": totals["POST"],
            "puts": totals["PUT"],
            "gets": totals["GET"],
            "deletes": totals["DELETE"],
            "in_flight": self._at_once,
            "max_in_flight": self._max_at_once,
            "max_in_flight_per_member": self._max_per_key,
            "overlapping_keys": sorted(self._overlapping),
            "calls_last_minute": sum(at > now - _WINDOW_S for at in self._window),
            "max_calls_per_minute": self._busiest,
        }

    def last(self, limit: int, key: str | None) -> list[dict[str, object]]:
        """Return the last calls as JSON, newest last; only those of the member *key* when it is given."""
        chosen = [pair for pair in self._last if key is None or key in pair[0].keys]
        return [
            {
                "at": call.at,
                "method": call.method,
                "path": _path_without_api_key(call),
                "key": call.keys[0] if call.keys else None,
                "keys": call.keys,
                "status": call.status,
                "ms": round(took_s * 1000, 3),
            }
            for call, took_s in chosen[-limit:]
        ]


def _path_without_api_key(call: Call) -> str:
    query = parse_qsl(call.query, keep_blank_values=True)
    kept = "&".join(f"{quote(name)}={quote(value)}" for name, value in query if name != "api_key")
    return f"{call.path}?{kept}" if kept else call.path


class SettingsError(ValueError):
    """A setting is unknown or has the wrong type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every simulator can be told.

    Units: milliseconds; the jitter is drawn evenly from 0 to ``latency_jitter_ms`` and added.  ``capacity`` calls are
    served at once, others wait for that in the order in which they came, which is the knee of its latency; 0: all.
    """

    latency_ms: float = 0
    latency_jitter_ms: float = 0
    capacity: int = 0
    record_calls: bool = True


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def changed(settings: SomeSettings, changes: object) -> SomeSettings:
    """Return *settings* with the JSON object *changes* applied.

    Raises:
        SettingsError: names the setting.
    """
    if not isinstance(changes, dict):
        raise SettingsError("settings are an object")
    known = {field.name for field in fields(settings)}
    for name, value in changes.items():
        if name not in known:
            raise SettingsError(f"{name}: unknown; known are {', '.join(sorted(known))}")
        number = type(getattr(settings, name)) in (int, float) and type(value) in (int, float)
        if not number and type(value) is not type(getattr(settings, name)):
            raise SettingsError(f"{name}: must be {type(getattr(settings, name)).__name__}")
    return replace(settings, **changes)


class Api(Protocol):
    """What a simulated system gives its simulator."""

    @property
    def settings(self) -> Settings:
        """What it was told."""

    def configure(self, changes: object) -> None:
        """Change settings; SettingsError when they are wrong."""

    def answer(self, request: Request) -> Response:
        """Apply the request and answer it."""

    def keys(self, request: Request) -> tuple[str, ...]:
        """Name the members the request is about, one name each."""

    def aliases(self, keys: tuple[str, ...]) -> frozenset[str]:
        """Return every name these members go by."""

    def counts(self) -> dict[str, object]:
        """Say how much it holds, for the state."""

    def inspect(self, method: str, what: str, request: Request) -> Response | None:
        """Answer a control call of its own; None when there is no such call."""

    def reset(self) -> None:
        """Forget everything, settings included."""

    def dump(self) -> dict[str, object]:
        """Return what it holds, to be kept in a file."""

    def load(self, kept: dict[str, object]) -> None:
        """Hold what was dumped."""


class Simulator:
    """An outside system that can be slow, broken or gone.

    Args:
        name: ``oic``, ``crowdtwist`` or ``siebel``.
        api: the system itself.
        host: the address to bind.
        port: 0 takes a free one.
        control: answers requests for ``/_sandbox/`` on this port.
    """

    def __init__(self, name: str, api: Api, *, host: str, port: int, control: Handler) -> None:
        self.name = name
        self.api = api
        self.calls = CallLog()
        self.faults = FaultPlan()
        self.listener = Listener(host, port, self._receive)
        self._control = control
        self._late: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._reopening: set[asyncio.Task[None]] = set()
        self._dice = dice(20240601)
        self._served = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    def state(self) -> dict[str, object]:
        """Return the summary of everything, as JSON."""
        return {
            "name": self.name,
            **self.api.counts(),
            **self.calls.summary(),
            "faults": len(self.faults.active()),
            "late_writes_pending": len(self._late),
        }

    def _receive(self, request: Request) -> Answer | Coroutine[object, object, Answer]:
        if request.path.startswith("/_sandbox/"):
            return self._control(request)
        keys = self.api.keys(request)
        call = self.calls.begin(request, keys)
        fault = self.faults.pick(request, self.api.aliases(keys)) if self.faults else None
        settings = self.api.settings
        if fault is not None or settings.latency_ms or settings.latency_jitter_ms or settings.capacity:
            return self._receive_slowly(request, call, fault)
        try:
            response = self.api.answer(request)
            call.status = response.status
            return response
        finally:
            self.calls.end(call, record=settings.record_calls)

    async def _receive_slowly(self, request: Request, call: Call, fault: Fault | None) -> Answer:
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self.calls.end(call, record=self.api.settings.record_calls)

        request.connection.when_lost(end)
        try:
            settings = self.api.settings
            latency_ms = settings.latency_ms + settings.latency_jitter_ms * self._dice.random()
            async with self._place():
                await asyncio.sleep(latency_ms / 1000)
            answer = self.api.answer(request) if fault is None else await self._fail(request, fault)
            if answer is not None and not ended:
                call.status = answer.status
            return answer
        finally:
            end()

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the places of ``capacity``, waiting for it behind those who wait already."""
        if self.api.settings.capacity:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            self._call_next()
            await turn
        else:
            self._served += 1
        try:
            yield
        finally:
            self._served -= 1
            self._call_next()

    def _call_next(self) -> None:
        while self._queue and (not self.api.settings.capacity or self._served < self.api.settings.capacity):
            turn = self._queue.popleft()
            if not turn.done():
                self._served += 1
                turn.set_result(None)

    async def _fail(self, request: Request, fault: Fault) -> Answer:
        match fault.kind:
            case Kind.HANG:
                await request.connection.until_lost()
            case Kind.SLOW:
                await asyncio.sleep(fault.seconds)
                return self.api.answer(request)
            case Kind.DROP:
                pass
            case Kind.DROP_AFTER:
                self.api.answer(request)
            case Kind.APPLY_LATE:

                async def apply() -> None:
                    await asyncio.sleep(fault.seconds)
                    self.api.answer(request)

                late = asyncio.get_running_loop().create_task(apply())
                self._late.add(late)
                late.add_done_callback(self._late.discard)
                if fault.status is not None:
                    return fault.answer()
                if fault.hang:
                    await request.connection.until_lost()
            case _:
                return fault.answer()
        return None

    def add_faults(self, descriptions: list[object]) -> list[int]:
        """Add faults and let them begin; return their ids.

        Raises:
            FaultError: one describes none; those before it stand.
        """
        added = [self.faults.add(description) for description in descriptions]
        loop = asyncio.get_running_loop()

        def reopen() -> None:
            task = loop.create_task(self.reconcile())
            self._reopening.add(task)
            task.add_done_callback(self._reopening.discard)

        for fault in added:
            if fault.kind is Kind.REFUSE and fault.for_s is not None:
                self._timers.add(loop.call_later(fault.for_s + 0.001, reopen))
        return [fault.id for fault in added]

    async def reconcile(self) -> None:
        """Listen or refuse, as the faults say now."""
        if self.faults.refusing():
            self.listener.refuse()
        else:
            await self.listener.listen()

    async def reset(self) -> None:
        """Be as at the start: no faults, no members, no calls; the port listens."""
        await self._stop_late()
        self.faults.remove()
        self.api.reset()
        self.calls.clear()
        await self.reconcile()

    async def close(self) -> None:
        """Release the port and stop what is at work."""
        await self._stop_late()
        await self.listener.close()

    async def _stop_late(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for task in (*self._late, *self._reopening):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

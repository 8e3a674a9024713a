"""One outside system on one port: latency and faults around the system's own answer, and the record of its calls.

What it can be told while it runs is one frozen object, replaced as a whole.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar

from deploy.sandbox.calls import Call, CallLog, Entry
from deploy.sandbox.faults import Fault, FaultPlan, Kind, dice
from deploy.sandbox.wire import Answer, Connection, Handler, Listener, Request, Response

_WITHHELD_BYTES = 17


class SettingsError(ValueError):
    """A setting is unknown or has the wrong type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every simulator can be told.

    Units: milliseconds; the jitter is drawn evenly from 0 to ``latency_jitter_ms`` and added.  ``capacity`` calls are
    served at once, others wait for that in the order in which they came, which is the knee of its latency; 0: all.
    ``journal``: whatever it is asked to change is kept, with the answer.
    """

    latency_ms: float = 0
    latency_jitter_ms: float = 0
    capacity: int = 0
    record_calls: bool = True
    journal: bool = False


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
        self.journal: list[Entry] = []
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
            response = self._apply(request, call)
            call.status = response.status
            return response
        finally:
            self.calls.end(call, record=settings.record_calls)

    def _apply(self, request: Request, call: Call, *, late: bool = False) -> Response:
        """Let the system apply the request, and keep it where a journal is kept."""
        response = self.api.answer(request)
        if self.api.settings.journal and request.method != "GET":
            is_late = late or request.connection.transport is None
            of = (request.method, request.path, call.keys, request.document(), response.status, is_late)
            self.journal.append(Entry(time.time(), call.at, *of))
        return response

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
            answer = self._apply(request, call) if fault is None else await self._fail(request, call, fault)
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

    async def _fail(self, request: Request, call: Call, fault: Fault) -> Answer:
        match fault.kind:
            case Kind.HANG:
                await request.connection.until_lost()
            case Kind.SLOW:
                await asyncio.sleep(fault.seconds)
                return self._apply(request, call)
            case Kind.DROP:
                pass
            case Kind.DROP_AFTER | Kind.WRONG_LENGTH | Kind.DRIP:
                return await self._garble(request.connection, self._apply(request, call), fault)
            case Kind.APPLY_LATE:

                async def apply() -> None:
                    await asyncio.sleep(fault.seconds)
                    self._apply(request, call, late=True)

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

    @staticmethod
    async def _garble(connection: Connection, answer: Response, fault: Fault) -> Answer:
        """Answer what was applied so that nobody can read it."""
        if fault.kind is Kind.WRONG_LENGTH:
            return answer._replace(withheld=_WITHHELD_BYTES)
        if fault.kind is Kind.DRIP:
            await connection.drip(answer, fault.seconds)
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
        self.journal.clear()
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

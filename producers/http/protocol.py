"""HTTP as clients really speak it: slowly, too much at once, only half, or on after the answer.

uvicorn times nothing but the quiet between two requests.  Here, for every connection:

| what                                           | becomes of it                                                     |
|------------------------------------------------|-------------------------------------------------------------------|
| a head that is not whole in time               | 408, closed; one that has not begun: closed                       |
| a body that stalls, or all but does            | 408, closed                                                       |
| a head that is too long                        | 414 or 431, closed                                                |
| an answer that closes before the body is whole | what still comes is thrown away for a while, so that it is read   |
| one connection too many                        | the one that has waited longest makes room                        |
| an answer of which nothing is read             | reset, as is the connection                                       |
| requests on, before the answers are out        | not read before those that have come are answered                 |
| `Upgrade`, to h2c say                          | not taken up, as RFC 9110, section 7.8 allows: like any request   |
"""

import asyncio
import resource
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sized
from enum import Enum, auto
from typing import Any, ClassVar, cast

import httptools
from fastapi import Response
from uvicorn import Config
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from producers.http.request import problem
from shared.logs import logger
from shared.settings import ApiSettings

log = logger(__name__)

_ADDRESS_MAX_BYTES = 60 * 1024
_HEAD_MAX_BYTES = 64 * 1024
_SLOWEST_BYTES_PER_S = 100
_HURRIES_AFTER_S = 60.0
"""A body may come as slowly as it likes for so long; then it must have come at `_SLOWEST_BYTES_PER_S` at least."""
_SILENCES_DRAINED = 2
_DRAINED_MAX_BYTES = 1024 * 1024 * 1024
"""After its answer a body may go on for so many times what it may be silent, or so long; then it is reset."""
_OTHER_FILES = 128
"""File descriptors that connections leave to the ledger, to logs and to whatever is opened for a moment."""
_CONNECTIONS_MIN = 16
_TRY_AGAIN = {"Retry-After": "2"}


class _Phase(Enum):
    BETWEEN = auto()
    """Nothing of a request has come."""
    HEAD = auto()
    BODY = auto()
    DRAINING = auto()
    """It was answered for the last time; nobody reads what comes."""


class _HeadTooLongError(Exception):
    """Breaks the parser off."""


class PatientProtocol(HttpToolsProtocol):
    """One connection.  Use `protocol_of`, which gives the class its limits and what its connections share."""

    limits: ClassVar[ApiSettings]
    most: ClassVar[int]
    waiting: "ClassVar[OrderedDict[PatientProtocol, None]]"
    """Connections on which no request is under way, the oldest first."""
    sending: "ClassVar[OrderedDict[PatientProtocol, None]]"
    """Connections whose body is not whole."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._phase = _Phase.BETWEEN
        self._timer: asyncio.TimerHandle | None = None
        self._real: asyncio.Transport
        self._head_bytes = 0
        self._skips_body = False
        self._heard_at = self._began_at = 0.0
        self._got_bytes = 0

    # What the transport tells us

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for a head."""
        self._real = transport
        seen = cast("asyncio.Transport", _Transport(transport, self))
        super().connection_made(seen)
        self.flow = _Flow(seen, self.pipeline, self.limits.body_silence_s)
        self._wait()
        self._watch(self.limits.head_within_s, self._head_is_late)
        if len(self.connections) > self.most:
            victim = next((one for one in (*self.waiting, *self.sending) if one is not self), None)
            if victim is not None:
                victim.make_way()
            else:
                self._refuse(problem(503, "too_many_connections", "too many connections are open", _TRY_AGAIN))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._unwatch()
        self.waiting.pop(self, None)
        self.sending.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._unset_keepalive_if_required()
        self._heard_at = self.loop.time()
        if self._phase is _Phase.DRAINING:
            self._got_bytes += len(data)
            if self._got_bytes > _DRAINED_MAX_BYTES:
                self._real.close()
            return
        self._head_bytes += len(data)  # from none again, if another head begins in it
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse_head(error)
            return
        if self._phase is _Phase.HEAD and self._head_bytes > _HEAD_MAX_BYTES:
            self._refuse_head(_HeadTooLongError())
        self._expect_more()

    def shutdown(self) -> None:
        """Stop, after the answer that is under way."""
        if self._phase is _Phase.DRAINING or self.cycle is None or self.cycle.response_complete:
            self._real.close()
        else:
            self.cycle.keep_alive = False

    def close(self) -> None:
        """Close it; whoever is still sending can first read the answer."""
        if self._phase is _Phase.DRAINING or self._real.is_closing():
            return
        self.sending.pop(self, None)
        if self._phase is _Phase.BETWEEN:
            self._real.close()
            return
        self._phase = _Phase.DRAINING
        self._began_at = self._heard_at = self.loop.time()
        self._got_bytes = 0
        self._wait()
        if self._real.can_write_eof():
            self._real.write_eof()
        self.pipeline.clear()
        self.flow.resume_reading()
        self._watch(self.limits.body_silence_s, self._body_is_late)

    def is_closing(self) -> bool:
        """Return whether nothing is answered on it any more."""
        return self._phase is _Phase.DRAINING or self._real.is_closing()

    # What the parser tells us

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._head_bytes = 0
        if self._timer is None:
            self._watch(self.limits.head_within_s, self._head_is_late)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a chunked body say nothing here."""
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > _ADDRESS_MAX_BYTES or size > _HEAD_MAX_BYTES:
            raise _HeadTooLongError
        self._skips_body = self.parser.should_upgrade()  # the parser takes what follows for another protocol
        if self._skips_body:
            return
        super().on_headers_complete()
        self._unwatch()
        self._phase = _Phase.BODY
        self.waiting.pop(self, None)
        self.sending[self] = None
        self._began_at, self._got_bytes = self.loop.time(), 0

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._got_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._skips_body:
            return
        super().on_message_complete()
        self._unwatch()
        if self._phase is _Phase.BODY:
            self._phase = _Phase.BETWEEN
        self.sending.pop(self, None)

    def on_response_complete(self) -> None:
        """An answer is whole."""
        super().on_response_complete()
        if self._phase is _Phase.BODY and not self.is_closing():
            self._began_at, self._got_bytes = self.loop.time(), 0
        self._expect_more()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Close after an answer before which the body was not asked for: whether it comes then is up to the client."""

        async def answering(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            async def sending(message: ASGISendEvent) -> None:
                if cycle.waiting_for_100_continue:
                    cycle.keep_alive = False
                await send(message)

            await app(scope, receive, sending)

        super()._start_asgi_task(cycle, answering if cycle.waiting_for_100_continue else app)

    def _parse(self, data: bytes) -> None:
        """Feed the parser; a request that would upgrade is fed again as one that would not."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                raise httptools.HttpParserError("CONNECT") from None
            kept = [one for one in self.headers if one[0] not in {b"upgrade", b"http2-settings"}]
            head = [b"%b %b HTTP/%b\r\n" % (method, self.url, version), *(b"%b: %b\r\n" % one for one in kept)]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self._parse(b"".join(head) + b"\r\n" + data[upgrade.args[0] :])

    # What is late

    def _expect_more(self) -> None:
        """See to it that no connection is open without a time-out, or somebody who works at its answer."""
        if self.is_closing():
            return
        answers = self.cycle is not None and not self.cycle.response_complete
        if self._phase is _Phase.BODY:
            self._unset_keepalive_if_required()
            if self._timer is None:
                self._watch(self.limits.body_silence_s, self._body_is_late)
        elif self._phase is _Phase.BETWEEN and not answers:
            self._wait()
            if self._timer is None and self.timeout_keep_alive_task is None:
                quiet_s, close = self.timeout_keep_alive, self.timeout_keep_alive_handler
                self.timeout_keep_alive_task = self.loop.call_later(quiet_s, close)

    def _head_is_late(self) -> None:
        if self.flow.read_paused:
            self._watch(self.limits.head_within_s, self._head_is_late)
        elif self._phase is _Phase.BETWEEN:
            self._real.close()
        elif self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # the answer to the request before it is not cut off
        else:
            self._refuse(problem(408, "unfinished_request", "the head of the request did not come in time"))

    def _body_is_late(self) -> None:
        now, silence_s = self.loop.time(), self.limits.body_silence_s
        least_bytes = (now - self._began_at - _HURRIES_AFTER_S) * _SLOWEST_BYTES_PER_S
        if self._phase is _Phase.DRAINING or self.cycle.response_complete:
            if now - self._began_at >= silence_s * _SILENCES_DRAINED or now - self._heard_at >= silence_s:
                self._real.close()
                return
        elif self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is we who are slow
            self._began_at, self._heard_at, self._got_bytes = now, now, 0
        elif now - self._heard_at >= silence_s or self._got_bytes < least_bytes:
            self._cut_off(problem(408, "unfinished_request", "the body of the request stopped coming"))
            return
        self._watch(max(self._heard_at + silence_s - now, 0.001), self._body_is_late)

    def _cut_off(self, answer: Response, *, drains: bool = False) -> None:
        """End a request whose body will not be whole."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self.cycle.response_started or self.pipeline:
            self._real.close()
        else:
            self._refuse(answer, drains=drains)

    def _watch(self, after_s: float, then: Callable[[], None]) -> None:
        self._unwatch()

        def ring() -> None:
            self._timer = None
            if not self._real.is_closing():
                then()

        self._timer = self.loop.call_later(after_s, ring)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Who is refused

    def _wait(self) -> None:
        """Be one of those that make room, after those that waited before."""
        self.waiting[self] = None
        self.waiting.move_to_end(self)

    def make_way(self) -> None:
        """Close it at once, for another one."""
        self.waiting.pop(self, None)
        self.sending.pop(self, None)
        self._real.close()

    def _refuse_head(self, error: Exception) -> None:
        cause = error if isinstance(error, _HeadTooLongError) else error.__context__
        if not isinstance(cause, _HeadTooLongError):
            answer = problem(400, "unreadable_request", "this is not HTTP/1.1 as RFC 9112 has it")
        elif len(self.url) > _ADDRESS_MAX_BYTES:
            answer = problem(414, "address_too_long", f"the address is longer than {_ADDRESS_MAX_BYTES} bytes")
        else:
            answer = problem(431, "head_too_long", f"the head is longer than {_HEAD_MAX_BYTES} bytes")
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(answer, drains=True)
        elif self._phase is _Phase.BODY:
            self._cut_off(answer, drains=True)
        else:
            self.cycle.keep_alive = False  # the answer to the request before it goes first, and closes
            self.flow.pause_reading()

    def _refuse(self, answer: Response, *, drains: bool = False) -> None:
        """Answer without the app, and close."""
        answer.headers["X-Request-Id"] = request_id = uuid.uuid4().hex
        log.info("request", method="unknown", path="unknown", status=answer.status_code, request_id=request_id)
        headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        said = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._real.write(STATUS_LINE[answer.status_code] + said + b"\r\n" + bytes(answer.body))
        if drains:
            self._phase = _Phase.HEAD
            self.close()
        else:
            self._real.close()


class _Transport:
    """The transport as uvicorn sees it: closing it is up to the protocol."""

    def __init__(self, real: asyncio.Transport, protocol: PatientProtocol) -> None:
        self._real = real
        self.close = protocol.close
        self.is_closing = protocol.is_closing

    def __getattr__(self, name: str) -> object:
        attribute: object = getattr(self._real, name)
        return attribute


class _Flow(FlowControl):
    """Reading in turns: uvicorn's reads on after each answer, however many requests still wait for theirs."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized, silence_s: float) -> None:
        super().__init__(transport)
        self._pipeline = pipeline
        self._silence_s = silence_s
        self._timer: asyncio.TimerHandle | None = None

    def resume_reading(self) -> None:
        """Read on, unless requests wait: they would fill the memory."""
        if not self._pipeline:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Wait until the client has read some of its answer, but not for ever."""
        super().pause_writing()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._silence_s, self._transport.abort)

    def resume_writing(self) -> None:
        """Write on; called too when the connection is lost."""
        super().resume_writing()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol_of(limits: ApiSettings) -> type[PatientProtocol]:
    """Return the protocol of one server."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(limits.connections_max, max(files - _OTHER_FILES, _CONNECTIONS_MIN))
    shared = {"limits": limits, "most": most, "waiting": OrderedDict(), "sending": OrderedDict()}
    return type("PatientProtocol", (PatientProtocol,), shared)

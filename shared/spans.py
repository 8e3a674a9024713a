"""Traces: one of each event that is sampled, from its acceptance to the status in Siebel (OpenTelemetry).

| span               | trace         | parent                                  | made by                         |
|--------------------|---------------|-----------------------------------------|---------------------------------|
| `member-events`    | the event's   | the producer's, if it stated one        | the api, for a request          |
| `<stage> attempt`  | the event's   | the request's                           | a worker, for one instance      |
| `membersync.<task>`| its own       | none; links each attempt, and is linked | a worker, for a batch           |

The `traceparent` of an event is kept with it in the ledger (`payload`), so that a retry days later, a requeue and a
restart go on in the same trace.  What is not sampled there costs the workers nothing.  A producer that says whether it
traces is obeyed, one that says nothing is sampled by ratio; a header that is not of W3C's form is no header.

No attribute says whom anything is about: instance ids and codes, no member numbers, no URLs, no sentences of others.

Spans are made when they have ended, all at once: nothing of OpenTelemetry's is on the way of a call, and nothing of it
is imported unless `MEMBERSYNC_TRACING__OTLP_URL` is set.  A process starts this after it was forked.
"""

import random
import re
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from shared.addresses import proxy_for
from shared.settings import Settings

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1
_RATIO_BITS = 64
"""Of a trace id, as OpenTelemetry's own samplers have it: what one of them takes, all take."""
_EXPORT_WITHIN_S = 3.0
_FLUSH_WITHIN_S = 5.0
Attributes = Mapping[str, str | int | float | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Place:
    """A span's place, as `traceparent` says it.  Source: W3C Trace Context, section 3.2."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """It as the header."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"

    @property
    def trace(self) -> str:
        """The trace's id as people see it."""
        return f"{self.trace_id:032x}"


def place_of(stated: str | None) -> Place | None:
    """Return what a `traceparent` says; None: nothing, or nothing of its form."""
    found = _PARENT.fullmatch(stated or "")
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    place = Place(int(found[2], 16), int(found[3], 16), bool(int(found[4], 16) & _SAMPLED))
    return place if place.trace_id and place.span_id else None


@dataclass(slots=True)
class Request:
    """A request on its way: its place, where it is traced, and what its events are to keep as `traceparent`."""

    kept: str = ""
    place: Place | None = None
    parent: Place | None = None
    begun_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that has ended.  Shape: *traceparent* is its event's; *failed* whether it is shown as an error."""

    traceparent: str
    failed: bool
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class _Span:
    """A span that ends now.  Shape: *kind* is OpenTelemetry's."""

    name: str
    place: Place
    kind: Any
    begun_ns: int
    parent: Place | None = None
    failed: bool = False


class Tracer:
    """What makes the spans of this process, and sends them in a thread of its own."""

    def __init__(self, of: Settings, process: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415  # only where traces are wanted
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
        from requests import Session  # noqa: PLC0415  # what OpenTelemetry's exporter sends with

        self._api, self._span = trace, ReadableSpan
        self._ratio = of.tracing.sample_ratio
        ours = version("membersync")
        self._scope = InstrumentationScope("membersync", ours)
        self._resource = _hashed_once(Resource)(
            Resource.create(
                {"service.name": "membersync", "service.version": ours, "membersync.process": process}
            ).attributes
        )
        url = f"{of.tracing.otlp_url}/v1/traces"
        session = Session()
        session.trust_env = False  # the proxies and authorities are those of every other call of ours
        if proxy := proxy_for(url):
            session.proxies = {"http": proxy.url, "https": proxy.url}
        trusted = ssl.get_default_verify_paths().cafile
        sender = OTLPSpanExporter(endpoint=url, timeout=_EXPORT_WITHIN_S, certificate_file=trusted, session=session)
        self._sending: Any = BatchSpanProcessor(sender)
        self._dice = random.SystemRandom()

    def request(self, parent: Place | None) -> Request:
        """Begin a request; say whether it is traced."""
        trace_id = parent.trace_id if parent else self._dice.getrandbits(128)
        if not (parent.sampled if parent else trace_id % 2**_RATIO_BITS < self._ratio * 2**_RATIO_BITS):
            return Request(parent.traceparent if parent else "")
        place = Place(trace_id, self._new_id(), sampled=True)
        return Request(place.traceparent, place, parent)

    def answered(self, request: Request, status: int, outcomes: Mapping[str, int]) -> None:
        """End *request*, if it is traced.  Shape: *outcomes* how many events came to what; *status* 0: no answer."""
        if request.place is None:
            return
        attributes: dict[str, Any] = {"http.request.method": "POST", "http.route": "/v1/member-events"}
        attributes["http.response.status_code"] = status
        attributes |= {f"membersync.events.{name}": count for name, count in outcomes.items()}
        ours = not status or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        self._ended(
            _Span(
                "member-events", request.place, self._api.SpanKind.SERVER, request.begun_ns, request.parent, failed=ours
            ),
            attributes,
        )

    def batch(self, task: str, stage: str, begun_ns: int, tried: Iterable[Tried], attributes: Attributes) -> list[str]:
        """Show a batch and the attempts of it that are traced; return their traces.  None of them: nothing is shown."""
        traced = [(one, parent) for one in tried if (parent := place_of(one.traceparent)) and parent.sampled]
        if not traced:
            return []
        of_batch = Place(self._dice.getrandbits(128) or 1, self._new_id(), sampled=True)
        back = (self._api.Link(self._context(of_batch)),)
        kinds, links = self._api.SpanKind, []
        for one, parent in traced:
            place = Place(parent.trace_id, self._new_id(), sampled=True)
            span = _Span(f"{stage} attempt", place, kinds.INTERNAL, begun_ns, parent, failed=one.failed)
            self._ended(span, one.attributes, back)
            links.append(self._api.Link(self._context(place)))
        self._ended(_Span(task, of_batch, kinds.CONSUMER, begun_ns), attributes, links)
        return sorted({parent.trace for _, parent in traced})

    def stop(self) -> None:
        """Send what there is; for no longer than somebody who stops a process would wait."""
        ending = threading.Thread(target=self._sending.shutdown, daemon=True)
        ending.start()
        ending.join(_FLUSH_WITHIN_S)

    def _new_id(self) -> int:
        return self._dice.getrandbits(64) or 1

    def _context(self, place: Place) -> Any:  # noqa: ANN401  # OpenTelemetry's, which need not be installed
        flags = self._api.TraceFlags(int(place.sampled))
        return self._api.SpanContext(place.trace_id, place.span_id, is_remote=False, trace_flags=flags)

    def _ended(self, span: "_Span", attributes: Attributes, links: Sequence[Any] = ()) -> None:
        code = self._api.StatusCode.ERROR if span.failed else self._api.StatusCode.UNSET
        self._sending.on_end(
            self._span(
                name=span.name,
                context=self._context(span.place),
                parent=None if span.parent is None else self._context(span.parent),
                resource=self._resource,
                attributes=attributes,
                links=links,
                kind=span.kind,
                status=self._api.Status(code),
                start_time=span.begun_ns,
                end_time=time.time_ns(),
                instrumentation_scope=self._scope,
            )
        )


def _hashed_once(resource: Any) -> Any:  # noqa: ANN401  # OpenTelemetry's class
    """Return a kind of *resource* that is hashed by what it is: its own way makes JSON of all of it, for each span."""
    return type("Resource", (resource,), {"__hash__": object.__hash__})


class _Process:
    """The tracer of this process, where one was started."""

    tracer: Tracer | None = None


def start(of: Settings, process: str) -> None:
    """Begin to trace, if that is wanted; after a fork, never before."""
    _Process.tracer = Tracer(of, process) if of.tracing.otlp_url else None


def stop() -> None:
    """End it, and send what there is."""
    if _Process.tracer is not None:
        _Process.tracer.stop()
        _Process.tracer = None


def tracer() -> Tracer | None:
    """Return the tracer of this process; None: nothing is traced."""
    return _Process.tracer


def named(traceparent: str) -> dict[str, str]:
    """Return what a line of the log says of the trace that an event is in; nothing where nothing of it is traced."""
    place = place_of(traceparent) if _Process.tracer is not None and traceparent else None
    return {"trace_id": place.trace} if place and place.sampled else {}


def request(stated: Sequence[str]) -> Request:
    """Begin a request that states these `traceparent`s: one, or it says nothing.  Kept even where nothing is traced."""
    parent = place_of(stated[0]) if len(stated) == 1 else None
    if _Process.tracer is None:
        return Request(parent.traceparent if parent else "")
    return _Process.tracer.request(parent)


def answered(of: Request, status: int, outcomes: Mapping[str, int]) -> None:
    """End a request."""
    if _Process.tracer is not None:
        _Process.tracer.answered(of, status, outcomes)

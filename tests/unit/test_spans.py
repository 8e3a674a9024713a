"""What a `traceparent` says, who is sampled, and that tracing is wanted only where it can be done."""

import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from pydantic import ValidationError

from shared import spans
from shared.settings import Settings
from shared.spans import Place, Tracer, place_of
from tests.collecting import collecting

TESTS = Path(__file__).parents[1]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STATED = f"00-{TRACE}-{SPAN}-01"
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        (STATED, STATED),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-03", STATED),
        (f"01-{TRACE}-{SPAN}-01-later", STATED),
        (f"00-{TRACE}-{SPAN}-01-later", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (STATED.upper(), ""),
        (f" {STATED}", ""),
        (f"{STATED}\n", ""),
        ("00-andy.cole@example.org", ""),
        ("", ""),
    ],
)
def test_a_traceparent_is_kept_in_w3cs_form_or_not_at_all(stated: str, kept: str) -> None:
    assert spans.request([stated]).kept == kept


def test_two_of_them_say_nothing() -> None:
    assert spans.request([STATED, STATED]).kept == ""
    assert spans.request([]).kept == ""


@pytest.fixture(scope="module")
def tracer() -> Tracer:
    return Tracer(tracing(sample_ratio=0.25), "test")


def tracing(**changes: Any) -> Settings:  # noqa: ANN401
    return Settings.model_validate({"tracing": {"otlp_url": NOWHERE, **changes}})


def test_a_share_is_sampled_as_every_sampler_would_and_the_producer_is_obeyed(tracer: Tracer) -> None:
    others = TraceIdRatioBased(0.25)
    begun = [tracer.request(None) for _ in range(2_000)]
    places = [one.place for one in begun if one.place]
    assert 400 < len(places) < 600
    for place in places[:50]:
        assert others.should_sample(None, place.trace_id, "").decision is Decision.RECORD_AND_SAMPLE
    assert {one.kept for one in begun if not one.place} == {""}
    parent = place_of(STATED)
    assert parent
    followed = tracer.request(parent)
    assert followed.place
    assert (followed.place.trace, followed.place.span_id != parent.span_id, followed.parent) == (TRACE, True, parent)
    silent = tracer.request(Place(parent.trace_id, parent.span_id, sampled=False))
    assert (silent.place, silent.kept) == (None, f"00-{TRACE}-{SPAN}-00")


def test_the_companys_authority_is_trusted_for_a_collector_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TESTS / "company_authority.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(TESTS / "company_server.pem")
    with collecting(tls) as (url, collector):
        spans.start(tracing(otlp_url=url, sample_ratio=1), "test")
        begun = spans.request([])
        assert spans.named(begun.kept)
        spans.answered(begun, 503, {})
        spans.stop()
    (span,) = collector.named("member-events")
    assert (span.trace_id.hex(), span.parent_span_id, span.status.code) == (begun.kept.split("-")[1], b"", 2)


def test_a_batch_of_which_nobody_is_sampled_shows_nothing(tracer: Tracer) -> None:
    tried = [spans.Tried(kept, False, {}) for kept in ("", f"00-{TRACE}-{SPAN}-00", "00-rubbish")]  # noqa: FBT003
    assert tracer.batch("membersync.oic_flow", "oic", 1, tried, {}) == []


def test_nothing_of_opentelemetrys_sdk_is_loaded_where_nothing_is_traced() -> None:
    spans.start(Settings(), "test")
    assert spans.tracer() is None
    spans.stop()


def test_where_it_cannot_be_done_a_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ValidationError, match=r"membersync\[otel\]"):
        tracing()
    assert Settings().tracing.otlp_url is None


@pytest.mark.parametrize(
    "page", ["traces/{trace_id}", "https://t/", "https://t/{trace_id}/{trace_id}", "javascript:{trace_id}"]
)
def test_a_page_of_traces_is_an_address_with_the_id_in_it(page: str) -> None:
    with pytest.raises(ValidationError, match="trace_id"):
        tracing(page_url=page)
    assert tracing(page_url="https://t/{trace_id}").tracing.page(TRACE) == f"https://t/{TRACE}"

"""One trace of an event from its acceptance to Siebel's status, in the producer's; nobody in it; nothing without it."""

from typing import Any

import pytest

from producers.site import create_app
from shared.settings import Settings
from tests.calling import outcomes, served
from tests.collecting import collecting
from tests.rig import Pipeline, eventually, member_event

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STATED = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = "00-aaf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
PERSON: dict[str, Any] = {"first_name": "Zebulon", "last_name": "Quixote", "postal_code": "90210"}
NOBODY = ("Zebulon", "Quixote", "90210", "example.org", "296-77", "1-296", "sandbox-key", "SADMIN")


def said(span: Any) -> dict[str, Any]:  # noqa: ANN401  # a message of protobuf
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_trace_goes_from_the_producer_through_every_attempt_to_siebels_status(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")  # what comes, comes because a process ended
    pipeline.sandbox.control.fault("crowdtwist", "status", member="296-771", status=500, times=1)
    with collecting() as (url, collector):
        tracing = {"otlp_url": url, "sample_ratio": 0, "page_url": "https://traces.example.org/{trace_id}?as=tree"}
        pipeline.settings |= {
            "MEMBERSYNC_TRACING__OTLP_URL": url,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
        }
        of = Settings.model_validate({"ledger_url": pipeline.ledger_url, "tracing": tracing})
        with served(create_app(of)) as client, pipeline.process("-m", "producers.cli", "dispatcher"):
            events = {
                STATED: [member_event("296-771", **PERSON), member_event("296-772", **PERSON)],
                NOT_SAMPLED: [member_event("296-773", **PERSON)],
                "00-nonsense": [member_event("296-774", **PERSON)],
                "": [member_event("296-775", **PERSON)],
            }
            ids = {}
            for traceparent, sent in events.items():
                headers = {"traceparent": traceparent} if traceparent else {}
                answer = client.post("/v1/member-events", json=sent, headers=headers)
                assert outcomes(answer) == ["accepted"] * len(sent)
                ids[traceparent] = [one["instance_id"] for one in answer.json()["results"]]
            kept = dict(pipeline.sql("select instance_id::text, traceparent from payload"))
            with pipeline.worker() as worker:
                eventually(pipeline.settled, "all settled")
                worker.terminate()
                worker.wait(60)
            first = client.get(f"/v1/instances/{ids[STATED][0]}").json()
            page = client.get(f"/instances/{ids[STATED][0]}").text
            untraced = client.get(f"/v1/instances/{ids[NOT_SAMPLED][0]}").json()
        log = pipeline.log_text()
    assert pipeline.states() == {"completed": 5}

    (request,) = collector.named("member-events")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, "00f067aa0ba902b7")
    assert said(request)["membersync.events.accepted"] == 2
    ours = f"00-{TRACE}-{request.span_id.hex()}-01"
    assert [kept[one] for one in ids[STATED]] == [ours, ours]
    assert [kept[ids[one][0]] for one in (NOT_SAMPLED, "00-nonsense", "")] == [NOT_SAMPLED, None, None]

    for stage, tries in (("oic", 2), ("crowdtwist", 3), ("siebel", 2)):
        attempts = collector.named(f"{stage} attempt")
        assert len(attempts) == tries, stage
        assert {one.trace_id.hex() for one in attempts} == {TRACE}
        assert {one.parent_span_id for one in attempts} == {request.span_id}
        assert all(0 < one.start_time_unix_nano <= one.end_time_unix_nano for one in attempts)
    failed = [one for one in collector.named("crowdtwist attempt") if one.status.code == 2]
    assert [said(one)["membersync.code"] for one in failed] == ["unavailable"]
    assert {said(one)["membersync.instance_id"] for one in failed} == {int(ids[STATED][0])}
    batches = [span for span in collector.spans if span.name.startswith("membersync.")]
    assert {one.name for one in batches} == {
        "membersync.oic_flow",
        "membersync.crowdtwist_call",
        "membersync.siebel_result",
    }
    by_id = {span.span_id: span for span in collector.spans}
    for batch in batches:
        linked = [by_id[link.span_id] for link in batch.links]
        assert {one.links[0].span_id for one in linked} == {batch.span_id}
        assert batch.trace_id.hex() != TRACE
    assert sum(len(one.links) for one in batches) == 7

    assert not [word for word in NOBODY for body in collector.bodies if word.encode() in body]
    assert first["trace_id"] == TRACE
    assert untraced["trace_id"] is None
    assert f'href="https://traces.example.org/{TRACE}?as=tree"' in page
    assert f'"trace_ids": ["{TRACE}"]' in log
    assert [f'"trace_id": "{TRACE}"' in one for one in log.splitlines() if '"event": "failed"' in one] == [True]

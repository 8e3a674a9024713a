"""What is not of our making is told from what is, in every part that Celery reads."""

import base64
import json
from typing import Any

import pytest

from shared.message_forms import fault_of_command, fault_of_envelope, fault_of_task
from shared.pipeline import STAGES, Lane, Stage
from tests import forgeries
from tests.forgeries import body, command, envelope, headers, link

_JSON = ("application/json", "utf-8")


def _fault(of: Any, given: dict[str, Any]) -> str | None:  # noqa: ANN401
    return fault_of_task(given, of if isinstance(of, bytes) else json.dumps(of), *_JSON)


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("stage", STAGES)
def test_a_message_of_ours_is_taken_at_each_stage(stage: Stage, lane: Lane) -> None:
    links = [link(later, [1, 2**63 - 1]) for later in reversed(stage.rest[1:])]
    for one in links:
        one["options"]["queue"] = one["options"]["queue"].replace("live", lane)
    assert _fault(body([1, 2**63 - 1], chain=links), headers(task=stage.task)) is None


def test_a_message_of_errands_is_taken() -> None:
    ids = [-1, 1 - 2**63]
    assert _fault(body(ids, chain=[]), headers(task=Stage.SIEBEL.task)) is None
    assert _fault(body([-(2**63)], chain=[]), headers(task=Stage.SIEBEL.task))


def test_what_a_broker_adds_is_taken() -> None:
    assert _fault(body(), headers(redelivered=True, **{"x-delivery-count": 3, "x-death": [{}]})) is None
    again = envelope()
    again["properties"]["delivery_info"]["redelivered"] = True
    assert fault_of_envelope(again) is None


@pytest.mark.parametrize("kind", forgeries.BODIES)
def test_a_forged_body_is_told(kind: str) -> None:
    assert _fault(forgeries.BODIES[kind], headers())


def test_a_body_longer_than_any_of_ours_is_told_unread() -> None:
    most = [2**63 - 1 - number for number in range(10_000)]
    assert _fault(body(most), headers()) is None
    assert fault_of_task(headers(), b"[" * 2**21, *_JSON) == "the body is longer than any of ours"


@pytest.mark.parametrize("kind", forgeries.HEADERS)
def test_a_forged_header_is_told(kind: str) -> None:
    assert _fault(body(), headers(**forgeries.HEADERS[kind]))


@pytest.mark.parametrize("kind", ["application/x-python-serialize", "application/data", "", None, 7])
def test_another_content_type_or_encoding_is_told(kind: Any) -> None:  # noqa: ANN401
    assert fault_of_task(headers(), json.dumps(body()), kind, "utf-8")
    assert fault_of_task(headers(), json.dumps(body()), "application/json", kind)


@pytest.mark.parametrize("given", [None, [], "x", 7])
def test_headers_that_are_no_object_are_told(given: Any) -> None:  # noqa: ANN401
    assert fault_of_task(given, json.dumps(body()), *_JSON)


def test_an_envelope_of_ours_is_taken() -> None:
    assert fault_of_envelope(envelope()) is None
    assert json.loads(base64.b64decode(envelope()["body"])) == body()


@pytest.mark.parametrize("kind", [kind for kind in forgeries.ENVELOPES if not kind.startswith("no headers.")])
def test_a_forged_envelope_is_told(kind: str) -> None:
    assert fault_of_envelope(forgeries.ENVELOPES[kind])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("ping", {}), ("stats", {}), ("active_queues", {}), ("active", {"safe": None}), ("scheduled", {}),
        ("reserved", {}), ("revoked", {}), ("conf", {"with_defaults": False}), ("registered", {"taskinfoitems": []}),
        ("enable_events", {}), ("heartbeat", {}), ("ping", None),
    ],
)  # fmt: skip
def test_what_doctor_readiness_and_flower_ask_is_answered(method: str, arguments: Any) -> None:  # noqa: ANN401
    given = command(method, arguments, pattern="live.*", matcher="glob", ticket=headers()["id"])
    assert fault_of_command({"clock": 7, "expires": 1.5}, given) is None
    given = command(
        method, arguments, destination=["a@b"], reply_to={"exchange": "reply.celery.pidbox", "routing_key": "x"}
    )
    assert fault_of_command({"clock": 7}, given) is None


@pytest.mark.parametrize("method", forgeries.COMMANDS)
def test_an_order_is_refused(method: str) -> None:
    assert fault_of_command({"clock": 7}, command(method, forgeries.COMMANDS[method]))


@pytest.mark.parametrize(
    ("given", "body_given"),
    [
        ({"clock": "x"}, command("ping")),
        ({"clock": 10**400}, command("ping")),
        ({"clock": -1}, command("ping")),
        ([], command("ping")),
        ({}, []),
        ({}, "x"),
        ({}, None),
        ({}, command(["ping"])),
        ({}, command("ping", [])),
        ({}, command("ping", more=1)),
        ({}, command("ping", destination="x")),
        ({}, command("ping", destination=[{}])),
        ({}, command("ping", pattern="(a|a)*b", matcher="pcre")),
        ({}, command("ping", pattern={}, matcher="glob")),
        ({}, command("ping", ticket={})),
        ({}, command("ping", reply_to={"exchange": "", "routing_key": "oic.live"})),
        ({}, command("ping", reply_to="x")),
    ],
)
def test_a_question_of_another_form_is_refused(given: Any, body_given: Any) -> None:  # noqa: ANN401
    assert fault_of_command(given, body_given)


def test_a_fault_names_no_value_and_no_name_of_the_forgers() -> None:
    fault = _fault(body(["Zebulon Quixote"], kwargs={"Quixote": 1}), headers(Zebulon="Quixote"))
    assert fault
    assert "Quixote" not in fault
    assert "Zebulon" not in fault

"""Whatever RabbitMQ hands over can be read: what is no text, and what is no time, ends nobody."""

import struct
from typing import Any, cast

import amqp
import pytest
from amqp import abstract_channel, serialization, spec

import shared.broker_transport  # noqa: F401  # reads what py-amqp cannot
from tests import forgeries

_WITH_HEADERS = 1 << 13


def _packed(**properties: Any) -> bytes:  # noqa: ANN401
    """Return *properties* as py-amqp sends them."""
    message = cast("Any", amqp.Message("", **properties))
    return bytes(message._serialize_properties())  # noqa: SLF001


def _read(packed: bytes) -> dict[str, object]:
    found, end = serialization.PROPERTY_CLASSES[spec.Basic.CLASS_ID](packed, 0)
    assert end == len(packed)
    return dict(found)


@pytest.mark.parametrize("kind", forgeries.PROPERTIES)
def test_properties_that_are_no_text_are_read_escaped(kind: str) -> None:
    given = forgeries.PROPERTIES[kind]
    found = _read(_packed(**given))
    for name, value in given.items():
        if isinstance(value, bytes):
            assert found[name] == r"\xff\xfe"


def test_properties_that_are_text_are_read_as_they_are() -> None:
    given = {"content_type": "application/json", "correlation_id": "Zoë", "application_headers": forgeries.headers()}
    assert _read(_packed(**given)) == given


@pytest.mark.parametrize(
    "packed",
    [
        struct.pack(">HI", _WITH_HEADERS, 11) + b"\x01xT" + b"\xff" * 8,
        struct.pack(">HI", _WITH_HEADERS, 9) + b"\x01xT" + b"\xff" * 6,
        struct.pack(">HI", _WITH_HEADERS, 9) + b"\x01x?" + b"\xff" * 6,
        b"\x80\x00",
    ],
    ids=["a time beyond all times", "half a header", "a header of no kind", "half a property"],
)
def test_properties_that_cannot_be_read_are_none(packed: bytes) -> None:
    assert _read(packed) == {}


def test_a_name_that_is_no_text_is_read_escaped() -> None:
    packed = b"\x02\xff\xfe" + b"\x08oic.live"
    found, _ = abstract_channel.loads("ss", packed, 0)
    assert found == [r"\xff\xfe", "oic.live"]

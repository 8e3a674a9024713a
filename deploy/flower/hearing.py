"""Flower hears workers and dispatchers, and nobody else who tells it something."""

import time
from typing import Any, ClassVar

from celery.events.receiver import EventReceiver
from kombu import Message

from deploy.flower.event_forms import Believed, shortened
from shared import strays


class BelievingReceiver(EventReceiver):
    """Celery's receiver of events; what has not the form that our processes give it is said in the log and left out.

    Source: celery/events/receiver.py of 5.7.
    """

    believed: ClassVar[Believed] = Believed()

    def _receive(self, body: object, message: Message, **_: object) -> None:
        """Take in the events of a message, one or a list of them."""
        good = []
        events: list[Any] = body if isinstance(body, list) else [body]
        for event in events:
            if fault := self.believed.fault_of(event, time.monotonic()):
                strays.file("celeryev", f"event {fault}", body="")
            else:
                # Its clock would become ours, and ours that of each question to a worker: they come as they arrive.
                good.append({name: value for name, value in shortened(event).items() if name != "clock"})
        celery: Any = super()
        celery._receive(good, message)  # noqa: SLF001  # what we override

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Leave out what cannot be decoded; kombu would say all of it in the log."""
        strays.file("celeryev", f"event undecodable: {type(exc).__name__}", body="")
        message.ack()

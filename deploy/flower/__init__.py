"""What we add to Flower: templates that lead to the console, and the events that it keeps in our words.

================  =========================================  ==================================================
event             from Celery                                as Flower keeps it
================  =========================================  ==================================================
task-succeeded    result `{'done': 11, 'data_error': 1}`     result `11 done, 1 Data Error`
task-retried      a traceback, its last line the summary     result `12 waiting; tried again in 7 s`
task-failed       the same, all members failed for good      result `12 Data Errors`
task-failed       anything else: a bug                       class and frames; what it says may name a member
================  =========================================  ==================================================

Its pages, its API, its search and its file read the same, because this happens before Flower keeps anything.
"""

import ast
import logging
import re
from collections.abc import Collection, Mapping
from threading import Event
from typing import Any, ClassVar

from celery.events.state import Task
from flower.utils.broker import RabbitMQ, RedisSentinel
from redis.asyncio import Redis

from shared.hosts import Host
from shared.pipeline import spoken

_SUMMARY = re.compile(r"^(?:celery\.exceptions\.Retry|workers\.tasks\.AllFailedError): (.+)$", re.MULTILINE)
_COUNT = re.compile(r"\b(\d+) (\w+)")
_FRAME = re.compile(r'Traceback |  File "')
_CLASS = re.compile(r"[\w.]+")
_INSTANCES = re.compile(r"\d+ instances?: ([\d, ]+)")
LONGEST_WAIT_S = 15
"""After an outage of the broker Flower hears it again within this time."""
_OF_NO_USE = ("retries", "timestamp", "exchange", "clock", "client", "root", "parent")
"""Celery's own numbers, names of processes, and what another line of the page says already."""


def reworded(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Celery event as Flower shall keep it.  Pure."""
    match event["type"]:
        case "task-succeeded":
            return {**event, "result": counts(event.get("result"))}
        case "task-retried" | "task-failed":
            traceback = str(event.get("traceback") or "")
            if summaries := _SUMMARY.findall(traceback):
                # Each count in the words that people read; what is no count stays as it is.
                result = _COUNT.sub(lambda found: f"{found[1]} {spoken(found[2], int(found[1]))}", summaries[-1])
                return {**event, "result": result, "exception": None, "traceback": None}
            named = _CLASS.match(str(event.get("exception") or ""))
            frames = "\n".join(line for line in traceback.splitlines() if _FRAME.match(line))
            return {**event, "exception": named[0] if named else None, "traceback": frames or None}
        case _:
            return dict(event)


def bounded(record: logging.LogRecord) -> bool:
    """Let Flower's line about a broker that is away name the wait that it really waits.  A filter of its log."""
    if record.msg.endswith("trying again in %s seconds.") and isinstance(record.args, tuple):
        error, wait_s = record.args
        record.args = error, LONGEST_WAIT_S if isinstance(wait_s, int) and wait_s > LONGEST_WAIT_S else wait_s
    return True


def wait(wait_s: float) -> None:
    """Sleep as Flower does before it tries the broker again, but never for long: it doubles without a bound."""
    Event().wait(min(wait_s, LONGEST_WAIT_S))


class AnySentinel(RedisSentinel):  # type: ignore[misc]  # Flower has no types
    """Flower's look into a broker behind Sentinels, by the first of *hosts* that answers."""

    hosts: ClassVar[tuple[Host, ...]] = ()

    def _get_redis_client(self, broker_options: Mapping[str, Any], broker_use_ssl: object) -> Any:  # noqa: ANN401
        client = super()._get_redis_client(broker_options, broker_use_ssl)
        asked = client.connection_pool.sentinel_manager
        asked.sentinels = [Redis(host=one.name, port=int(one.port), **asked.sentinel_kwargs) for one in self.hosts]
        return client


class AnyRabbitMQ(RabbitMQ):  # type: ignore[misc]  # Flower has no types
    """Flower's look into a RabbitMQ of several nodes, by the management API of the first of *hosts* that answers."""

    hosts: ClassVar[tuple[Host, ...]] = ()

    def __init__(self, broker_url: str, http_api: str, **more: object) -> None:
        super().__init__(broker_url, http_api, **more)
        nodes = [f"http://{Host(one.name, str(self.port))}/api/{self.vhost}" for one in self.hosts]
        self._apis = [http_api] if http_api else nodes

    async def queues(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Return what the API says of the queues of these *names*."""
        for api in self._apis:
            self.http_api = api
            found: list[dict[str, Any]] = await super().queues(names)
            if found:
                return found
        return []


def counts(result: object) -> object:
    """Return `11 done, 1 Data Error` for a task's result, or its text; what it is not stays as it is."""
    try:
        outcomes = ast.literal_eval(result) if isinstance(result, str) else result
    except (SyntaxError, ValueError):
        return result
    if not isinstance(outcomes, Mapping):
        return result
    return ", ".join(f"{count} {spoken(str(outcome), count)}" for outcome, count in outcomes.items()) or "nothing to do"


def with_instance_ids(task: Task) -> Task:
    """Return a task as its page shows it: the ids of its instances beside it, without what is of no use there.

    Flower calls this with a copy.
    """
    task.__dict__["instance_ids"] = instance_ids(task.kwargs)
    for name in _OF_NO_USE:
        setattr(task, name, None)
    return task


def instance_ids(described: object) -> list[int]:
    """Return the ids that `12 instances: 4711, 4712, …` names, lowest first."""
    found = _INSTANCES.match(str(described))
    return sorted(int(name) for name in found[1].split(",") if name.strip()) if found else []

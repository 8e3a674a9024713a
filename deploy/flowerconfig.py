"""Flower's settings: what it shows, to whom, and what it remembers.

Flower runs this file (`celery -A shared.broker flower --conf=deploy/flowerconfig.py`) and takes from it each name that
is an option of its own; an option on its command line goes before.  Flower is a window: the ledger is the record.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ParamSpec

import flower.events
import flower.utils.broker
from celery.events.receiver import EventReceiver
from flower.app import Flower
from flower.events import EventsState
from flower.urls import handlers as _handlers
from flower.urls import settings as _application
from flower.views import BaseHandler, monitor
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.template import DictLoader
from tornado.web import Application, authenticated

from deploy.flower import AnyRabbitMQ, AnySentinel, bounded, reworded, wait, with_instance_ids
from deploy.flower.hearing import BelievingReceiver
from shared import logs
from shared.broker_address import read_broker
from shared.guarded_redis import guard_transports
from shared.liveness import this_process
from shared.pipeline import QUEUES
from shared.settings import settings as read_settings

_of = read_settings()
if _of.flower.password is None:
    raise SystemExit("MEMBERSYNC_FLOWER__PASSWORD is not set, and Flower does not run without a login")
_of.home.mkdir(parents=True, exist_ok=True)
os.umask(0o077)  # what it remembers names members by number

# Its log is like those of the others: Tornado's own lines would be all that is no JSON.
logs.configure("flower", _of.log_level)
logging = _of.log_level

# Whoever reaches the port sees member numbers: only with the login.
basic_auth = [f"{_of.flower.username}:{_of.flower.password.get_secret_value()}"]
address = _of.flower.host
port = _of.flower.port


def _found_below(prefix: str, find: Callable[..., object]) -> Callable[..., object]:
    """Return a `find_handler` that puts *prefix* before the path of a request whose proxy has taken it off.

    Raises:
        SystemExit: one of Flower's own paths begins like it: it could not be told whether the proxy has.
    """
    patterns = [getattr(one, "regex", None) or re.compile(one[0]) for one in _handlers]
    first = prefix.split("/")[1]
    if first in {pattern.pattern.lstrip("^/").partition("/")[0].rstrip("$") for pattern in patterns} | {"static"}:
        raise SystemExit(
            f"MEMBERSYNC_FLOWER__PUBLIC_URL must not have a path that begins with /{first}, as a page of Flower does; "
            "let the proxy have it under /flower, say"
        )

    def find_below(application: Application, request: HTTPServerRequest, **more: object) -> object:
        if request.path == prefix:
            request.path += "/"
        elif not request.path.startswith(f"{prefix}/"):
            request.path = prefix + request.path
        return find(application, request, **more)

    return find_below


# Behind a proxy's path, whether the proxy takes it off (`_found_below`) or passes it on.
if _of.flower.prefix:
    url_prefix = _of.flower.prefix.strip("/")
    Flower.find_handler = _found_below(_of.flower.prefix, Flower.find_handler)

# A click must not drop a task: requeue and discard are membersync's, where they are checked and recorded.
read_only = True

# What it has seen outlives a restart; a million tasks do not fit in memory.
persistent = True
db = str(_of.home / "flower.db")
state_save_interval = 60_000
max_tasks = 10_000

# A worker that is gone leaves the page, and the metrics, after ten minutes.
purge_offline_workers = 600

auto_refresh = True
tasks_columns = "uuid,name,state,args,result,received,runtime,worker"

# The way to a task's instances.
format_task = with_instance_ids


def _texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.html")}


# The way from every page to the console: our templates before Flower's.  One of ours has the name of the one that it
# stands before, and calls that one `flower:NAME`.
_ours, _flowers = Path(__file__).parent / "flower" / "templates", _texts(Path(_application["template_path"]))
_application["template_loader"] = DictLoader(
    _flowers | {f"flower:{name}": text for name, text in _flowers.items()} | _texts(_ours),
    namespace={
        "console_url": _of.api.url,
        "console_style": (_ours / "membersync.css").read_text(encoding="utf-8"),
    },
)

# Flower leaves these two open even with a login (flower issues 1342 and 1379); its documentation says to patch them.
for _handler in (monitor.Metrics, monitor.Healthcheck):
    _handler.get = authenticated(_handler.get)

# Flower asks the worker that somebody looked at last; the other lane's backlog would not show.
BaseHandler.get_active_queue_names = lambda _: list(QUEUES)

# Of several Sentinels, or nodes, Flower would ask the first alone, and know no queue while that one is away.
AnySentinel.hosts = AnyRabbitMQ.hosts = read_broker(_of.broker_url).hosts if _of.broker_url else ()
flower.utils.broker.RedisSentinel = AnySentinel
flower.utils.broker.RabbitMQ = AnyRabbitMQ

_keep = EventsState.event


def _keep_reworded(state: EventsState, event: dict[str, object]) -> None:
    if event["type"] == "task-sent" and event.get("uuid") in state.tasks:
        return  # it came late, and would make a task that has ended look as if nobody had taken it
    _keep(state, reworded(event))


EventsState.event = _keep_reworded


# It is ready while it hears the broker.
_AWAY = "the broker: it cannot be reached"
P = ParamSpec("P")


def _waiting_for(before: str, hear: Callable[P, None], after: str) -> Callable[P, None]:
    def heard(*args: P.args, **kwargs: P.kwargs) -> None:
        this_process.waits_for(before)
        try:
            hear(*args, **kwargs)
        finally:
            this_process.waits_for(after)

    return heard


# What no process of ours would tell ends neither its hearing nor a page.
guard_transports()
flower.events.EventReceiver = BelievingReceiver
flower.events.EventReceiver.capture = _waiting_for(_AWAY, EventReceiver.capture, _AWAY)
flower.events.EventReceiver.on_consume_ready = _waiting_for("", EventReceiver.on_consume_ready, "")

# However long the broker was away, Flower tries it again soon.  Of `time`, its module uses these.
flower.events.time = SimpleNamespace(sleep=wait, monotonic=time.monotonic)
flower.events.logger.addFilter(bounded)

# Its main loop shows probes that it goes round.
_start = Flower.start


def _start_and_go_round(window: Flower) -> None:
    this_process.begin("flower", _of)
    PeriodicCallback(this_process.went_round, 1000).start()
    _start(window)


Flower.start = _start_and_go_round

"""Flower's settings: what it shows, to whom, and what it remembers.

Flower runs this file (`celery -A shared.broker flower --conf=deploy/flowerconfig.py`) and takes from it each name that
is an option of its own; an option on its command line goes before.  Flower is a window: the ledger is the record.
"""

import os
from typing import Any

from flower.app import Flower
from flower.events import EventsState
from flower.urls import settings as _application
from flower.views import BaseHandler, monitor
from tornado.web import authenticated

from deploy.flower import wording
from deploy.flower.pages import templates
from deploy.flower.rooting import rooted
from shared.pipeline import QUEUES
from shared.settings import settings as read_settings

_of = read_settings()
if _of.flower.password is None:
    raise SystemExit("MEMBERSYNC_FLOWER__PASSWORD is not set, and Flower does not run without a login")
_of.home.mkdir(parents=True, exist_ok=True)
os.umask(0o077)  # what it remembers names members by number

# Whoever reaches the port sees member numbers: only with the login.
basic_auth = [f"{_of.flower.username}:{_of.flower.password.get_secret_value()}"]
address = _of.flower.host
port = _of.flower.port

# Behind a proxy's path, whether the proxy takes it off (`rooted`) or passes it on.
if _of.flower.prefix:
    url_prefix = _of.flower.prefix.strip("/")
    Flower.find_handler = rooted(_of.flower.prefix, Flower.find_handler)

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

# The way to a task's instances, and from every page to the console.
format_task = wording.shown
_application["template_loader"] = templates(_of.api.url)

# Flower leaves these two open even with a login (flower issues 1342 and 1379); its documentation says to patch them.
for _handler in (monitor.Metrics, monitor.Healthcheck):
    _handler.get = authenticated(_handler.get)

# Flower asks the worker that somebody looked at last; the other lane's backlog would not show.
BaseHandler.get_active_queue_names = lambda _: list(QUEUES)

_keep = EventsState.event


def _keep_reworded(state: Any, event: dict[str, Any]) -> None:  # noqa: ANN401 - Flower's, untyped
    if event["type"] == "task-sent" and event.get("uuid") in state.tasks:
        return  # it came late, and would make a task that has ended look as if nobody had taken it
    _keep(state, wording.reworded(event))


EventsState.event = _keep_reworded

"""Flower's settings: what it shows, to whom, and what it remembers.

Flower runs this file (`celery -A shared.broker flower --conf=deploy/flowerconfig.py`) and takes from it each name that
is an option of its own; an option on its command line goes before.  Flower is a window: the ledger is the record.
"""

import ast
from collections import Counter
from typing import Any

from flower.views import monitor
from tornado.web import authenticated

from shared.settings import settings as read_settings

_of = read_settings()
if _of.flower.password is None:
    raise SystemExit("MEMBERSYNC_FLOWER__PASSWORD is not set, and Flower does not run without a login")
_of.home.mkdir(parents=True, exist_ok=True)

# Whoever reaches the port sees member numbers: only with the login.
basic_auth = [f"{_of.flower.username}:{_of.flower.password.get_secret_value()}"]
address = _of.flower.host
port = _of.flower.port

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
natural_time = True
tasks_columns = "name,state,args,result,received,started,runtime,worker,uuid"

# Flower leaves these two open even with a login (flower issues 1342 and 1379); its documentation says to patch them.
for _handler in (monitor.Metrics, monitor.Healthcheck):
    _handler.get = authenticated(_handler.get)


def format_task(task: Any) -> Any:  # noqa: ANN401 - Flower's task, untyped
    """Show the batch as `12 members: 296-1, …` and its end as counts, `11 done, 1 waiting`."""
    task.kwargs = ""
    task.result = _counts(task.result)
    return task


def _counts(result: object) -> object:
    try:
        counts = ast.literal_eval(result) if isinstance(result, str) else result
    except (SyntaxError, ValueError):
        return result
    if not isinstance(counts, dict):
        return result
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(counts).items()) or "nothing to do"

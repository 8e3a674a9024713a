"""The Prometheus metrics of spec section 5, read from the ledger when somebody scrapes.

| metric | kind | from |
|---|---|---|
| `membersync_instances_total{stage,outcome}` | counter | activity, read on from the last scrape |
| `membersync_stage_seconds{stage}` | histogram | the same |
| `membersync_pending{lane,stage,state}` | gauge | instances that are not finished |
| `membersync_oldest_seconds{lane,state}` | gauge | the same: age of the oldest, s since acceptance |
| `membersync_connection_up{name}` | gauge | 1: neither paused nor its breaker open |
| `membersync_budget_used_ratio{name}` | gauge | calls of the last minute in parts of the budget |
| `membersync_dead_letters{stage,code}` | gauge | dead letters now |
| `membersync_ledger_up` | gauge | 0: the ledger does not answer, and the others are missing |

The counters are the pipeline's as this process saw it since it started: several processes count the same thing, so take
one of them or the `max` of them, never their sum.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import Connection, Engine

from shared.errors import LedgerError
from shared.ledger import gauges, views
from shared.ledger.engine import transaction
from shared.pipeline import Stage
from shared.settings import Settings

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_MINUTE_S = 60.0
_LINES_MAX = 500_000
"""Lines of activity counted at one scrape; more are left to the next."""

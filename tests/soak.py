"""`make soak MINUTES=30`: events at a steady rate for long, and whether anything of ours grows that should not.

The hours of a day are minutes here: the rate swings between a half and one and a half of what is asked, six times in a
run.  What is sampled is judged by its medians in the second and in the last third of the run, each two swings long; the
first third is for pools, caches and statistics to fill.  The ledger keeps what it was told: its size is judged per
event, and must not rise.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
import redis

from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests.chaos.suite.feed import Author, Producers
from tests.chaos.suite.house import ForkedHouse, House
from tests.chaos.suite.run import Run, say
from tests.chaos.suite.stand import COMMON, SHORT, Stand, stand

PACE = replace(SHORT, name="soak", members=2_000, settings=COMMON)
SWINGS = 6
_BATCH_EVERY_S = 0.5
_SAMPLES = 90
_MB = 1_048_576
_ROLES = ("api", "dispatcher", "worker", "child")
_LEDGER = """
    select pg_database_size(current_database())::float8,
           (select sum(pg_indexes_size(oid))::float8 from pg_class
            where relkind = 'r' and relnamespace = 'public'::regnamespace),
           (select sum(n_dead_tup)::float8 from pg_stat_user_tables),
           (select count(*)::float8 from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()),
           (select count(*)::float8 from instance)
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much more something may be in the last third than in the second: *part* of it, and *more* besides."""

    part: float
    more: float


LIMITS: Mapping[str, Limit] = {
    **{f"{role} memory, MB": Limit(0.01, 2) for role in _ROLES},
    **{f"{role} descriptors": Limit(0.0, 4) for role in _ROLES},
    "connections to the ledger": Limit(0.0, 4),
    "connections to the broker": Limit(0.0, 4),
    "broker memory, MB": Limit(0.1, 2),
    "dead rows": Limit(0.25, 2_000),
    "ledger, bytes per event": Limit(0.05, 0),
    "indexes, bytes per event": Limit(0.05, 0),
    "events that wait": Limit(0.5, 100),
}
Sample = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Trend:
    """What became of one figure: medians of the three thirds of a run."""

    name: str
    first: float
    second: float
    last: float
    grows: bool


def judged(samples: Sequence[Sample]) -> list[Trend]:
    """Return what became of each figure.  Pure."""
    third = len(samples) // 3
    parts = samples[:third], samples[third : 2 * third], samples[2 * third :]
    trends = []
    for name, limit in LIMITS.items():
        first, second, last = (median(one[name] for one in part) for part in parts)
        trends.append(Trend(name, first, second, last, last > second * (1 + limit.part) + limit.more))
    return trends


def table(trends: Sequence[Trend]) -> str:
    """Return them as a table."""
    head = f"{'':28}{'first third':>14}{'second':>14}{'last':>14}"
    rows = [
        f"{one.name:28}{one.first:14,.1f}{one.second:14,.1f}{one.last:14,.1f}{'  grows' if one.grows else ''}"
        for one in trends
    ]
    return "\n".join([head, *rows])


def _sample(at: Stand, house: House) -> Sample:
    found: dict[str, float] = {}
    for role in _ROLES:
        memory, descriptors = [0.0], [0.0]
        for pid in house.pids(role):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                memory.append(process.memory_full_info().uss / _MB)
                descriptors.append(float(process.num_fds()))
        found |= {f"{role} memory, MB": sum(memory), f"{role} descriptors": sum(descriptors)}
    with at.psql() as tx:
        size, indexes, dead, connections, events = (float(str(one)) for one in tx.execute(_LEDGER).fetchone() or ())
        waiting = tx.execute("select count(*) from instance where state in ('pending', 'running', 'waiting', 'held')")
        found["events that wait"] = float(str((waiting.fetchone() or (0,))[0]))
    with redis.Redis.from_url(at.broker_url, socket_timeout=5) as broker:
        found["connections to the broker"] = float(broker.info("clients")["connected_clients"])
        found["broker memory, MB"] = broker.info("memory")["used_memory"] / _MB
    return found | {
        "connections to the ledger": connections,
        "dead rows": dead,
        "ledger, bytes per event": size / max(events, 1),
        "indexes, bytes per event": indexes / max(events, 1),
    }


def soak(folder: Path, seconds: float, rate: float, told: Callable[[str], None]) -> tuple[list[Sample], list[str]]:
    """Run the product for *seconds* at *rate* events a second; return the samples, and what does not hold."""
    samples: list[Sample] = []
    with stand(folder) as at:
        migrate(at.ledger_url)
        house = ForkedHouse(at.environment(PACE), folder, at.api_port, ())

        def feed(producers: Producers, _: float) -> None:
            author, began, sampled = Author(1, PACE.members), time.monotonic(), 0
            while (gone := time.monotonic() - began) < seconds:
                swing = 1 + 0.5 * math.sin(2 * math.pi * SWINGS * gone / seconds)
                producers.send(author.batch(max(1, round(rate * swing * _BATCH_EVERY_S))))
                if gone >= sampled * seconds / _SAMPLES:
                    samples.append(_sample(at, house))
                    sampled += 1
                    if sampled % (_SAMPLES // 9) == 0:
                        told(f"{gone:6.0f} s  {samples[-1]['events that wait']:.0f} events wait")
                time.sleep(_BATCH_EVERY_S)
            producers.send(author.rest())

        verdict = Run(at, PACE, 1, (), feed).play(seconds, house.kept())
        engine(at.ledger_url).dispose()
    told(f"{verdict.events} events")
    return samples, verdict.lines()


def main() -> int:
    """Run, print the table; return 1 where something grows or was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=20, help="events a second, on average")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="membersync-soak-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        samples, wrong = soak(Path(folder), options.minutes * 60, options.rate, say)
    trends = judged(samples)
    say(table(trends))
    for line in wrong:
        say(line)
    grown = [one.name for one in trends if one.grows]
    say(f"grows: {', '.join(grown)}" if grown else "nothing grows")
    return 1 if grown or wrong else 0


if __name__ == "__main__":
    sys.exit(main())

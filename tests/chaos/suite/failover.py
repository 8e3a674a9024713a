"""`make failover ONLY=ledger`: the servers that we stand on, each failed over under traffic, and what that costs.

| server | how it stands | what is done to it |
|---|---|---|
| PostgreSQL | primary and standby; by a URL with both | the primary is killed, then the standby promoted |
| PgBouncer | before one PostgreSQL | it is restarted; PostgreSQL behind it is restarted |
| Valkey | primary, replica, Sentinels | the primary is killed, frozen, switched; a Sentinel is killed |
| RabbitMQ | three nodes; by a URL with all | one is killed and started again, each in its turn |

The product's processes - an api, two dispatchers, two workers - are never restarted.  The journals of the outside
systems judge, as in chaos.  The table says for how long nothing was accepted and nothing was written outside, how many
events waited at most, and how many attempts beyond the first were spent.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psycopg

from deploy.local.programs import free_port
from deploy.local.servers import scratch_postgres, scratch_valkey
from deploy.sandbox.server import running_sandbox
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests import postgres, rabbit, valkey
from tests.chaos.suite.brokers import Valkey
from tests.chaos.suite.faults import Fault, Planned
from tests.chaos.suite.house import ROOT, ForkedHouse, forked_bare, signalled
from tests.chaos.suite.links import links
from tests.chaos.suite.outside import Outside
from tests.chaos.suite.run import Run, everything, say
from tests.chaos.suite.stand import SHORT, SYSTEMS, Pace, Stand

_ARTIFACT = ROOT / ".artifacts" / "failover.json"
_SEED = 20_261
_FIRST_S, _PROMOTED_AFTER_S, _FROZEN_S, _DOWN_S = 5.0, 2.0, 8.0, 6.0
_BEHIND_S = 1.0
_POOLER = ("default_pool_size = 10", "server_login_retry = 1")  # its own 15 s would be what PostgreSQL's restart costs
_AFTERWARDS_S = 14.0
_LOOK_S = 0.2
_PACE = replace(SHORT, name="failover", drain_s=180)


@dataclass
class Servers:
    """Where ledger and broker are, more settings if need be, and what can be done to them, as `STANDS` names it."""

    ledger_url: str
    broker_url: str
    faults: Sequence[Callable[[], None]]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a failover cost.  Units: seconds without an event accepted, and without a write outside."""

    server: str
    fault: str
    unaccepted_s: float
    unwritten_s: float
    waited: int
    repeated: int
    events: int
    lost: int
    others: tuple[str, ...]


@contextmanager
def ledger(_: Path, *, synchronous: bool) -> Iterator[Servers]:
    """Run a primary and a standby."""
    with postgres.primary_and_standby(synchronous=synchronous) as (one, two), scratch_valkey() as broker_url:

        def fail_over() -> None:
            if not synchronous:  # what is on its way to a standby is little, on one machine
                with two.session() as tx:
                    tx.execute(b"alter system set primary_conninfo = ''")
                    tx.execute(b"select pg_reload_conf()")
                time.sleep(_BEHIND_S)
            one.kill()
            time.sleep(_PROMOTED_AFTER_S)
            two.ask("select pg_promote()")

        url = f"{postgres.url_of(one, two)}?target_session_attrs=read-write"
        yield Servers(url, broker_url, [fail_over])


@contextmanager
def pooler(_: Path) -> Iterator[Servers]:
    """Run PgBouncer before a PostgreSQL."""
    with postgres.reachable() as (binaries, folder), scratch_valkey() as broker_url, ExitStack() as exits:
        node = postgres.Node(binaries, folder / "one").make().start().wait()
        exits.callback(node.stop)
        before = folder / "pgbouncer"
        before.mkdir()
        life, port = ExitStack(), free_port()
        exits.callback(life.close)

        def start() -> None:
            life.enter_context(postgres.pgbouncer(before, node, *_POOLER, port=port))

        def restart() -> None:
            life.close()
            start()

        def restart_behind() -> None:
            node.kill()
            node.start().wait()

        start()
        migrate(node.url)
        through = node.url.replace(f":{node.port}/", f":{port}/") + "?pgbouncer=true"
        settings = {"LEDGER_URL": through, "LEDGER_DIRECT_URL": node.url}
        yield Servers(node.url, broker_url, [restart, restart_behind], settings)


@contextmanager
def broker_by_sentinel(folder: Path) -> Iterator[Servers]:
    """Run Valkey with Sentinels."""
    with valkey.sentinels(folder) as made, scratch_postgres() as ledger_url:
        primary = made.primary

        def freeze() -> None:
            signalled([primary.pid or 0], signal.SIGSTOP)
            time.sleep(_FROZEN_S)
            signalled([primary.pid or 0], signal.SIGCONT)

        def switch() -> None:
            with made.sentinels[1].client() as client:
                client.execute_command("SENTINEL", "FAILOVER", valkey.MASTER_NAME)

        yield Servers(ledger_url, made.url, [primary.kill, freeze, switch, made.sentinels[0].kill])


@contextmanager
def broker_cluster(folder: Path) -> Iterator[Servers]:
    """Run RabbitMQ with three nodes."""
    with rabbit.rabbitmq_cluster(folder) as nodes, scratch_postgres() as ledger_url:

        def lose(node: rabbit.Node) -> None:
            node.kill()
            time.sleep(_DOWN_S)
            node.start()
            node.wait()

        yield Servers(ledger_url, rabbit.url_of(*nodes), [partial(lose, node) for node in nodes])


@dataclass(frozen=True)
class StandsOn:
    """A server that we stand on: how it is run, what is done to it, and the Debian package that it takes, if any."""

    title: str
    run: Callable[[Path], AbstractContextManager[Servers]]
    faults: Sequence[str]
    needs: tuple[str, str] | None = None


STANDS = {
    "ledger": StandsOn(
        "PostgreSQL, synchronous standby",
        partial(ledger, synchronous=True),
        ("primary killed, standby promoted after 2 s",),
    ),
    "asynchronous": StandsOn(
        "PostgreSQL, asynchronous standby",
        partial(ledger, synchronous=False),
        ("the standby 1 s behind, then the same",),
    ),
    "pooler": StandsOn(
        "PgBouncer",
        pooler,
        ("PgBouncer restarted", "PostgreSQL behind it killed and started"),
        (postgres.PGBOUNCER, "pgbouncer"),
    ),
    "sentinel": StandsOn(
        "Valkey with Sentinel",
        broker_by_sentinel,
        ("primary killed", "primary frozen for 8 s", "failed over as planned", "a Sentinel killed"),
    ),
    "cluster": StandsOn(
        "RabbitMQ, three nodes",
        broker_cluster,
        ("first node killed for 6 s", "second node killed for 6 s", "third node killed for 6 s"),
        (str(rabbit.SERVER), "rabbitmq-server"),
    ),
}


def play(folder: Path, name: str, fault: str) -> Cost:
    """Run servers and product, do *fault* to a server under traffic, and return what it cost."""
    stands = STANDS[name]
    with stands.run(folder) as servers, running_sandbox() as sandbox:
        migrate(servers.ledger_url)
        places = {one: urlsplit(getattr(sandbox, one)) for one in SYSTEMS}
        targets = {one: (place.hostname or "", place.port or 0) for one, place in places.items()}
        nowhere = {"ledger": ("127.0.0.1", 1), "broker": ("127.0.0.1", 1)}
        with links(targets | nowhere, tls=frozenset({"crowdtwist"})) as wires:
            at = Stand(folder, servers.ledger_url, Valkey(servers.broker_url, folder), sandbox, wires, free_port())
            urls = {"LEDGER_URL": servers.ledger_url, "BROKER_URL": servers.broker_url, **servers.settings}
            environment = at.environment(_PACE) | {f"MEMBERSYNC_{one}": url for one, url in urls.items()}
            began: list[float] = []

            @contextmanager
            def failed(_: Stand, __: Pace, ___: Random) -> Iterator[None]:
                began.append(time.time())
                servers.faults[stands.faults.index(fault)]()
                yield

            kinds: Mapping[str, Fault] = {fault: failed}
            planned = [Planned(_FIRST_S, fault, _AFTERWARDS_S)]
            run = Run(at, _PACE, _SEED, planned, everything(_SEED, _PACE), kinds)
            house = ForkedHouse(environment, folder, at.api_port, ())
            with _waiting(at) as waited:
                verdict = run.play(_FIRST_S + _AFTERWARDS_S, house.kept())
            with at.psql() as tx:
                accepted = [float(str(row[0])) for row in tx.execute(_ACCEPTED)]
                ((repeated,),) = tx.execute(_REPEATED).fetchall()
            engine(servers.ledger_url).dispose()
            return Cost(
                stands.title,
                fault,
                longest_gap_s(accepted, began[0]),
                longest_gap_s(Outside.of(at.control).applied_at(), began[0]),
                max(waited, default=0),
                int(str(repeated)),
                verdict.events,
                len(verdict.findings.lost),
                tuple(line for line in verdict.lines() if not line.startswith("lost")),
            )


_ACCEPTED = b"select extract(epoch from accepted_at) from instance order by 1"
_REPEATED = b"select count(distinct (instance_id, stage, attempt)) from activity where attempt > 1"
_WAIT = b"select count(*) from instance where state in ('pending', 'running', 'waiting', 'held')"


@contextmanager
def _waiting(at: Stand) -> Iterator[list[int]]:
    """Note again and again how many events wait, while the block runs."""
    found: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_LOOK_S):
            with suppress(psycopg.Error), at.psql() as tx:
                row = tx.execute(_WAIT).fetchone()
                found.append(int(str(row[0])) if row else 0)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        stop.set()
        looking.join()


def longest_gap_s(instants: Sequence[float], since: float) -> float:
    """Return the longest time between two of *instants*, sorted, the later of them after *since*."""
    return round(max((later - earlier for earlier, later in pairwise(instants) if later > since), default=0.0), 1)


def table(costs: Sequence[Cost]) -> list[str]:
    """Return the lines of a table."""
    head = ("server", "what happened", "nothing accepted, s", "nothing written, s", "waited", "repeated", "lost of")
    rows = [
        (
            *(one.server, one.fault, f"{one.unaccepted_s:.1f}", f"{one.unwritten_s:.1f}"),
            *(str(one.waited), str(one.repeated), f"{one.lost} of {one.events}"),
        )
        for one in costs
    ]
    return [f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)]


def main() -> int:
    """Fail over what is asked for, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.suite.failover", description=__doc__)
    parser.add_argument("--only", choices=STANDS, action="append")
    options = parser.parse_args()
    forked_bare()
    costs: list[Cost] = []
    for name in options.only or STANDS:
        if (needs := STANDS[name].needs) and shutil.which(needs[0]) is None:
            say(f"{name} is not tried: it takes Debian's package {needs[1]}")
            continue
        for fault in STANDS[name].faults:
            with tempfile.TemporaryDirectory(prefix="membersync-failover-", ignore_cleanup_errors=True) as folder:
                Path(folder).chmod(0o755)
                cost = play(Path(folder), name, fault)
            costs.append(cost)
            say(f"{cost.server}: {cost.fault}: {asdict(cost)}")
    _ARTIFACT.parent.mkdir(exist_ok=True)
    _ARTIFACT.write_text(json.dumps([asdict(one) for one in costs], indent=2) + "\n", encoding="utf-8")
    for line in table(costs):
        say(line)
    for one in costs:
        for line in one.others:
            say(f"{one.server}, {one.fault}: {line}")
    return 1 if any(_is_broken(one) for one in costs) else 0


def _is_broken(one: Cost) -> bool:
    """Return whether a promise broke; who fails over to a standby that nobody waited for has been told of losses."""
    return bool(one.others or one.lost) and one.server != STANDS["asynchronous"].title


if __name__ == "__main__":
    sys.exit(main())

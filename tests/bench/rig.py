"""What a benchmark runs on: real embedded servers, the stub of the outside, and processes that are all ended again."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals

import httpx
from sqlalchemy import text

from deploy.local.programs import free_port, inherited_environment
from deploy.local.servers import embedded_postgres, embedded_valkey
from deploy.local.supervisor import Program, Running
from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.ledger.checkup import migrate
from shared.ledger.engine import Ledger, engine
from shared.pipeline import Lane
from tests.bench.accounting import Accounts
from tests.bench.contestants import work
from tests.bench.events import Event
from tests.bench.stub import Stub, stub
from tests.bench.waiting import wait_until

_SLICE = 1_000


@dataclass(frozen=True, slots=True)
class Rig:
    """The servers, as URLs; the stub; and `accounts`, who has used how much CPU."""

    ledger_url: str
    broker_url: str
    stub: Stub
    logs: Path
    accounts: Accounts
    _names: dict[str, int] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        """The ledger of ours, migrated."""
        return engine(self.ledger_url)

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process of ours; *settings* by their names after `MEMBERSYNC_`."""
        own = {
            "LEDGER_URL": self.ledger_url,
            "BROKER_URL": self.broker_url,
            "CROWDTWIST__BASE_URL": self.stub.url,
            "CROWDTWIST__API_KEY": work.API_KEY["api_key"],
            "CROWDTWIST__BUDGET_PER_MINUTE": "0",
            "SIEBEL__BASE_URL": self.stub.url,
            "SIEBEL__USERNAME": work.SIEBEL_LOGIN[0],
            "SIEBEL__PASSWORD": work.SIEBEL_LOGIN[1],
            "LOG_LEVEL": "warning",
        } | dict(settings or {})
        return inherited_environment() | {f"MEMBERSYNC_{name}": value for name, value in own.items()}

    @contextmanager
    def process(
        self, kind: str, arguments: Sequence[str], environment: Mapping[str, str], stop: Signals = SIGTERM
    ) -> Iterator[Running]:
        """Run `python ARGUMENTS` for the length of the block; its output goes to a log, its CPU to *kind*."""
        self._names[kind] = number = self._names.get(kind, 0) + 1
        log = self.logs / f"{kind}-{number}.log"
        command = [sys.executable, *arguments]
        program = Program(kind, command, env=environment, log=log, grace_s=60, stop_signal=stop)
        with Running(program) as running, self.accounts.of(kind, running.pid):
            yield running

    def ours(self, *arguments: str, settings: Mapping[str, str] | None = None) -> AbstractContextManager[Running]:
        """Run `membersync ARGUMENTS` for the length of the block, its CPU under the first of them."""
        return self.process(arguments[0], ["-m", "producers.cli", *arguments], self.environment(settings))

    @contextmanager
    def api(self, settings: Mapping[str, str] | None = None) -> Iterator[str]:
        """Run the api for the length of the block; give its URL once it is ready."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with self.ours("api", "--port", str(port), settings=settings), httpx.Client(trust_env=False) as client:

            def is_ready() -> bool:
                try:
                    return client.get(f"{url}/readyz").is_success
                except httpx.TransportError:
                    return False

            wait_until(is_ready, 60, "the api's start")
            yield url

    def feed(self, events: Iterable[Event], lane: Lane = Lane.BULK) -> int:
        """Take *events* in through the real intake, a thousand in a transaction; return how many."""
        fed, part = 0, []
        for event in events:
            part.append((fed, parse_event(event, max_bytes=64_000)))
            fed += 1
            if len(part) == _SLICE:
                accept(self.ledger, part, IntakeRules(lane))
                part = []
        if part:
            accept(self.ledger, part, IntakeRules(lane))
        return fed

    def know_rows(self, numbers: Sequence[str]) -> None:
        """Let the ledger know the members' rows in Siebel, as it does after the first status written on each.

        Without it every new member costs a call more: its row is looked up.
        """
        with self.ledger.begin() as tx:
            tx.execute(_KNOW_ROWS, {"numbers": list(numbers)})

    def wait_for_members(self, count: int, within_s: float = 600) -> None:
        """Wait until Siebel was told of this many different members since the stub's reset."""
        wait_until(lambda: self.stub.counts().members >= count, within_s, f"the status of {count} members")

    def is_quiet(self) -> bool:
        """Return whether nothing is on its way or waits for its turn."""
        with self.ledger.connect() as tx:
            return not tx.execute(_ON_ITS_WAY).scalar()


_ON_ITS_WAY = text("""
    select exists (select from instance where state in ('pending', 'running', 'waiting', 'held'))
""")
_KNOW_ROWS = text("""
    insert into member (member_number, row_id, proven_row_id)
    select number, '1-' || number, '1-' || number from unnest(cast(:numbers as text[])) as number order by number
    on conflict (member_number) do update set proven_row_id = excluded.proven_row_id
""")


@contextmanager
def rig(home: Path) -> Iterator[Rig]:
    """Start a durable ledger, a broker and the stub on *home*, which is kept by the caller."""
    logs = home / "logs"
    with ExitStack() as stack:
        accounts = Accounts()
        ledger_url = stack.enter_context(embedded_postgres(home, port=0))
        broker_url = stack.enter_context(embedded_valkey(home, port=0))
        outside = stack.enter_context(stub(logs / "stub.log"))
        stack.enter_context(accounts.of("ledger", server_pid(home, "postgres")))
        stack.enter_context(accounts.of("broker", server_pid(home, "valkey")))
        stack.enter_context(accounts.of("stub", outside.pid))
        migrate(ledger_url)
        yield Rig(ledger_url, broker_url, outside, logs, accounts)


@contextmanager
def scratch_rig() -> Iterator[Rig]:
    """Start a rig whose data is thrown away afterwards."""
    with scratch_home() as home, rig(home) as on:
        yield on


@contextmanager
def scratch_home() -> Iterator[Path]:
    """Give a folder that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="membersync-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def server_pid(home: Path, server: str) -> int:
    """Return the process of the `postgres` or `valkey` that runs on *home*."""
    file = {"postgres": "postgres/data/postmaster.pid", "valkey": "valkey/valkey.pid"}[server]
    return int((home / file).read_text(encoding="utf-8").split()[0])

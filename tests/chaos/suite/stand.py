"""What a run of chaos stands on: real servers and simulators of its own, and the wires to them.

The outside systems and the servers are not the product's: they survive whatever becomes of it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg

from deploy.local.programs import free_port, inherited_environment
from deploy.local.servers import embedded_postgres
from deploy.sandbox.server import RunningSandbox, SandboxControl, running_sandbox
from tests.chaos.suite.brokers import Broker, running_broker
from tests.chaos.suite.house import House
from tests.chaos.suite.links import AUTHORITY, Link, links
from tests.stepped_clock import SteppedClock

SYSTEMS = ("oic", "crowdtwist", "siebel")
_DISK_MB = 1_024
"""More than PostgreSQL keeps of its own log before a checkpoint."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast everything goes.  Units: seconds, events per second."""

    name: str
    members: int
    rate: float
    frozen_s: tuple[float, float]
    late_s: tuple[float, float]
    trouble_s: tuple[float, float]
    gap_s: tuple[float, float]
    drain_s: float
    moving: bool
    """Members pass e-mail addresses on."""
    settings: Mapping[str, object]


COMMON: dict[str, object] = {
    "CROWDTWIST__BUDGET_PER_MINUTE": 0,
    "RECONCILE__EVERY_H": 0,
    "GUARD__DEACTIVATIONS_SHARE": 1,  # a guard's hold waits for a person: it is no end
    "GUARD__BLANKED_SHARE": 1,
    "LOG_LEVEL": "warning",
    "FLOWER__PORT": 0,
}


def _settings(
    timeout_s: float, settle_s: float, retry: tuple[float, float], probe: tuple[float, float]
) -> dict[str, object]:
    each: dict[str, object] = {
        "TIMEOUT_S": timeout_s,
        "RETRY_BASE_S": retry[0],
        "RETRY_CAP_S": retry[1],
        "PROBE_FIRST_S": probe[0],
        "PROBE_CAP_S": probe[1],
    }
    settle: dict[str, object] = {"CROWDTWIST__SETTLE_S": settle_s, "SIEBEL__SETTLE_S": settle_s}
    return {f"{system.upper()}__{name}": value for system in SYSTEMS for name, value in each.items()} | settle


SHORT = Pace(
    "short",
    members=120,
    rate=25,
    frozen_s=(3, 8),
    late_s=(0.5, 2),
    trouble_s=(1, 3),
    gap_s=(0.2, 0.9),
    drain_s=75,
    moving=False,
    settings=COMMON
    | _settings(1, 4, (0.2, 2), (0.2, 2))
    | {"DISPATCHER__LEASE_S": 6.5, "DISPATCHER__UNBEGUN_LEASE_S": 2, "DISPATCHER__TICK_S": 0.3}
    | {"SIEBEL__REPORT_AFTER_S": 1},
)
LONG = Pace(
    "long",
    members=3_000,
    rate=25,
    frozen_s=(30, 70),
    late_s=(2, 20),
    trouble_s=(4, 20),
    gap_s=(2, 8),
    drain_s=300,
    moving=True,
    settings=COMMON
    | _settings(5, 30, (1, 15), (0.5, 10))
    | {"DISPATCHER__LEASE_S": 25, "DISPATCHER__UNBEGUN_LEASE_S": 8, "SIEBEL__REPORT_AFTER_S": 20},
)


@dataclass
class Stand:
    """The servers, the simulators, the wires; and the product, once there is a house."""

    folder: Path
    ledger_url: str
    broker: Broker
    sandbox: RunningSandbox
    links: Mapping[str, Link]
    api_port: int
    house: House | None = None
    has_small_disk: bool = False
    """The ledger's data lies on a disk of its own, which can be filled."""
    ledger_clock: SteppedClock | None = None
    """The wall clock of PostgreSQL, where there is a C compiler."""
    frozen: list[tuple[float, float]] = field(default_factory=list)
    """When workers or wires stood still, epoch seconds: what they held went out afterwards."""

    @property
    def clock(self) -> SteppedClock:
        """The wall clock of the product's processes."""
        return SteppedClock(self.folder)

    @property
    def broker_url(self) -> str:
        return self.broker.url

    @property
    def control(self) -> SandboxControl:
        return self.sandbox.control

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def with_a_clock_of_its_own(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment whose processes have a wall clock that can be stepped: that wants a C compiler."""
        return {**environment, **(self.clock.environment if self.clock.make() else {})}

    def environment(self, pace: Pace) -> dict[str, str]:
        """Return the environment of the product's processes: every wire in place."""

        def wired(name: str, url: str) -> str:
            place = urlsplit(url)
            user = place.netloc.rpartition("@")[0]
            return place._replace(netloc=f"{user}@127.0.0.1:{self.links[name].port}".removeprefix("@")).geturl()

        oic = wired("oic", self.sandbox.oic)
        own = {
            "HOME": self.folder / "home",
            "LEDGER_URL": wired("ledger", self.ledger_url),
            "BROKER_URL": wired("broker", self.broker_url),
            "API__PORT": self.api_port,
            "OIC__MODE": "remote",
            "OIC__BASE_URL": oic,
            "OIC__TOKEN_URL": f"{oic}/oauth2/v1/token",
            "OIC__CLIENT_ID": "membersync",
            "OIC__CLIENT_SECRET": "secret",
            "CROWDTWIST__BASE_URL": f"https://127.0.0.1:{self.links['crowdtwist'].port}",
            "CROWDTWIST__API_KEY": "sandbox-key",
            "SIEBEL__BASE_URL": wired("siebel", self.sandbox.siebel),
            "SIEBEL__USERNAME": "SADMIN",
            "SIEBEL__PASSWORD": "SADMIN",
            **pace.settings,
        }
        named = {f"MEMBERSYNC_{name}": str(value) for name, value in own.items()}
        return inherited_environment() | named | {"SSL_CERT_FILE": str(AUTHORITY)}

    def psql(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Return a connection of our own to the ledger, beside all wires, that may write whatever it is told."""
        url = self.ledger_url.replace("postgresql+psycopg", "postgresql")
        return psycopg.connect(url, autocommit=True, connect_timeout=5, options="-c default_transaction_read_only=off")

    @property
    def postgres_pid(self) -> int:
        return int((self.folder / "servers/postgres/data/postmaster.pid").read_text().split()[0])

    def postgres_pids(self) -> list[int]:
        """Return all processes of PostgreSQL, its first one first."""
        first = self.postgres_pid
        with suppress(psutil.Error):
            return [first, *(child.pid for child in psutil.Process(first).children())]
        return []


@contextmanager
def stand(folder: Path, broker_kind: str = "valkey", *, small_disk: bool = False) -> Iterator[Stand]:
    """Run servers, simulators and wires while the block runs; what they hold lies in *folder*.

    With *small_disk* the ledger gets a disk of its own, where one can be mounted: that wants root.
    """
    with ExitStack() as exits:
        servers = folder / "servers"
        has_small_disk = small_disk and exits.enter_context(_disk(servers / "postgres"))
        ledger_clock = SteppedClock(folder / "ledger_clock")
        ledger_clock.folder.mkdir()
        folder.chmod(0o755)  # PostgreSQL is run by another user
        has_clock = ledger_clock.make()
        environment = {**os.environ, **ledger_clock.environment} if has_clock else None
        ledger_url = exits.enter_context(
            embedded_postgres(servers, port=0, grace_s=5, environment=environment, on_event=_quietly)
        )
        broker = exits.enter_context(running_broker(broker_kind, servers, _quietly))
        sandbox = exits.enter_context(running_sandbox())
        urls = {"ledger": ledger_url, "broker": broker.url} | {name: getattr(sandbox, name) for name in SYSTEMS}
        places = {name: urlsplit(url) for name, url in urls.items()}
        targets = {name: (place.hostname or "", place.port or 0) for name, place in places.items()}
        wires = exits.enter_context(links(targets, tls=frozenset({"crowdtwist"})))
        at = Stand(folder, ledger_url, broker, sandbox, wires, free_port(), has_small_disk=has_small_disk)
        at.ledger_clock = ledger_clock if has_clock else None
        yield at


@contextmanager
def _disk(at: Path) -> Iterator[bool]:
    """Have a small disk at a folder while the block runs; give whether there is one."""
    at.mkdir(parents=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [str(mount), "-t", "tmpfs", "-o", f"size={_DISK_MB}m,mode=0700", "membersync-chaos", str(at)]
    if (
        os.geteuid() != 0
        or not mount
        or not umount
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run([umount, "--lazy", str(at)], check=True)


def _quietly(event: Mapping[str, object]) -> None:
    """Servers die here on purpose; who wonders reads the environment."""
    if os.environ.get("CHAOS_LOUD"):
        print(json.dumps(event))  # noqa: T201

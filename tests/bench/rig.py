"""What a benchmark runs on: real embedded servers, the sandbox, and processes that are all ended again."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.health import simulators_answer
from deploy.local import programs
from deploy.local.programs import free_port, inherited_environment
from deploy.local.servers import embedded_postgres, embedded_valkey
from deploy.local.supervisor import Program, Running
from deploy.sandbox.server import SandboxControl
from shared.pipeline import Stage
from shared.settings import Settings

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Rig:
    """The servers, as URLs; the settings of ours as environment."""

    ledger_url: str
    broker_url: str
    plain_broker_url: str
    sandbox: Mapping[str, str]
    control: SandboxControl
    logs: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process started here, ours and the comparison's."""
        base = inherited_environment()
        return base | {
            "MEMBERSYNC_LEDGER_URL": self.ledger_url,
            "MEMBERSYNC_BROKER_URL": self.broker_url,
            "MEMBERSYNC_CROWDTWIST__BASE_URL": self.sandbox["crowdtwist"],
            "MEMBERSYNC_CROWDTWIST__API_KEY": "sandbox-key",
            "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "0",
            "MEMBERSYNC_SIEBEL__BASE_URL": self.sandbox["siebel"],
            "MEMBERSYNC_SIEBEL__USERNAME": "SADMIN",
            "MEMBERSYNC_SIEBEL__PASSWORD": "SADMIN",
            "MEMBERSYNC_LOG_LEVEL": "warning",
            "PLAIN_BROKER": self.plain_broker_url,
            "PLAIN_CROWDTWIST": self.sandbox["crowdtwist"],
            "PLAIN_SIEBEL": self.sandbox["siebel"],
        }

    @contextmanager
    def process(self, name: str, *arguments: str) -> Iterator[None]:
        """Run `python *arguments` while the block runs; its output goes to a log."""
        command = [sys.executable, *arguments]
        with Running(Program(name, command, env=self.environment, log=self.logs / f"{name}.log", grace_s=60)):
            yield


@contextmanager
def rig(home: Path) -> Iterator[Rig]:
    """Start a durable ledger, a broker for each side and the sandbox, on *home*."""
    with ExitStack() as stack:
        ledger_url = stack.enter_context(embedded_postgres(home / "ours", port=0))
        broker_url = stack.enter_context(embedded_valkey(home / "ours", port=0))
        plain_url = stack.enter_context(embedded_valkey(home / "plain", port=0))
        program, urls = programs.sandbox(Settings.model_construct(home=home), frozenset(Stage), free_port())
        stack.enter_context(Running(program))
        wait_until(lambda: simulators_answer(urls), 30, "the simulators' start")
        control = stack.enter_context(SandboxControl(urls["control"]))
        for name in ("crowdtwist", "siebel"):
            control.set(name, record_calls=False)
        control.set("siebel", history_limit=0)
        logs = home / "logs"
        logs.mkdir(exist_ok=True)
        yield Rig(ledger_url, broker_url, plain_url, urls, control, logs)


def wait_until(done: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll until *done*.

    Raises:
        TimeoutError: it took longer than *within_s*.
    """
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took longer than {within_s:g} s")
        time.sleep(POLL_S)

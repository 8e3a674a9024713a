"""The whole product on one machine, as `up`, `demo` and the e2e tests run it.

What starts, in order; it stops in the reverse order, so that a worker can still finish its calls::

    sandbox (only what is simulated) · postgres, valkey (only what has no URL) · migrate
    dispatcher · workers · api · flower

Every process has its settings in its environment, logs to ``home/logs/NAME.log`` and is started again when it dies.
"""

import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from deploy.local import programs
from deploy.local.embedded_server import free_port, hold
from deploy.local.ports import Listener, Place
from deploy.local.readiness import ready_api, ready_flower, ready_sandbox, workers_answer
from deploy.local.servers import embedded_postgres, embedded_valkey
from deploy.local.supervisor import Event, ProcessError, Running, Stop, Supervisor, log_tail, write_event
from deploy.sandbox.client import SandboxControl
from shared.addresses import hosts
from shared.addresses.hosts import listening
from shared.pipeline import Lane, Stage
from shared.settings import Page, Settings

__all__ = ["Stack", "StoppedError", "running_stack"]

_READY_WITHIN_S = 60.0
_CONTROL_PORT = 9100


class StoppedError(Exception):
    """The end was asked for before the stack was ready."""


@dataclass(slots=True)
class Stack:
    """A running stack.

    Attributes:
        settings: As its processes have them, every URL filled in.
        sandbox: The addresses of the simulators that run here, by name, and of their `control`; empty when none does.
        control: Steers the simulators; None when none runs.
    """

    home: Path
    settings: Settings
    sandbox: Mapping[str, str]
    control: SandboxControl | None
    api_url: str
    flower_url: str
    flower_user: str
    flower_password: str = field(repr=False)
    _pids: Callable[[], dict[str, int]]

    def pids(self) -> dict[str, int]:
        """Give the process of each program that has one at this moment, by name."""
        return self._pids()


@contextmanager
def running_stack(
    settings: Settings,
    *,
    sandbox: Collection[Stage] | None = None,
    on_event: Callable[[Event], None] = write_event,
    stop: Stop | None = None,
) -> Iterator[Stack]:
    """Run the stack for the length of the block; it takes events when the block begins.

    Args:
        settings: Of all its processes; what they leave unset is started here.
        sandbox: The connections to simulate; by default those that have no address.
        on_event: Told of what starts (`{"event": "started", "name", "url"}`), and of deaths as the supervisor tells.
        stop: Ends the start early when it is asked for.

    Raises:
        PortError: A port that was asked for cannot be listened on; nothing was started.
        ServerError: The home is in use, or an embedded server does not start.
        ProcessError: A process does not become ready; the message ends with its log.
        StoppedError: *stop* said so.
    """
    with ExitStack() as exits:
        home = settings.home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        exits.enter_context(hold(home))
        start = _Start(settings.model_copy(update={"home": home}), on_event, stop, exits)
        start.take_ports()
        start.servers(_simulated(settings) if sandbox is None else frozenset(sandbox))
        start.migrate()
        stack = start.processes()
        exits.enter_context(_written(stack))
        yield stack


def _simulated(settings: Settings) -> frozenset[Stage]:
    """Name the connections that have no address and need one."""
    builtin = {Stage.OIC} if settings.oic.mode == "builtin" else set()
    return frozenset(stage for stage in Stage if settings.connection(stage).base_url is None) - builtin


class _Start:
    """The start of one stack: what each step learns, the next one uses."""

    def __init__(
        self, settings: Settings, on_event: Callable[[Event], None], stop: Stop | None, exits: ExitStack
    ) -> None:
        self._settings = settings
        self._on_event = on_event
        self._stop = stop
        self._exits = exits
        self._taken: ExitStack = exits.enter_context(ExitStack())
        self._asked = _asked_for(settings)
        self._home = settings.home
        self._sandbox: Mapping[str, str] = {}
        self._pids: list[Callable[[], dict[str, int]]] = []

    def take_ports(self) -> None:
        """Keep everybody, our own servers too, off the ports that were asked for, until their programs start.

        Raises:
            PortError: One cannot be listened on.
        """
        for name, (what, host, port) in self._asked.items():
            self._taken.enter_context(listening(what, host, port, f"MEMBERSYNC_{name}"))

    def servers(self, simulated: frozenset[Stage]) -> None:
        """Start the simulators, PostgreSQL and Valkey, and point the settings at them."""
        simulators = self._simulators(simulated) if simulated else None
        if self._settings.ledger_url is None:
            url = self._exits.enter_context(embedded_postgres(self._home, on_event=self._on_event))
            self._set(ledger_url=url)
            self._tell("postgres", url.rpartition("@")[2])
        if self._settings.broker_url is None:
            url = self._exits.enter_context(embedded_valkey(self._home, on_event=self._on_event))
            self._set(broker_url=url)
            self._tell("valkey", url.rpartition("@")[2])
        if simulators is not None:
            self._wait(simulators)
            self._settings = programs.pointed_at(self._sandbox, self._settings)
            self._tell("sandbox", self._sandbox["control"])

    def migrate(self) -> None:
        """Bring the ledger's schema up to date.

        Raises:
            ProcessError: It failed.
        """
        program = programs.ours(self._settings, "migrate", "migrate")
        with Running(program) as running:
            code = running.wait(_READY_WITHIN_S)
        self._check()
        if code != 0:
            raise ProcessError(f"the ledger cannot be migrated (exit code {code}){log_tail(program.log)}")

    def processes(self) -> Stack:
        """Start our processes and wait until each of them does its work."""
        self._set(flower=self._settings.flower.model_copy(update={"password": _flower_password(self._settings)}))
        self._set(**{name: self._placed(name) for name in ("api", "flower")})
        self._taken.close()
        supervisor = self._exits.enter_context(Supervisor(self._on_event))
        self._pids.append(supervisor.pids)
        supervisor.start(programs.ours(self._settings, "dispatcher", "dispatcher"))
        supervisor.start(*(programs.worker(self._settings, lane) for lane in Lane))
        api, flower = self._settings.api, self._settings.flower
        listeners = {
            "api": self._listen(
                lambda port: programs.api(self._settings, port),
                lambda port: ready_api(port, api),
                Place(api.port, api.host, is_asked_for="API__PORT" in self._asked),
            ),
            "flower": self._listen(
                lambda port: programs.flower(self._settings, port),
                lambda port: ready_flower(port, flower),
                Place(flower.port, flower.host, is_asked_for="FLOWER__PORT" in self._asked),
            ),
        }
        stack = self._stack()
        for name, listener in listeners.items():
            self._wait(listener)
            setattr(stack, f"{name}_url", hosts.url(getattr(self._settings, name).host, listener.port))
        supervisor.wait_until(
            lambda: bool(self._stop) or self._workers_answer(supervisor),
            what="working",
            within_s=_READY_WITHIN_S,
        )
        self._check()
        return stack

    def _workers_answer(self, supervisor: Supervisor) -> bool:
        pids = [pid for name, pid in supervisor.pids().items() if name.startswith("worker-")]
        return len(pids) == len(Lane) and workers_answer(self._settings.require_broker(), pids)

    def _stack(self) -> Stack:
        control = None
        if self._sandbox:
            control = self._exits.enter_context(SandboxControl(self._sandbox["control"]))
        flower = self._settings.flower
        password = flower.password.get_secret_value() if flower.password else ""
        return Stack(
            home=self._home,
            settings=self._settings,
            sandbox=self._sandbox,
            control=control,
            api_url="",
            flower_url="",
            flower_user=flower.username,
            flower_password=password,
            _pids=self._all_pids,
        )

    def _simulators(self, simulated: frozenset[Stage]) -> Listener:
        def program_at(port: int) -> programs.Program:
            program, self._sandbox = programs.sandbox(self._settings, simulated, port)
            return program

        return self._listen(program_at, lambda _: ready_sandbox(self._sandbox), Place(_CONTROL_PORT))

    def _listen(
        self,
        program_at: Callable[[int], programs.Program],
        answers: Callable[[int], bool],
        place: Place,
    ) -> Listener:
        listener = Listener(program_at, answers, place, self._on_event)
        self._exits.callback(listener.stop)
        self._pids.append(listener.pids)
        listener.start()
        return listener

    def _placed(self, name: str) -> Page:
        """Return the page *name* with a port and an address, so that the other pages can link to it."""
        page: Page = getattr(self._settings, name)
        port = page.port if f"{name.upper()}__PORT" in self._asked else free_port(page.port, page.host)
        return page.model_copy(update={"port": port, "public_url": page.public_url or hosts.url(page.host, port)})

    def _wait(self, listener: Listener) -> None:
        listener.wait(within_s=_READY_WITHIN_S, unless=lambda: bool(self._stop))
        self._check()

    def _check(self) -> None:
        if self._stop:
            raise StoppedError

    def _set(self, **changes: object) -> None:
        self._settings = self._settings.model_copy(update=changes)

    def _tell(self, name: str, url: str) -> None:
        self._check()
        self._on_event({"event": "started", "name": name, "url": url})

    def _all_pids(self) -> dict[str, int]:
        found = {name: pid for pids in self._pids for name, pid in pids().items()}
        for name, file in (("postgres", "postgres/data/postmaster.pid"), ("valkey", "valkey/valkey.pid")):
            with suppress(OSError, ValueError):
                found[name] = int((self._home / file).read_text(encoding="utf-8").split("\n")[0])
        return found


def _flower_password(settings: Settings) -> SecretStr:
    return settings.flower.password or SecretStr(secrets.token_urlsafe(12))


def _asked_for(settings: Settings) -> dict[str, tuple[str, str, int]]:
    """Name the settings that ask for one port and no other; with what is served there, its host and its port."""
    of, asked = settings.dispatcher, {}
    for name, what, page in (("API__PORT", "the api", settings.api), ("FLOWER__PORT", "Flower", settings.flower)):
        if page.port and "port" in page.model_fields_set:
            asked[name] = (what, page.host, page.port)
    if of.metrics_port:
        asked["DISPATCHER__METRICS_PORT"] = ("metrics", of.metrics_host, of.metrics_port)
    return asked


@contextmanager
def _written(stack: Stack) -> Iterator[None]:
    """Tell commands that are typed beside it where everything is: ``home/stack.json``, readable by its owner only."""
    file = stack.home / "stack.json"
    document = {
        "ledger_url": stack.settings.ledger_url,
        "broker_url": stack.settings.broker_url,
        "api_url": stack.api_url,
        "flower_url": stack.flower_url,
        "flower_user": stack.flower_user,
        "flower_password": stack.flower_password,
        "sandbox": dict(stack.sandbox),
        "pid": os.getpid(),
    }
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(json.dumps(document, indent=2) + "\n")
    new.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)

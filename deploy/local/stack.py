"""The whole product on one machine, as `demo` and the e2e tests run it; and `up`: until Ctrl-C or SIGTERM.

What starts, in order; it stops in the reverse order, so that a worker can still finish its calls::

    sandbox (only what is simulated) · postgres, valkey (only what has no URL) · migrate
    dispatcher · workers · api · flower

Every process has its settings in its environment, logs to ``home/logs/NAME.log`` and is started again when it dies.
"""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

import httpx
from pydantic import SecretStr

from deploy.local import answering, programs
from deploy.local.programs import Listener, Place, ServerError, free_port, is_listening, locked, write_private
from deploy.local.servers import embedded_postgres, embedded_valkey
from deploy.local.supervisor import (
    Event,
    ProcessError,
    Program,
    Running,
    Stop,
    Supervisor,
    log_tail,
    stop_signals,
    write_event,
)
from deploy.sandbox.server import SandboxControl
from shared import hosts
from shared.broker import ask_workers
from shared.hosts import PortError, listening
from shared.pipeline import SYSTEMS, Lane, Stage
from shared.settings import Page, Settings

__all__ = ["Stack", "StoppedError", "running_stack"]

_READY_WITHIN_S = 60.0
_WORKERS_ANSWER_WITHIN_S = 1.0
_CONTROL_PORT = 9100


class StoppedError(Exception):
    """The end was asked for before the stack was ready."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack.

    Attributes:
        settings: As its processes have them, every URL filled in.
        sandbox: The addresses of the simulators that run here, by name, and of their `control`; empty when none does.
        control: Steers the simulators; None when none runs.
        pids: Returns the process of dispatcher and workers that has one at this moment, by name.
    """

    home: Path
    settings: Settings
    sandbox: Mapping[str, str]
    control: SandboxControl | None
    api_url: str
    flower_url: str
    flower_user: str
    flower_password: str = field(repr=False)
    pids: Callable[[], dict[str, int]]


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
        sandbox: The connections to simulate; by default those that have no address and need one.
        on_event: Told of what starts (`{"event": "started", "name", "url"}`), and of deaths as the supervisor tells.
        stop: Ends the start early when it is asked for.

    Raises:
        PortError: A port that was asked for cannot be listened on; nothing was started.
        ServerError: The home is in use, or an embedded server does not start.
        ProcessError: A process does not become ready; the message ends with its log.
        StoppedError: *stop* said so.
    """
    if sandbox is None:
        builtin = {Stage.OIC} if settings.oic.mode == "builtin" else set()
        sandbox = {stage for stage in Stage if settings.connection(stage).base_url is None} - builtin
    with ExitStack() as exits:
        home = settings.home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        exits.enter_context(locked(home))
        start = _Start(settings.model_copy(update={"home": home}), on_event, stop, exits)
        start.take_ports()
        start.servers(frozenset(sandbox))
        start.migrate()
        stack = start.processes()
        exits.enter_context(_written(stack))
        yield stack


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
        self._asked_for = [
            name for name in programs.PAGES if self._page(name).port and "port" in self._page(name).model_fields_set
        ]
        self._sandbox: Mapping[str, str] = {}

    def take_ports(self) -> None:
        """Keep everybody, our own servers too, off the ports that were asked for, until their programs start.

        Raises:
            PortError: One cannot be listened on.
        """
        for name in self._asked_for:
            page, setting = self._page(name), f"MEMBERSYNC_{name.upper()}__PORT"
            self._taken.enter_context(listening(programs.PAGES[name], page.host, page.port, setting))
        of = self._settings.dispatcher
        if of.metrics_port:
            setting = "MEMBERSYNC_DISPATCHER__METRICS_PORT"
            self._taken.enter_context(listening("metrics", of.metrics_host, of.metrics_port, setting))

    def servers(self, simulated: frozenset[Stage]) -> None:
        """Start the simulators, PostgreSQL and Valkey, and point the settings at them."""

        def program_at(port: int) -> Program:
            program, self._sandbox = programs.sandbox(self._settings, simulated, port)
            return program

        simulators: Listener | None = None
        if simulated:
            place = Place(_CONTROL_PORT)
            simulators = self._listen(program_at, lambda _: answering.simulators_answer(self._sandbox), place)
        if self._settings.ledger_url is None:
            url = self._exits.enter_context(embedded_postgres(self._settings.home, on_event=self._on_event))
            self._set(ledger_url=url)
            self._announce("postgres", url.rpartition("@")[2])
        if self._settings.broker_url is None:
            url = self._exits.enter_context(embedded_valkey(self._settings.home, on_event=self._on_event))
            self._set(broker_url=url)
            self._announce("valkey", url.rpartition("@")[2])
        if simulators is not None:
            self._wait(simulators)
            self._settings = programs.pointed_at(self._sandbox, self._settings)
            self._announce("sandbox", self._sandbox["control"])

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
        flower = self._settings.flower
        password = flower.password or SecretStr(secrets.token_urlsafe(12))
        self._set(flower=flower.model_copy(update={"password": password}))
        for name in programs.PAGES:  # each has its address before either starts, so that it can link to the other
            page = self._page(name)
            port = page.port if name in self._asked_for else free_port(page.port, page.host)
            public_url = page.public_url or hosts.url(page.host, port)
            self._set(**{name: page.model_copy(update={"port": port, "public_url": public_url})})
        self._taken.close()
        supervisor = self._exits.enter_context(Supervisor(self._on_event))
        supervisor.start(programs.ours(self._settings, "dispatcher", "dispatcher"))
        supervisor.start(*(programs.worker(self._settings, lane) for lane in Lane))
        pages = {name: self._start_page(name) for name in programs.PAGES}
        for listener in pages.values():
            self._wait(listener)

        def is_working() -> bool:
            workers = [pid for name, pid in supervisor.pids().items() if name.startswith("worker-")]
            return len(workers) == len(Lane) and workers_answer(self._settings.require_broker(), workers)

        supervisor.wait_until(lambda: bool(self._stop) or is_working(), what="working", within_s=_READY_WITHIN_S)
        self._check()
        sandbox = self._sandbox
        return Stack(
            home=self._settings.home,
            settings=self._settings,
            sandbox=sandbox,
            control=self._exits.enter_context(SandboxControl(sandbox["control"])) if sandbox else None,
            **{f"{name}_url": hosts.url(self._page(name).host, one.port) for name, one in pages.items()},
            flower_user=flower.username,
            flower_password=password.get_secret_value(),
            pids=supervisor.pids,
        )

    def _start_page(self, name: str) -> Listener:
        page = self._page(name)

        def is_well(port: int) -> bool:
            return answering.IS_WELL[name](programs.at_port(self._settings, name, port))

        place = Place(page.port, page.host, is_asked_for=name in self._asked_for)
        return self._listen(lambda port: programs.page(self._settings, name, port), is_well, place)

    def _listen(self, program_at: Callable[[int], Program], is_well: Callable[[int], bool], place: Place) -> Listener:
        def is_ready(pid: int, port: int) -> bool:
            with suppress(httpx.TransportError):
                return is_listening(pid, port) and is_well(port)
            return False

        listener = Listener(program_at, is_ready, place, self._on_event)
        return self._exits.enter_context(listener.started())

    def _page(self, name: str) -> Page:
        page: Page = getattr(self._settings, name)
        return page

    def _wait(self, listener: Listener) -> None:
        listener.wait(within_s=_READY_WITHIN_S, unless=lambda: bool(self._stop))
        self._check()

    def _check(self) -> None:
        if self._stop:
            raise StoppedError

    def _set(self, **changes: object) -> None:
        self._settings = self._settings.model_copy(update=changes)

    def _announce(self, name: str, url: str) -> None:
        self._check()
        self._on_event({"event": "started", "name": name, "url": url})


def workers_answer(broker_url: str, pids: Collection[int]) -> bool:
    """Return whether the workers with these process numbers take commands from the broker, and so tasks."""

    def answered(limit: int | None) -> set[int]:
        found = ask_workers(broker_url, "stats", within_s=_WORKERS_ANSWER_WITHIN_S, limit=limit)
        return {int(stats["pid"]) for stats in found.values() if "pid" in stats}

    try:
        found = answered(len(pids))
        if not found.issuperset(pids) and len(found) >= len(pids):
            found = answered(None)  # others work here too, and were quicker
    except ConnectionError:
        return False
    return found.issuperset(pids)


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
    write_private(file, json.dumps(document, indent=2) + "\n")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


_NAMES: dict[str, str] = {str(stage): name for stage, name in SYSTEMS.items()}


def say(text: str) -> None:
    """Write one line to standard output."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Write one line to standard error."""
    _write(sys.stderr, text)


def print_event(event: Event) -> None:
    """Print what happened to a process: on standard output what starts, on standard error what dies."""
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    match event:
        case {"event": "started", "name": name, "url": url}:
            say(f"{name:<10} {url}")
        case {"event": "process died", "name": name, "code": code, "restart_in_s": delay_s}:
            complain(f"{now}  {name} died (exit code {code}), starts again in {delay_s} s")
        case _:
            complain(f"{now}  " + "  ".join(f"{key}: {value}" for key, value in event.items()))


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        stream.write(text + "\n")
        stream.flush()


def up(settings: Settings) -> int:
    """Run the stack until it is asked to stop; return the exit code.

    Prints one line that begins with `ready` when it takes events, a line for each address, and one for each process
    that dies.
    """
    with stop_signals() as stop:
        say(f"starting; data and logs in {settings.home.resolve()}")
        try:
            with running_stack(settings, on_event=print_event, stop=stop) as stack:
                say_ready(stack)
                stop.wait()
                say("stopping; workers finish their calls")
        except StoppedError:
            pass
        except (PortError, ServerError, ProcessError) as error:
            complain(f"membersync up: {error}")
            return 1
    say("stopped")
    return 0


def say_ready(stack: Stack) -> None:
    """Print where everything is."""
    for line in ready_lines(stack, is_terminal=sys.stdout.isatty()):
        say(line)


def ready_lines(stack: Stack, *, is_terminal: bool) -> Iterator[str]:
    """Say that it takes events, with the addresses in that line for programs, then a line each for people.

    Flower's password is shown to who sits at a terminal, and never to what may keep a log: it stands in `stack.json`.
    """
    simulated = "".join(f" {name} {url}" for name, url in stack.sandbox.items() if not is_terminal)
    more = f"  sandbox{simulated}" if simulated else ""
    yield f"ready  api {stack.api_url}  flower {stack.flower_url}{more}"
    password = stack.flower_password if is_terminal else f"the password stands in {stack.home / 'stack.json'}"
    yield _line("console", stack.api_url)
    yield _line("API", f"{stack.api_url}/v1", "described by /openapi.json")
    yield _line("Flower", stack.flower_url, f"login {stack.flower_user} / {password}")
    for name, url in stack.sandbox.items():
        yield _line(_NAMES.get(name, name), url, "steers the simulators" if name == "control" else "simulator")


def _line(name: str, url: str, more: str = "") -> str:
    return f"  {name:<10} {url}{f'   {more}' if more else ''}"

"""`membersync up`: the whole stack on one machine, until Ctrl-C or SIGTERM."""

import contextlib
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TextIO

from deploy.local.server_folder import ServerError
from deploy.local.stack import Stack, StoppedError, running_stack
from deploy.local.supervisor import Event, ProcessError, stop_signals
from shared.addresses.hosts import PortError
from shared.pipeline import SYSTEMS
from shared.settings import Settings

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

"""`membersync up`: the whole stack on one machine, until Ctrl-C or SIGTERM."""

from deploy.local.serving import ServerError
from deploy.local.stack import Stack, StoppedError, running_stack
from deploy.local.supervisor import ProcessError, stop_signals
from deploy.local.terminal import complain, say, tell
from shared.settings import Settings


def up(settings: Settings) -> int:
    """Run the stack until it is told to stop; give the exit code.

    Prints one line that begins with `ready` when it takes events, and a line for each process that dies.
    """
    with stop_signals() as stop:
        say(f"starting; data and logs in {settings.home.resolve()}")
        try:
            with running_stack(settings, on_event=tell, stop=stop) as stack:
                say(ready_line(stack))
                stop.wait()
                say("stopping; workers finish their calls")
        except StoppedError:
            pass
        except (ServerError, ProcessError) as error:
            complain(f"membersync up: {error}")
            return 1
    say("stopped")
    return 0


def ready_line(stack: Stack) -> str:
    """Say in one line where everything is."""
    parts = [f"api {stack.api_url}", f"flower {stack.flower_url} ({stack.flower_user} / {stack.flower_password})"]
    if stack.sandbox:
        parts.append("sandbox " + " ".join(f"{name} {url}" for name, url in stack.sandbox.items()))
    return "ready  " + "  ".join(parts)

"""A sandbox in a thread with a loop of its own, for tests and tools that are not asynchronous."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from deploy.sandbox.client import SandboxControl
from deploy.sandbox.server import Ports, Sandbox, new_event_loop


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """Where the simulators are, and their control; the address of one that was left out is empty."""

    oic: str
    crowdtwist: str
    siebel: str
    control_url: str
    control: SandboxControl


@contextmanager
def running_sandbox(
    ports: Ports | None = None, *, host: str = "127.0.0.1", state_file: Path | None = None
) -> Iterator[RunningSandbox]:
    """Run a sandbox while the block runs, on free ports unless *ports* says otherwise.

    Raises:
        OSError: a port is taken.
    """
    started: Future[dict[str, str]] = Future()
    loop = new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with Sandbox(ports, host=host, state_file=state_file) as sandbox:
            started.set_result(sandbox.urls)
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = Thread(target=run, name="sandbox", daemon=True)
    thread.start()
    try:
        urls = started.result()
        systems = {name: urls.get(name, "") for name in ("oic", "crowdtwist", "siebel")}
        with SandboxControl(urls["control"]) as control:
            yield RunningSandbox(**systems, control_url=urls["control"], control=control)
    finally:
        if thread.is_alive() and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()

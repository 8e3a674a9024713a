"""For code that is not asynchronous: a client of the control endpoints, and a sandbox in a thread of its own."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

import httpx
import uvloop

from deploy.sandbox.server import Ports, Sandbox

_TIMEOUT_S = 10.0


class SandboxControl:
    """A blocking client of the control port.

    Args:
        url: the ``control`` address that the sandbox printed.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/_sandbox", timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, document: object = None, **query: str | int) -> httpx.Response:
        """Return the answer of ``/_sandbox/{path}``, in JSON.

        Raises:
            httpx.HTTPStatusError: the call was refused.
        """
        answer = self._http.request(method, path, json=document, params=query)
        return answer.raise_for_status()

    def state(self, name: str) -> dict[str, Any]:
        """Return the summary of the simulator *name*."""
        return dict(self.call("GET", f"{name}/state").json())

    def users(self) -> list[dict[str, Any]]:
        """Return CrowdTwist's users."""
        return list(self.call("GET", "crowdtwist/users").json())

    def user(self, third_party_id: str) -> dict[str, Any] | None:
        """Return one CrowdTwist user, None when there is none."""
        return self._one("crowdtwist/users", third_party_id=third_party_id)

    def members(self) -> list[dict[str, Any]]:
        """Return Siebel's members."""
        return list(self.call("GET", "siebel/members").json())

    def member(self, member_number: str) -> dict[str, Any] | None:
        """Return one Siebel member with its status, error and history, None when there is none."""
        return self._one("siebel/members", member_number=member_number)

    def _one(self, path: str, **query: str) -> dict[str, Any] | None:
        answer = self._http.get(path, params=query)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def seed(self, *members: dict[str, str]) -> None:
        """Let Siebel have these members: ``member_number``, ``row_id``, fields by label."""
        self.call("POST", "siebel/members", list(members))

    def calls(self, name: str, *, limit: int = 100, key: str | None = None) -> list[dict[str, Any]]:
        """Return the last calls of the simulator *name*, newest last, of the member *key* if given."""
        query: dict[str, str | int] = {"limit": limit} | ({} if key is None else {"key": key})
        return list(self.call("GET", f"{name}/calls", **query).json())

    def set(self, name: str, **settings: str | float | bool) -> None:
        """Change settings of the simulator *name*."""
        self.call("PUT", f"{name}/settings", settings)

    def fault(self, name: str, kind: str, **details: object) -> int:
        """Add a fault to the simulator *name*; return its id."""
        return int(self.call("POST", f"{name}/faults", {"kind": kind, **details}).json()["ids"][0])

    def heal(self, name: str, fault_id: int | None = None) -> None:
        """End one fault of the simulator *name*, or all."""
        self.call("DELETE", f"{name}/faults" if fault_id is None else f"{name}/faults/{fault_id}")

    def revoke_tokens(self) -> None:
        """Make OIC's tokens worth nothing."""
        self.call("POST", "oic/revoke-tokens")

    def reset(self, name: str | None = None) -> None:
        """Bring the simulator *name*, or all, back to the start."""
        self.call("POST", "reset" if name is None else f"{name}/reset")


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
    loop = uvloop.new_event_loop()
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

"""The sandbox: the simulators that were asked for and their control port, in one event loop.

The control endpoints look at the simulators, set them, break them.  ``/_sandbox/{name}/{what}`` on the control port
reaches them all, also while they refuse connections; each simulator's own port takes ``/_sandbox/{what}`` as well.
JSON in and out.  ``POST /_sandbox/reset`` on the control port resets all.

================================  ============================================================================
GET state                         counts of calls, members, the busiest minute, calls of one member at once
GET users / members               what CrowdTwist holds / what Siebel holds; one by ``?third_party_id=``, or by
                                  ``?member_number=`` or ``?row_id=``
POST users                        change CrowdTwist's users by no rule, dates included: ``[{"third_party_id", ...}]``
POST, DELETE members              seed Siebel, in bulk: ``[{"member_number", "row_id", label: value, ...}]``; remove
                                  those of ``?member_number=``, one or more with commas between them
GET calls                         the last calls, newest last: ``?limit=`` (100), ``?key=`` (a member)
GET journal                       what it was asked to change, oldest first: ``?after=`` so many, ``?limit=`` (1000)
GET, PUT settings                 look; change some
GET, POST, DELETE faults          look; add one or a list; end all, or one at ``faults/{id}``
POST revoke-tokens                OIC's tokens are worth nothing from now on
POST reset                        as at the start, settings and faults included
================================  ============================================================================

For code that is not asynchronous there are a sandbox in a thread of its own, and a client of the control endpoints.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import uvloop

from deploy.sandbox.crowdtwist import CrowdTwist
from deploy.sandbox.faults import FaultError
from deploy.sandbox.oic import Oic
from deploy.sandbox.siebel import Siebel
from deploy.sandbox.simulator import Api, SettingsError, Simulator
from deploy.sandbox.wire import Handler, Listener, Request, Response, json_response

_PREFIX = "/_sandbox/"
_CALLS_SHOWN = "100"
_ENTRIES_SHOWN = "1000"


class Control:
    """Answers control calls.

    Args:
        simulators: those that run, by name; may be filled later.
    """

    def __init__(self, simulators: Mapping[str, Simulator]) -> None:
        self._simulators = simulators

    async def receive(self, request: Request) -> Response:
        """Answer a call of the control port."""
        name, _, what = request.path.removeprefix(_PREFIX).partition("/")
        if name in self._simulators:
            return await self._answer(self._simulators[name], what, request)
        if (request.method, request.path) == ("POST", f"{_PREFIX}reset"):
            for simulator in self._simulators.values():
                await simulator.reset()
            return json_response(HTTPStatus.OK, {"reset": list(self._simulators)})
        return _unknown(request)

    def receive_at(self, name: str) -> Handler:
        """Return the handler for the port of the simulator *name*, where the name may be left out."""

        async def receive(request: Request) -> Response:
            what = request.path.removeprefix(_PREFIX).removeprefix(f"{name}/")
            return await self._answer(self._simulators[name], what, request)

        return receive

    async def _answer(self, simulator: Simulator, what: str, request: Request) -> Response:
        try:
            return simulator.api.inspect(request.method, what, request) or await _common(simulator, what, request)
        except (FaultError, SettingsError) as reason:
            return json_response(HTTPStatus.BAD_REQUEST, {"error": str(reason)})


async def _common(simulator: Simulator, what: str, request: Request) -> Response:
    shown: object
    match request.method, what.split("/"):
        case "GET", ["state"]:
            shown = simulator.state()
        case "GET", ["calls"]:
            limit = request.query.get("limit", _CALLS_SHOWN)
            shown = simulator.calls.last(int(limit) if limit.isdecimal() else 0, request.query.get("key"))
        case "GET", ["journal"]:
            after, limit = (
                request.query.get(name, default) for name, default in (("after", "0"), ("limit", _ENTRIES_SHOWN))
            )
            begin = int(after) if after.isdecimal() else 0
            end = begin + int(limit) if limit.isdecimal() else begin
            shown = [asdict(entry) for entry in simulator.journal[begin:end]]
        case "POST", ["reset"]:
            await simulator.reset()
            shown = {"reset": [simulator.name]}
        case method, ["settings"]:
            if method == "PUT":
                simulator.api.configure(request.document())
            shown = asdict(simulator.api.settings)
        case "GET", ["faults"]:
            shown = simulator.faults.active()
        case "POST", ["faults"]:
            document = request.document()
            shown = {"ids": simulator.add_faults(document if isinstance(document, list) else [document])}
            await simulator.reconcile()
        case "DELETE", ["faults", *ids] if len(ids) <= 1 and all(fault_id.isdecimal() for fault_id in ids):
            shown = {"removed": simulator.faults.remove(int(ids[0]) if ids else None)}
            await simulator.reconcile()
        case _:
            return _unknown(request)
    return json_response(HTTPStatus.OK, shown)


def _unknown(request: Request) -> Response:
    return json_response(HTTPStatus.NOT_FOUND, {"error": f"no such control call: {request.method} {request.path}"})


SYSTEMS: Mapping[str, Callable[[], Api]] = {"oic": Oic, "crowdtwist": CrowdTwist, "siebel": Siebel}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports to take: 0 a free one, None leaves the simulator out."""

    oic: int | None = 0
    crowdtwist: int | None = 0
    siebel: int | None = 0
    control: int = 0


class Sandbox:
    """Runs the simulators while it is entered; everything they hold is in memory.

    Args:
        ports: which simulators, and where.
        host: the address to bind.
        state_file: users and members are read from it at the start, if it exists, and written to it at the end.
    """

    def __init__(self, ports: Ports | None = None, *, host: str = "127.0.0.1", state_file: Path | None = None) -> None:
        self._ports = ports or Ports()
        self._host = host
        self._state_file = state_file
        self._control: Listener | None = None
        self.simulators: dict[str, Simulator] = {}

    @property
    def urls(self) -> dict[str, str]:
        """The base address of each simulator by name, and of ``control``."""
        urls = {name: simulator.listener.url for name, simulator in self.simulators.items()}
        return urls if self._control is None else urls | {"control": self._control.url}

    async def __aenter__(self) -> Self:
        try:
            # Every port is taken before any of them listens.
            control = Control(self.simulators)
            kept: dict[str, dict[str, object]] = {}
            if self._state_file is not None and self._state_file.exists():
                kept = orjson.loads(self._state_file.read_bytes())
            for name, system in SYSTEMS.items():
                port: int | None = getattr(self._ports, name)
                if port is None:
                    continue
                api = system()
                api.load(kept.get(name, {}))
                handler = control.receive_at(name)
                self.simulators[name] = Simulator(name, api, host=self._host, port=port, control=handler)
            self._control = Listener(self._host, self._ports.control, control.receive)
            for listener in (self._control, *(simulator.listener for simulator in self.simulators.values())):
                await listener.listen()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        if self._state_file is not None:
            held = {name: simulator.api.dump() for name, simulator in self.simulators.items()}
            self._state_file.write_bytes(orjson.dumps(held))

    async def _close(self) -> None:
        for simulator in self.simulators.values():
            await simulator.close()
        if self._control is not None:
            await self._control.close()


_TIMEOUT_S = 10.0
_SEEDED_AT_ONCE = 5_000
_REMOVED_AT_ONCE = 100


class SandboxControl:
    """A blocking client of the control port.

    Args:
        url: the ``control`` address that the sandbox printed.
    """

    def __init__(self, url: str) -> None:
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would read every authority of the world: 23 ms
        self._http = httpx.Client(base_url=f"{url}/_sandbox", timeout=_TIMEOUT_S, trust_env=False, verify=plain)

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

    def plant(self, *users: dict[str, Any]) -> None:
        """Let CrowdTwist's users of these ``third_party_id`` be so, by no rule: a restore, or an agent's change."""
        for first in range(0, len(users), _SEEDED_AT_ONCE):
            self.call("POST", "crowdtwist/users", users[first : first + _SEEDED_AT_ONCE])

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
        """Let Siebel have these members: ``member_number``, ``row_id``, fields by label; one it has is changed."""
        for first in range(0, len(members), _SEEDED_AT_ONCE):
            self.call("POST", "siebel/members", members[first : first + _SEEDED_AT_ONCE])

    def remove(self, *member_numbers: str) -> None:
        """Let Siebel have these members no more."""
        for first in range(0, len(member_numbers), _REMOVED_AT_ONCE):
            chunk = member_numbers[first : first + _REMOVED_AT_ONCE]
            self.call("DELETE", "siebel/members", member_number=",".join(chunk))

    def calls(self, name: str, *, limit: int = 100, key: str | None = None) -> list[dict[str, Any]]:
        """Return the last calls of the simulator *name*, newest last, of the member *key* if given."""
        query: dict[str, str | int] = {"limit": limit} | ({} if key is None else {"key": key})
        return list(self.call("GET", f"{name}/calls", **query).json())

    def journal(self, name: str) -> list[dict[str, Any]]:
        """Return what the simulator *name* was asked to change, oldest first, once it keeps a journal."""
        found: list[dict[str, Any]] = []
        while piece := self.call("GET", f"{name}/journal", after=len(found)).json():
            found += piece
        return found

    def set(self, name: str, **settings: str | float | bool) -> None:
        """Change settings of the simulator *name*."""
        self.call("PUT", f"{name}/settings", settings)

    def fault(self, name: str, kind: str, **details: object) -> int:
        """Add a fault to the simulator *name*; return its id."""
        return int(self.call("POST", f"{name}/faults", {"kind": kind, **details}).json()["ids"][0])

    def heal(self, name: str, fault_id: int | None = None) -> None:
        """End one fault of the simulator *name*, or all."""
        self.call("DELETE", f"{name}/faults" if fault_id is None else f"{name}/faults/{fault_id}")

    def back_up(self) -> None:
        """Keep CrowdTwist's users as they are now."""
        self.call("POST", "crowdtwist/backup")

    def restore(self) -> None:
        """Bring CrowdTwist's users back to where they were when they were kept; what came since is lost."""
        self.call("POST", "crowdtwist/restore")

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

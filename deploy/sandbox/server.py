"""The sandbox: the simulators that were asked for and their control port, in one event loop.

The control endpoints look at the simulators, set them, break them.  ``/_sandbox/{name}/{what}`` on the control port
reaches them all, also while they refuse connections; each simulator's own port takes ``/_sandbox/{what}`` as well.
JSON in and out.  ``POST /_sandbox/reset`` on the control port resets all.

================================  ============================================================================
GET state                         counts of calls, members, the busiest minute, calls of one member at once
GET users / members               what CrowdTwist holds / what Siebel holds; one by ``?third_party_id=``, or by
                                  ``?member_number=`` or ``?row_id=``
POST members                      seed Siebel: ``[{"member_number", "row_id", ...}]``
GET calls                         the last calls, newest last: ``?limit=`` (100), ``?key=`` (a member)
GET, PUT settings                 look; change some
GET, POST, DELETE faults          look; add one or a list; end all, or one at ``faults/{id}``
POST revoke-tokens                OIC's tokens are worth nothing from now on
POST reset                        as at the start, settings and faults included
================================  ============================================================================
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from deploy.sandbox.crowdtwist import CrowdTwist
from deploy.sandbox.faults import FaultError
from deploy.sandbox.oic import Oic
from deploy.sandbox.siebel import Siebel
from deploy.sandbox.simulator import Api, SettingsError, Simulator
from deploy.sandbox.wire import Handler, Listener, Request, Response, json_response

_PREFIX = "/_sandbox/"
_CALLS_SHOWN = "100"


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

"""The sandbox: the simulators that were asked for and their control port, in one event loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from deploy.sandbox.control import Control
from deploy.sandbox.crowdtwist import CrowdTwist
from deploy.sandbox.oic import Oic
from deploy.sandbox.siebel import Siebel
from deploy.sandbox.simulator import Api, Simulator
from deploy.sandbox.wire import Listener

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

"""``python -m deploy.sandbox``: run simulators until SIGTERM or Ctrl-C.

Starts those whose port is given, all three when none is; prints one JSON line with their addresses once they listen.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import orjson
import uvloop

from deploy.sandbox.server import SYSTEMS, Ports, Sandbox

_DEFAULT_PORTS = {"oic": 9101, "crowdtwist": 9102, "siebel": 9103}
_CONTROL_PORT = 9100


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line *arguments*."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sandbox", description="Simulators of the outside systems.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    for name, port in _DEFAULT_PORTS.items():
        parser.add_argument(f"--{name}-port", type=int, metavar="N", help=f"0 = free (default {port} if none is given)")
    parser.add_argument("--control-port", type=int, metavar="N", default=_CONTROL_PORT, help="0 = free (default 9100)")
    parser.add_argument("--state-file", type=Path, metavar="FILE", help="keep users and members between runs")
    return parser.parse_args(arguments)


async def _serve(options: argparse.Namespace) -> None:
    given: dict[str, int | None] = {name: getattr(options, f"{name}_port") for name in SYSTEMS}
    chosen = _DEFAULT_PORTS if set(given.values()) == {None} else given
    ports = Ports(**chosen, control=options.control_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with Sandbox(ports, host=options.host, state_file=options.state_file) as sandbox:
        sys.stdout.write(orjson.dumps(sandbox.urls).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """Run until told to stop; return the exit status."""
    options = parse(sys.argv[1:])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))
    except OSError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

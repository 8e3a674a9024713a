"""`make profile`: a flame graph of each kind of process of ours under load, in `.artifacts/profile-*.svg`.

The api is sampled while it takes the backlog in, then a worker's process and the dispatcher while it is worked off;
py-spy looks at them from outside, a hundred times a second.
"""

import argparse
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson

from deploy.local.servers import ServerError
from tests.bench.events import Event, member_events
from tests.bench.rig import Rig, scratch_rig
from tests.bench.stub import ARTIFACTS, StubError

_AT_ONCE = 2_000
_SAMPLES_PER_S = 100
_LONGEST_S = 600
_NDJSON = {"Content-Type": "application/x-ndjson"}


class SamplerError(RuntimeError):
    """py-spy is not there, or may not look; the message is one line."""


def main() -> int:
    """Sample them; exit 1 when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flames", description=__doc__)
    parser.add_argument("--events", type=int, default=30_000, help="in the backlog")
    options = parser.parse_args()
    try:
        with scratch_rig() as on:
            _sample(on, list(member_events("F", options.events)))
    except (SamplerError, ServerError, StubError, TimeoutError) as error:
        sys.stderr.write(f"profile: {error}\n")
        return 1
    return 0


def _sample(on: Rig, events: list[Event]) -> None:
    with on.ours("worker", "--concurrency", "2"), on.ours("dispatcher"), on.api() as url:
        on.feed(member_events("W", 500))
        on.wait_for_members(500)
        on.know_rows([event["member"]["member_number"] for event in events])
        with on.accounts.frozen("worker", "dispatcher"), _sampled(api=on.accounts.pids("api")[0]):
            _post(url, events)
        *_, child = on.accounts.pids("worker")
        with _sampled(worker=child, dispatcher=on.accounts.pids("dispatcher")[0]):
            on.wait_for_members(500 + len(events))


def _post(url: str, events: list[Event]) -> None:
    with httpx.Client(timeout=120, trust_env=False) as client:
        for start in range(0, len(events), _AT_ONCE):
            body = b"\n".join(orjson.dumps(event) for event in events[start : start + _AT_ONCE])
            client.post(f"{url}/v1/member-events", content=body, headers=_NDJSON).raise_for_status()


@contextmanager
def _sampled(**processes: int) -> Iterator[None]:
    """Sample each of *processes*, by name, for the length of the block; leave a flame graph of each.

    Raises:
        SamplerError: there is no py-spy, or it left none.
    """
    sampler = shutil.which("py-spy", path=Path(sys.executable).parent) or shutil.which("py-spy")
    if sampler is None:
        raise SamplerError("py-spy is not installed; deploy/requirements-bench.lock has it")
    graphs = {name: ARTIFACTS / f"profile-{name}.svg" for name in processes}
    running = []
    for name, pid in processes.items():
        graphs[name].unlink(missing_ok=True)
        options = ["--rate", str(_SAMPLES_PER_S), "--duration", str(_LONGEST_S), "--threads"]
        command = [sampler, "record", *options, "--output", str(graphs[name]), "--pid", str(pid)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    try:
        yield
    finally:
        for one in running:
            one.send_signal(signal.SIGINT)
        said = [one.communicate(timeout=60)[1] for one in running]
    for graph, words in zip(graphs.values(), said, strict=True):
        if not graph.exists():
            raise SamplerError(f"py-spy left no {graph.name}: {' '.join(words.split()[-30:])}")
        sys.stdout.write(f"{graph}\n")


if __name__ == "__main__":
    sys.exit(main())

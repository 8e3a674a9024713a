"""The outside world of a benchmark: CrowdTwist and Siebel as one small C server, compiled at need.

`deploy/sandbox` costs as much as we do and would hide us; this one costs about 0.015 ms a call (stub.c says what it
answers).  It is for measuring only: it judges nothing, so it proves nothing about correctness.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import BaseModel

from deploy.local.programs import free_port
from deploy.local.supervisor import Program, Running
from tests.bench.waiting import wait_until

_HERE = Path(__file__).parent
ARTIFACTS = _HERE.parents[2] / ".artifacts"


class StubError(RuntimeError):
    """The stub cannot be built; the message is one line that says why."""


class Counts(BaseModel):
    """What was called since the reset.

    Shape: *rows* status rows written to Siebel, *members* different ones.  Units: *cpu_s* of the stub; *reset_at*,
    *first_at* (first call to CrowdTwist) and *last_new_at* (last row that was new) seconds since 1970, 0: never.
    """

    crowdtwist_post: int
    crowdtwist_put: int
    crowdtwist_get: int
    siebel_put: int
    siebel_put_many: int
    siebel_get: int
    refused: int
    rows: int
    members: int
    connections: int
    cpu_s: float
    reset_at: float
    first_at: float
    last_new_at: float

    @property
    def crowdtwist(self) -> int:
        """Calls to CrowdTwist."""
        return self.crowdtwist_post + self.crowdtwist_put + self.crowdtwist_get

    @property
    def calls(self) -> int:
        """Calls to both."""
        return self.crowdtwist + self.siebel_put + self.siebel_put_many + self.siebel_get


class Row(BaseModel):
    """What was written on a row of Siebel.  Units: *at* seconds since 1970 of the last write, 0: never."""

    writes: int
    at: float


class Stub:
    """The running server.  *url* is the base URL of both systems."""

    def __init__(self, url: str, client: httpx.Client, pid: int | None) -> None:
        self.url = url
        self.pid = pid
        self._client = client

    def counts(self) -> Counts:
        """Return what was called since the reset."""
        return Counts.model_validate_json(self._asked("GET", "counts"))

    def row(self, row_id: str) -> Row:
        """Return what was written on this row: a member number with `1-` before it."""
        return Row.model_validate_json(self._asked("GET", f"row/{row_id}"))

    def slots(self) -> list[int]:
        """Return the calls to CrowdTwist in each 10 ms since the reset."""
        return [int(count) for count in httpx.Response(200, content=self._asked("GET", "slots")).json()]

    def set_latency(self, latency_ms: float) -> None:
        """Let every later answer take this long."""
        self._asked("PUT", f"latency/{latency_ms:g}")

    def reset(self) -> None:
        """Forget users, rows and counts; the latency stays."""
        self._asked("PUT", "reset")

    def _asked(self, method: str, what: str) -> bytes:
        return self._client.request(method, f"/_stub/{what}").raise_for_status().content


def compiled() -> Path:
    """Return the program, compiled now if its source changed.

    Raises:
        StubError: there is no C compiler, or it fails.
    """
    text = b"".join(source.read_bytes() for source in sorted(_HERE.glob("*.[ch]")))
    program = ARTIFACTS / f"bench-stub-{hashlib.sha256(text).hexdigest()[:12]}"
    if program.exists():
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise StubError("the benchmark's stub is written in C, and there is no compiler: install gcc, or set CC")
    ARTIFACTS.mkdir(exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command: list[str | Path] = [compiler, "-O2", "-o", fresh, *sorted(_HERE.glob("*.c"))]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        said = " ".join(made.stderr.split()[:30])
        raise StubError(f"{compiler} cannot compile the benchmark's stub: {said}")
    return fresh.replace(program)


@contextmanager
def stub(log: Path) -> Iterator[Stub]:
    """Run the server for the length of the block.

    Raises:
        StubError: it cannot be built.
    """
    port = free_port()
    program = Program("stub", [compiled(), str(port)], log=log)
    url = f"http://127.0.0.1:{port}"
    with Running(program) as running, httpx.Client(base_url=url, trust_env=False) as client:

        def answers() -> bool:
            try:
                return client.get("/_stub/counts").is_success
            except httpx.TransportError:
                return False

        wait_until(answers, 10, "the stub's start")
        yield Stub(url, client, running.pid)

"""The bound: nothing but the calls.  An asyncio loop in each of two processes, no queue, no ledger, no retries.

It has the HTTP client of ours, `shared.systems.wire.Wire`, called directly: without the Door's slots, lease and permit,
without records and masking.  What is left is the event's map, a POST, a PUT, and reading both answers.  Its events come
in a file for each process, which is read before the first call of them.
"""

import asyncio
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import uvloop

from shared.systems.wire import Wire
from tests.bench.contestants import work

TITLE = "the bound: a bare loop, our HTTP client"
DISTRIBUTION = "pyreqwest"
_PROCESSES = 2
_IN_FLIGHT = 50
"""Events of one process under way at once: as many calls as a process of ours makes to one connection."""
_LOOK_S = 0.002
_serial = count()
_folders: list[Path] = []


def prepare() -> None:
    """Make the folder that the files come to."""
    _folders.append(Path(tempfile.mkdtemp(prefix="membersync-bound-")))


def enqueue(events: Sequence[dict[str, Any]]) -> None:
    """Write each process its part."""
    number = next(_serial)
    for index in range(_PROCESSES):
        part = _folders[-1] / f"{number:06d}.{index}.part"
        part.write_bytes(orjson.dumps(list(events[index::_PROCESSES])))
        part.replace(part.with_suffix(".json"))


def workers() -> list[list[str]]:
    """Two processes of this module."""
    return [["-m", "tests.bench.bound", str(_folders[-1]), str(index)] for index in range(_PROCESSES)]


class Calls:
    """The calls of one process."""

    def __init__(self) -> None:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        basic = {"Authorization": f"Basic {b64encode(':'.join(work.SIEBEL_LOGIN).encode()).decode()}"}
        self._crowdtwist = Wire(headers, connect_s=work.TIMEOUT_S, total_s=work.TIMEOUT_S)
        self._siebel = Wire(headers | basic, connect_s=work.TIMEOUT_S, total_s=work.TIMEOUT_S)
        self._post_to = f"{work.users_url()}?{urlencode(work.API_KEY)}"

    async def run(self, events: Sequence[dict[str, Any]]) -> None:
        """Make the calls of all *events*, `_IN_FLIGHT` at a time."""
        left = iter(events)
        await asyncio.gather(*(self._take(left) for _ in range(_IN_FLIGHT)))

    async def _take(self, left: Iterator[dict[str, Any]]) -> None:
        for event in left:
            await self._call(self._crowdtwist, "POST", self._post_to, work.user_of(event))
            await self._call(self._siebel, "PUT", work.member_url(event["member"]["row_id"]), work.STATUS)

    @staticmethod
    async def _call(wire: Wire, method: str, url: str, document: object) -> object:
        """Return what was answered.

        Raises:
            RuntimeError: it was no good answer.
        """
        answer = await wire.send(method, url, body=orjson.dumps(document), authorization=None, within_s=work.TIMEOUT_S)
        if answer.status != HTTPStatus.OK or answer.body is None:
            raise RuntimeError(f"HTTP {answer.status}")
        return orjson.loads(answer.body)


def _serve(folder: Path, index: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        calls = Calls()
        while True:
            for part in sorted(folder.glob(f"*.{index}.json")):
                loop.run(calls.run(orjson.loads(part.read_bytes())))
                part.unlink()
            time.sleep(_LOOK_S)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2])

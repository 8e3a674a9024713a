"""Python programs that start in a blink: forked from a process that has imported their libraries already.

Half of what a test of a pipeline takes is the import of Celery, SQLAlchemy and the like, in each of its processes.  The
libraries are imported once a run, ours anew by each program: what it does on import belongs to it alone.
"""

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

_LIBRARIES = (
    *("celery.bin.celery", "celery.bin.worker", "celery.apps.worker", "celery.worker.worker"),
    *("celery.worker.consumer", "celery.concurrency.prefork", "celery.app.amqp", "celery.app.events"),
    *("kombu.transport.redis", "psycopg", "pydantic_settings", "rich.traceback", "sqlalchemy.dialects.postgresql"),
    *("sqlalchemy.dialects.postgresql.psycopg", "structlog", "pyreqwest.client", "typer.main", "orjson", "uvloop"),
    *("httpx", "kombu.pidbox", "kombu.matcher", "multiprocessing.sharedctypes", "pyreqwest.exceptions"),
    *("fastapi", "pydantic.v1", "prometheus_client", "uvicorn", "jinja2", "itsdangerous", "pygal", "alembic.command"),
)
_forking = get_context("forkserver")
_forking.set_forkserver_preload(list(_LIBRARIES))


class Forked:
    """A program on its way, to be held as a `subprocess.Popen` is."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
        """Start `python *arguments*`, which is `-m MODULE …`, in a session of its own."""
        assert arguments[0] == "-m"
        self.args = arguments
        log.touch()
        ready, told = _forking.Pipe(duplex=False)
        self._process = _forking.Process(target=_become, args=(arguments[1:], dict(environment), str(log), told))
        self._process.start()
        told.close()
        with ready, suppress(EOFError):
            ready.recv()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill it and its children, if it has ended already those that are left."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait(10)


def _become(arguments: tuple[str, ...], environment: dict[str, str], log: str, told: Connection) -> None:
    """Be the program from here on."""
    os.setsid()
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(written, stream)
    os.close(written)
    os.environ.clear()
    os.environ.update(environment)
    told.send(None)
    told.close()
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)

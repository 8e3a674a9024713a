"""Python programs that start in a blink: forked from a process that has imported what they need already.

Half of what a test of a pipeline takes is the import of Celery, SQLAlchemy and the like, in each of its processes.
Imported once a run are the libraries and those of our modules that only define; `workers.app` and `workers.tasks`,
which read the settings when they are imported, are imported anew by each program.
"""

import gc
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
from tempfile import TemporaryDirectory

_LIBRARIES = (
    *("celery.bin.celery", "celery.bin.worker", "celery.apps.worker", "celery.worker.worker"),
    *("celery.worker.consumer", "celery.concurrency.prefork", "celery.app.amqp", "celery.app.events"),
    *("kombu.transport.redis", "psycopg", "pydantic_settings", "rich.traceback", "sqlalchemy.dialects.postgresql"),
    *("sqlalchemy.dialects.postgresql.psycopg", "structlog", "pyreqwest.client", "typer.main", "orjson", "uvloop"),
    *("httpx", "kombu.pidbox", "kombu.matcher", "multiprocessing.sharedctypes", "pyreqwest.exceptions"),
    *("fastapi", "pydantic.v1", "prometheus_client", "uvicorn", "jinja2", "itsdangerous", "pygal", "alembic.command"),
)
_OURS = (
    *("producers.cli.app", "producers.dispatch.dispatcher", "producers.site"),
    *("workers.loop", "workers.stages", "workers.guard", "workers.heartbeat", "workers.calls_in_flight"),
)
_forking = get_context("forkserver")
_forking.set_forkserver_preload([*_LIBRARIES, *_OURS])


class Forked:
    """A program on its way, to be held as a `subprocess.Popen` is."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        log: Path,
        *,
        errors: Path | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start `python *arguments*`, which is `-m MODULE …`, in a session of its own.

        What it writes goes to *log*, its errors too unless they have a file of their own.
        """
        assert arguments[0] == "-m"
        self.args = arguments
        log.touch()
        ready, told = _forking.Pipe(duplex=False)
        self._process = _forking.Process(
            target=_become, args=(arguments[1:], dict(environment), log, errors, cwd, told)
        )
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


def run_to_end(
    arguments: tuple[str, ...], environment: Mapping[str, str], *, cwd: Path | None = None, within_s: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run `python *arguments*` until it ends, as `subprocess.run` does, and return what it wrote.

    Raises:
        subprocess.TimeoutExpired: it does not end *within_s*; it is killed.
    """
    with TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        program = Forked(arguments, environment, out, errors=err, cwd=cwd)
        try:
            code = program.wait(within_s)
        finally:
            program.kill_group()
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _become(  # noqa: PLR0913, PLR0917 - all that a program is started with
    arguments: tuple[str, ...],
    environment: dict[str, str],
    log: Path,
    errors: Path | None,
    cwd: Path | None,
    told: Connection,
) -> None:
    """Be the program from here on."""
    gc.freeze()  # what was imported stays: each program would look through all of it for garbage, and copy it for that
    os.setsid()
    for stream, file in ((1, log), (2, errors or log)):
        written = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(written, stream)
        os.close(written)
    if cwd is not None:
        os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    told.send(None)
    told.close()
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)

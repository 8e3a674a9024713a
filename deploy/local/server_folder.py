"""The folder of an embedded server: used by one stack at a time, with a password, and no forerunner in the way."""

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LEFTOVER_ENDS_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.02


class ServerError(RuntimeError):
    """An embedded server cannot be had; the message says why and, where there is one, ends with its log."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a server's folder for the length of the block; the kernel lets go of it when this process dies.

    Raises:
        ServerError: Another stack uses it.
    """
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ServerError(f"{folder} is in use by process {lock.read().strip() or 'unknown'}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def end_leftover(pid_file: Path, folder: Path, stop_signal: signal.Signals) -> None:
    """End the server that an earlier stack left on *folder*, when it was killed too hard to do so itself.

    Call it while the folder is locked.  A process that merely got the same number is left alone, and the file goes:
    PostgreSQL would take that process for another server and refuse to start.

    Raises:
        ServerError: It does not end, not even killed, or belongs to another user.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n")[0])
    except (FileNotFoundError, ValueError):
        return
    command = _command_line(pid)
    if command is None:
        return  # dead: the server clears up after its forerunner by itself
    works_in = None
    with suppress(OSError):  # another user's, or none such on this system
        works_in = Path(f"/proc/{pid}/cwd").readlink()
    if str(folder) not in command and folder != works_in:
        pid_file.unlink(missing_ok=True)
        return
    for number in (stop_signal, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServerError(f"process {pid}, left by an earlier run, belongs to another user: {error}") from error
        give_up_at = time.monotonic() + _LEFTOVER_ENDS_WITHIN_S
        while time.monotonic() < give_up_at:
            if _command_line(pid) != command:
                return
            time.sleep(_LOOK_AGAIN_S)
    raise ServerError(f"process {pid}, left by an earlier run in {folder}, does not end")


def password(folder: Path) -> str:
    """Return the password kept in a server's folder, made when there is none.

    Raises:
        ServerError: It cannot be read.
    """
    file = folder / "password"
    try:
        if not file.exists() or not file.read_text(encoding="utf-8").strip():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServerError(f"the password of {folder} cannot be read: {error}") from error


def write_private(file: Path, text: str) -> None:
    """Write *text* to a new file that only its owner, who we are, may read; whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    new.replace(file)


def _command_line(pid: int) -> str | None:
    """Return a living process's command line; None when there is no such process (a zombie has none either)."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or None
        except OSError:
            return None
    found = subprocess.run(
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None

"""Run one program that dies with its parent: it never outlives whoever asked for it.

The supervisor starts every program through this file, run as a script (``python -I -S``) in a session of its own::

    supervisor ══ channel ══ guardian ── program ── its children
                              (same session; program and children are one process group)

* The channel is a socket whose other end only the supervisor holds.  It closes however the supervisor ends, SIGKILL
  included, from whichever thread, and the guardian then stops the program as if asked by SIGTERM.
* Stopping is the program's stop signal, a grace, then SIGKILL to its whole group.  Who was frozen is woken for it.
* A program that ended by itself leaves nothing behind either: what remains of its group is killed, and on Linux
  whoever left the group too, as PostgreSQL's processes do (``PR_SET_CHILD_SUBREAPER`` makes them the guardian's own).
* On Linux a frozen guardian is woken by the death of the supervisor, and the program dies with its guardian
  (``PR_SET_PDEATHSIG``).

A program may run under another account: PostgreSQL refuses to run as root.  Of root's powers, and of capabilities that
were handed to us to be inherited, no program keeps any.

Standard library only, and little of it: this process stays beside every program (7 MB, 20 ms to start).
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

CANNOT_RUN = 127  # what a shell answers for a command that it cannot start
_KILLED_BY = 128  # a shell's exit code for a program that a signal ended: this plus the signal

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 36, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_LINUX = sys.platform == "linux"


def main(arguments: list[str]) -> int:
    """Run ``CHANNEL GRACE_S STOP_SIGNAL UID:GID|- PROGRAM ARGUMENT…`` and return its exit code, as a shell says it."""
    order = _StopOrder(socket.socket(fileno=int(arguments[0])))
    grace_s, stop_signal, account = float(arguments[1]), int(arguments[2]), arguments[3]
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    guardian = os.getpid()
    program = os.fork()
    if program == 0:
        _become(arguments[4:], account, guardian)
    order.say_started(program)
    kill_at: float | None = None
    # WNOWAIT leaves the zombie: its number, and so its group's, cannot pass to another process before we are done.
    while os.waitid(os.P_PID, program, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        now = time.monotonic()
        if order.given and kill_at is None:
            os.kill(program, stop_signal)
            os.kill(program, signal.SIGCONT)
            kill_at = now + grace_s
        elif kill_at is not None and now >= kill_at:
            _kill_group(program)
        order.wait(None if kill_at is None else max(0.05, kill_at - now))
    _kill_group(program)
    _kill_strays(program)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    return code if code >= 0 else _KILLED_BY - code


class _StopOrder:
    """Whether the end was asked for: by a signal, or by the end of the supervisor, which closes its *channel*."""

    def __init__(self, channel: socket.socket) -> None:
        self.given = False
        channel.set_inheritable(False)
        self._channel = channel
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.settimeout(0)
        self._sources = [channel, self._woken]
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._give)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _give(self, _number: int, _frame: FrameType | None) -> None:
        self.given = True

    def say_started(self, program: int) -> None:
        """Tell the supervisor the program's process number."""
        try:
            self._channel.sendall(b"%d\n" % program)
        except OSError:
            self.given = True

    def wait(self, timeout_s: float | None) -> None:
        """Wait for a signal, that of a child's death too, for the end of the supervisor, or *timeout_s* seconds."""
        readable, _, _ = select.select(self._sources, [], [], timeout_s)
        if self._woken in readable:
            self._woken.recv(4096)
        if self._channel in readable:  # the supervisor never writes: readable is the end of it
            self.given = True
            self._sources.remove(self._channel)


def _kill_group(program: int) -> None:
    with contextlib.suppress(OSError):  # nobody left; macOS says EPERM where only the zombie is left
        os.killpg(program, signal.SIGKILL)


def _kill_strays(program: int) -> None:
    """Kill, on Linux, whatever became ours when its own parent ended, until nothing more does."""
    while strays := [pid for pid in _children_of(os.getpid()) if pid != program]:
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in strays:
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)


def _children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat") if _LINUX else ():
        with contextlib.suppress(OSError):  # it ended meanwhile
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _become(argv: list[str], account: str, guardian: int) -> None:
    """Turn this fork into the program.  Never returns."""
    try:
        os.setpgid(0, 0)
        # As a shell hands them over: handlers vanish at exec, ignored signals (Python's SIGPIPE) would stay ignored.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if account != "-":  # for good; its programs may not become another one either
            uid, gid = map(int, account.split(":"))
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            if _LINUX:
                _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if _LINUX:
            _inherit_no_capabilities()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # last: a change of account clears it
            if os.getppid() != guardian:
                os._exit(CANNOT_RUN)
        os.execvp(argv[0], argv)  # noqa: S606 - the point of this file
    except (OSError, ValueError) as error:
        os.write(2, f"cannot run {argv[0]}: {error!r}\n".encode())
    finally:  # a fork must not return into main, whatever happens
        os._exit(CANNOT_RUN)


def _inherit_no_capabilities() -> None:
    """Keep no capability that would pass to the program; root's own come back to root's programs all the same."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the upper halves
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "cannot read our capabilities")
    sets[2] = sets[5] = 0
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "cannot give up inherited capabilities")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

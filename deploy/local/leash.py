"""Run one program and never outlive whoever asked for it.

The supervisor starts every program through this file, run as a script (``python -I -S``) in a session of its own::

    supervisor ══ channel ══ leash ── program ── its children
                              (same session; program and children are one process group)

* The channel is a socket whose other end only the supervisor holds.  It closes however the supervisor ends, SIGKILL
  included, from whichever thread, and the leash then stops the program as if asked by SIGTERM.
* Stopping is the program's stop signal, a grace, then SIGKILL to its whole group.
* A program that ended by itself leaves no group behind either: what remains of it is killed.
* Should the leash itself be killed, Linux sends the program its stop signal (``PR_SET_PDEATHSIG``).

A program may run under another account: PostgreSQL refuses to run as root.  It then keeps the one capability to read
and enter what root may, so that binaries and data below a folder only root can enter (a clone in ``/root``) stay there.

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

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 28, 47, 2
_SECBIT_NO_SETUID_FIXUP = 4
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> int:
    """Run ``CHANNEL GRACE_S STOP_SIGNAL UID:GID|- PROGRAM ARGUMENT…`` and give its exit code, as a shell says it."""
    channel = socket.socket(fileno=int(arguments[0]))
    channel.set_inheritable(False)
    grace_s, stop_signal, account = float(arguments[1]), int(arguments[2]), arguments[3]
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.settimeout(0)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    asked = _Asked()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    leash = os.getpid()
    program = os.fork()
    if program == 0:
        _become(arguments[4:], stop_signal, account, leash)
    try:
        channel.sendall(b"%d\n" % program)
    except OSError:
        asked.to_stop = True
    return _hold(program, channel, woken, asked, grace_s, stop_signal)


class _Asked:
    """Remembers that the end was asked for, by a signal or by the end of the supervisor."""

    def __init__(self) -> None:
        self.to_stop = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.to_stop = True


def _hold(  # noqa: PLR0913, PLR0917 - private, called once
    program: int, channel: socket.socket, woken: socket.socket, asked: _Asked, grace_s: float, stop_signal: int
) -> int:
    """Wait for the program to end, or end it."""
    kill_at: float | None = None
    sources = [channel, woken]
    # WNOWAIT leaves the zombie: its number, and so its group's, cannot pass to another process before we are done.
    while os.waitid(os.P_PID, program, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        now = time.monotonic()
        if asked.to_stop and kill_at is None:
            os.kill(program, stop_signal)
            kill_at = now + grace_s
        elif kill_at is not None and now >= kill_at:
            _kill_group(program)
        readable, _, _ = select.select(sources, [], [], None if kill_at is None else max(0.05, kill_at - now))
        if woken in readable:
            woken.recv(4096)
        if channel in readable:  # the supervisor never writes: readable is the end of it
            asked.to_stop = True
            sources.remove(channel)
    _kill_group(program)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    return code if code >= 0 else _KILLED_BY - code


def _kill_group(program: int) -> None:
    with contextlib.suppress(OSError):  # nobody left; macOS says EPERM where only the zombie is left
        os.killpg(program, signal.SIGKILL)


def _become(argv: list[str], stop_signal: int, account: str, leash: int) -> None:
    """Turn this fork into the program.  Never returns."""
    try:
        os.setpgid(0, 0)
        # As a shell hands them over: handlers vanish at exec, ignored signals (Python's SIGPIPE) would stay ignored.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if account != "-":
            uid, gid = map(int, account.split(":"))
            _lower(uid, gid)
        if sys.platform == "linux":
            # Last: a change of account clears it.
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
            if os.getppid() != leash:
                os._exit(CANNOT_RUN)
        os.execvp(argv[0], argv)  # noqa: S606 - the point of this file
    except Exception as error:  # noqa: BLE001 - a fork must not return into main, whatever happens
        os.write(2, f"cannot run {argv[0]}: {error!r}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _lower(uid: int, gid: int) -> None:
    """Change to an account for good, keeping of root's powers only that to read and enter any folder."""
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True)
    permitted = 0
    if linux:
        # Before the change: afterwards nothing may need a module of Python's, which may lie below /root as well.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        permitted = int(status.split("CapPrm:")[1].split()[0], 16)
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Else access(2), by which initdb looks for its neighbours, ignores what capabilities a non-root user has.
        libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if not linux:
        return
    # Containers hand root DAC_OVERRIDE but not the narrower DAC_READ_SEARCH.
    capability = _CAP_DAC_READ_SEARCH if permitted >> _CAP_DAC_READ_SEARCH & 1 else _CAP_DAC_OVERRIDE
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable; then the upper halves
    if libc.capset(header, sets):  # fatal: all of root's powers would still be there
        raise OSError(ctypes.get_errno(), "cannot give up the powers of root")
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0):
        os.write(2, b"cannot keep the right to enter private folders; going on without\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

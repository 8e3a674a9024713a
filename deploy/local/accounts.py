"""As whom PostgreSQL runs when we are root, and how that account comes to its files.

PostgreSQL refuses to run as root.  It gets an account that nobody else has: any process of ``nobody`` could read what
that one owns.  The account has no name, no password and no powers, so what lies below a folder that only root may
enter (a clone in ``/root``) is out of its reach by path.  Data is reached as the working directory, which it is started
in; binaries are linked or copied to where all may read them, for as long as they run.
"""

import os
import pwd
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from deploy.local.embedded_server import ServerError

Account: TypeAlias = tuple[int, int]
"""User and group number."""

UNPRIVILEGED = "nobody"
_UNNAMED = range(60_578, 61_184)
"""Numbers that no system gives to anybody.  Source: systemd, Users, Groups, UIDs and GIDs on systemd Systems."""


def server_account(folder: Path) -> Account | None:
    """Say whom the server of *folder* runs as; None for ourselves.

    A folder of an ordinary user keeps its owner, and the server runs as that.
    """
    if os.geteuid() != 0:
        return None
    owner = folder.stat()
    if owner.st_uid not in {0, *(one.pw_uid for one in pwd.getpwall() if one.pw_name == UNPRIVILEGED), *_UNNAMED}:
        return owner.st_uid, owner.st_gid
    start = zlib.crc32(os.fsencode(folder)) % len(_UNNAMED)
    for number in (*_UNNAMED[start:], *_UNNAMED[:start]):
        if not _is_named(number):
            return number, number
    raise ServerError("PostgreSQL does not run as root, and there is no account left for it")


def named_account(account: Account | None) -> Account | None:
    """Give the account that the tools of a first start run as, before there is a secret: they insist on a name."""
    if account is None or _is_named(account[0]):
        return account
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise ServerError(f"PostgreSQL does not run as root, and there is no user {UNPRIVILEGED}") from None
    return entry.pw_uid, entry.pw_gid


def give(folder: Path, account: Account | None) -> None:
    """Make all of a folder an account's: it may be new, a copy that root made, or of another version's account."""
    for path, _, names in os.walk(folder) if account else ():
        for item in (path, *(os.path.join(path, name) for name in names)):  # noqa: PTH118 - thousands of them
            os.chown(item, *account, follow_symlinks=False)  # type: ignore[misc] # there is one, else no walk


def path_for(folder: Path, account: Account | None) -> Path:
    """Name the working directory *folder* so that the account reaches it, wherever it is."""
    return Path("/proc/self/cwd") if account and sys.platform == "linux" else folder


@contextmanager
def within_reach(package: Path, account: Account | None, note: Path) -> Iterator[Path]:
    """Give *package*, or a copy of it that everybody may enter and read, for the length of the block.

    A copy that a killed run left behind, which *note* remembers, goes first.
    """
    if note.exists():
        left = Path(note.read_text(encoding="utf-8"))
        if left.is_dir() and left.stat().st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)
        note.unlink()
    if account is None or all(folder.stat().st_mode & stat.S_IXOTH for folder in (package, *package.parents)):
        yield package
        return
    with tempfile.TemporaryDirectory(prefix="membersync-postgres-", ignore_cleanup_errors=True) as place:
        note.write_text(place, encoding="utf-8")
        for one in (package, package.with_name(f"{package.name}.libs")):  # auditwheel puts libraries beside a package
            if one.exists():
                shutil.copytree(one, Path(place) / one.name, copy_function=_link)
        for path, _, _ in os.walk(place):
            Path(path).chmod(0o755)
        yield Path(place) / package.name
    note.unlink()


def _is_named(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _link(source: str, target: str) -> None:
    mode = Path(source).stat().st_mode
    try:
        if mode & stat.S_IROTH:
            os.link(source, target)
            return
    except OSError:  # another file system
        pass
    shutil.copy2(source, target)
    Path(target).chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))

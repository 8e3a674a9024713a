"""The image that deploy/Dockerfile makes: `make image`, and once a run for the tests of what is in it.

Where nothing can be pulled it stands on Debian's own packages, from the mirror of this machine, unpacked and not set
up: a tenth of debootstrap's work, and how images without a distribution's tools are made.  What pip installs in it was
fetched before by this machine's pip, for the Python of the base and by the hashes of the locks: so the build reaches
for nothing, and knows no index.  All of it needs root, Debian and buildah; to run it, podman.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from packaging.markers import Marker

from tests.supply_chain import IMAGE_LOCK, LOCK, ROOT, Pinned, pinned, write_bill

NAME = "localhost/membersync"
BASE = "localhost/membersync-base"
DEBIAN = (
    *("base-files", "base-passwd", "dash", "bash", "coreutils", "findutils", "sed", "mawk", "passwd"),
    *("python3", "python3-pip", "tzdata", "ca-certificates"),
)
"""What is in a base, besides what these depend on: the time zones and authorities that `python:slim` has too."""
TOOLS = frozenset({"hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"})
"""What builds our wheel; the Dockerfile names them too."""
NEEDED = ("buildah", "podman", "runc", "apt-get", "dpkg-deb", "tar")
_MANNERS = (("runc", "enabled"), ("crun", "disabled"), ("crun", "enabled"), ("runc", "no-conmon"))
"""Programs that run containers, and what becomes of cgroups: which of them goes depends on the machine's kind."""
WHEELS = "/wheels"
_UNREAD = ("doc", "man", "locale", "info", "bug", "lintian")
_WITHIN_S = 600


class ImageError(Exception):
    """The image cannot be built or run.  Shape: one line that says why."""


def cannot_be_built() -> str:
    """Return why no image can be built and run here; empty: it can be tried."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the image is built by root on Linux only"
    if missing := [command for command in NEEDED if shutil.which(command) is None]:
        return f"the image needs {', '.join(missing)} (Debian: apt-get install buildah podman runc)"
    return ""


def need_image() -> None:
    """Skip where no image can be built; in CI that is a failure."""
    if why := cannot_be_built():
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


class Store:
    """Images and containers, kept in *folder*, or where root's podman keeps its own.

    What a layer does not change is not copied, where the kernel can do that (overlay); elsewhere it is (vfs).
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Begin an empty one in *folder*."""
        self._folder = folder
        self._options: tuple[str, ...] = ()
        if folder is not None:
            self._options = ("--root", str(folder / "store"), "--runroot", str(folder / "run"))
            self._options += ("--storage-driver", self._driver())
        self._manner: tuple[str, str] | None = None

    def buildah(self, *arguments: str) -> str:
        """Return what buildah says."""
        return ran("buildah", *self._options, *arguments)

    def podman(self, *arguments: str) -> str:
        """Return what podman says."""
        return ran("podman", *self._options, "--cgroup-manager", "cgroupfs", *arguments)

    def run(self, *options: str, image: str = NAME, command: Sequence[str] = ()) -> str:
        """Return what `podman run` says, which is asked in the first manner that this machine can bear.

        Raises:
            ImageError: It failed, or no manner is borne.
        """
        self._manner = self._manner or self._found_manner(image)
        return self._run_in(self._manner, *options, image, *command)

    def _found_manner(self, image: str) -> tuple[str, str]:
        complaints = []
        for manner in _MANNERS:
            try:
                self._run_in(manner, "--rm", "--network", "none", "--entrypoint", "true", image)
            except ImageError as error:
                complaints.append(str(error))
            else:
                return manner
        raise ImageError(f"no container runs here: {complaints[0]}")

    def _run_in(self, manner: tuple[str, str], *arguments: str) -> str:
        runtime, cgroups = manner
        limits = ("--ulimit", "nofile=1024:20000", "--ulimit", "nproc=1000:1000")
        return self.podman("--runtime", runtime, "run", f"--cgroups={cgroups}", *limits, *arguments)

    def end(self) -> None:
        """Remove everything that is in our own folder."""
        if self._folder is None:
            return
        with suppress(ImageError):
            self.podman("rm", "--force", "--all", "--time", "0")
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
        for place in reversed(mounted):
            if place.startswith(f"{self._folder}/"):
                ran("umount", "--lazy", place)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _driver(self) -> str:
        try:
            self.buildah("--storage-driver", "overlay", "images")
        except ImageError:
            return "vfs"
        return "overlay"


@contextmanager
def own_store() -> Iterator[Store]:
    """Give a store that is gone afterwards, with whatever runs in it."""
    store = Store(Path(tempfile.mkdtemp(prefix="membersync-image-")))
    try:
        yield store
    finally:
        store.end()


def ran(*command: str, within_s: float = _WITHIN_S) -> str:
    """Run to its end what must succeed; return what it says.

    Raises:
        ImageError: It failed; the last of its complaints is named.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ImageError(f"{command[0]} took longer than {within_s:g} s") from error
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        first = next((line for line in said if line.lower().lstrip().startswith(("e: ", "error"))), "")
        raise ImageError(f"{Path(command[0]).name} failed: {first or ' / '.join(said[-3:]) or done.returncode}")
    return done.stdout.strip()


def build(store: Store, *, name: str = NAME, base: str = "") -> None:
    """Build the image on *base*, without one on Debian's packages.

    Raises:
        ImageError: It cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="membersync-build-") as temporary:
        folder = Path(temporary)
        base = base or _debian(store, folder)
        _fetch_wheels(_python_of(store, base), folder)
        secret = folder / "pip.conf"
        secret.write_text(f"[global]\nno-index = true\nfind-links = {WHEELS}\n", encoding="utf-8")
        store.buildah(
            *("bud", "--isolation", "chroot", "--layers=false", "--pull=never", "--quiet", "--tag", name),
            *("--file", str(ROOT / "deploy/Dockerfile"), "--ignorefile", str(ROOT / "deploy/Dockerfile.dockerignore")),
            *("--secret", f"id=pip,src={secret}", "--volume", f"{folder / 'wheels'}:{WHEELS}:ro"),
            *(word for argument in _arguments(base) for word in ("--build-arg", argument)),
            str(ROOT),
        )


def bytes_over_base(store: Store, name: str = NAME) -> int:
    """Return how many bytes the image has besides those of its base: its last layer's."""
    history = json.loads(store.podman("history", "--format", "json", name))
    return int(history[0]["size"])


def _arguments(base: str) -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield f"BASE={base}"
    yield f"VERSION={project['version']}"
    with suppress(ImageError):  # a release's sources have no history
        yield f"REVISION={ran('git', '-C', str(ROOT), 'rev-parse', 'HEAD')}"


def _debian(store: Store, folder: Path) -> str:
    """Make the base of Debian's packages; return its name."""
    packages = _fetch_packages(folder / "packages")
    container = store.buildah("from", "scratch")
    root = Path(store.buildah("mount", container))
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:  # noqa: S607
            left_out = [f"--exclude=./usr/share/{what}" for what in _UNREAD]
            subprocess.run(["tar", "-x", "-C", root, *left_out], stdin=unpacked.stdout, check=True)  # noqa: S607
    # What the packages' scripts would have done, as far as anybody here needs it.
    for what in ("passwd", "group"):
        shutil.copyfile(root / "usr/share/base-passwd" / f"{what}.master", root / "etc" / what)
    (root / "usr/bin/awk").symlink_to("mawk")
    trusted = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(b"".join(one.read_bytes() for one in trusted))
    ran("chroot", str(root), "python3", "-I", "-m", "compileall", "-q", "/usr/lib/python3", _library_of(root))
    store.buildah("commit", "--quiet", "--rm", container, BASE)
    return BASE


def _library_of(root: Path) -> str:
    return f"/usr/lib/{(root / 'usr/bin/python3').readlink()}"


def _fetch_packages(folder: Path) -> list[Path]:
    """Fetch `DEBIAN` and what it depends on; where this machine's lists are old or none, by lists of their own."""
    for one in ("archives/partial", "lists/partial"):
        (folder / one).mkdir(parents=True)
    status = folder / "status"
    status.touch()
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", f"Dir::State::status={status}"]
    apt += ["-o", f"Dir::Cache::archives={folder / 'archives'}", "-o", "Acquire::Retries=2"]
    fetch = ("install", "--yes", "--download-only", "--no-install-recommends", *DEBIAN)
    try:
        ran(*apt, *fetch)
    except ImageError:
        apt += ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", "Dir::Cache::pkgcache=", "-o"]
        apt += ["Dir::Cache::srcpkgcache="]
        try:
            ran(*apt, "-o", "APT::Update::Error-Mode=any", "update")
            ran(*apt, *fetch)
        except ImageError as error:
            raise ImageError(f"no base: this machine's mirror of Debian cannot be reached: {error}") from error
    return sorted((folder / "archives").glob("*.deb"))


def _python_of(store: Store, base: str) -> str:
    """Return the version of a base's Python."""
    container = store.buildah("from", "--pull-never", base) if base == BASE else store.buildah("from", base)
    try:
        asked = "import platform; print(platform.python_version())"
        return store.buildah("run", "--isolation", "chroot", container, "--", "python3", "-I", "-c", asked)
    finally:
        store.buildah("rm", container)


def runs_with(python: str) -> list[Pinned]:
    """Return what the image's lock wants for a version of Python."""
    runs_on = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
    locked = pinned(IMAGE_LOCK.read_text(encoding="utf-8"))
    return [one for one in locked if not one.marker or Marker(one.marker).evaluate(runs_on)]


def _fetch_wheels(python: str, folder: Path) -> None:
    """Fetch for that *python* what the image is made of, and made with."""
    wanted = {one.name: one for one in pinned(LOCK.read_text(encoding="utf-8")) if one.name in TOOLS}
    wanted |= {one.name: one for one in runs_with(python)}
    listed = folder / "wheels.txt"
    listed.write_text("\n".join(map(_line, wanted.values())), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pip += ["--require-hashes", "--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    try:
        ran(*pip, "--dest", str(folder / "wheels"), "--requirement", str(listed))
    except ImageError as error:
        raise ImageError(f"no wheels: {error}") from error


def _line(one: Pinned) -> str:
    return " ".join([f"{one.name}=={one.version}", *(f"--hash=sha256:{digest}" for digest in one.hashes)])


def main(arguments: Sequence[str]) -> int:
    """Build the image and its bill of materials; say what came of it, return the exit code."""
    parser = argparse.ArgumentParser(prog="make image", description="Build the image, and its bill of materials.")
    parser.add_argument("--base", default="", help="an image with Python 3.11+ and pip; else Debian's packages")
    base: str = parser.parse_args(arguments).base
    if why := cannot_be_built():
        sys.stderr.write(f"no image: {why}; with Docker: docker build -f deploy/Dockerfile -t membersync .\n")
        return 1
    store = Store()
    try:
        build(store, base=base)
    except ImageError as error:
        sys.stderr.write(f"no image: {error}\n")
        return 1
    bill = write_bill()
    sys.stdout.write(f"{NAME}: {bytes_over_base(store) / 1e6:.0f} MB over its base; what is in it: {bill}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

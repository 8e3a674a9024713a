"""The services of deploy/compose.yaml, run by podman as the file says, on a network of their own.

Our image is the one that was built; the images of others, which nobody can pull here, have stand-ins: the same server,
from a wheel or from Debian, behind the image's own way to start it.  A word of the file that nobody heeds is an
error.  For a person: `python -m tests.composed`, until Ctrl-C.
"""

import ipaddress
import json
import os
import re
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from tests.image import BASE, NAME, ImageError, Store, cannot_be_built
from tests.publishing import published
from tests.stand_ins import SCRIPTS, SCRIPTS_AT, stand_ins

DEPLOY = Path(__file__).parents[1] / "deploy"
FILE = DEPLOY / "compose.yaml"
TRIAL = DEPLOY / "trial.env"
_NOBODY, _OURS = 65534, 10001
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:?[-?])((?:[^{}]|\{[^{}]*\})*))?\}")
_OPTIONS = {
    "tmpfs": "--tmpfs",
    "cap_drop": "--cap-drop",
    "security_opt": "--security-opt",
    "restart": "--restart",
    "stop_signal": "--stop-signal",
    "shm_size": "--shm-size",
}
"""Words of a service that `podman run` has an option for, once for each of its values."""
_ELSEWHERE = {
    *("image", "build", "profiles", "depends_on", "deploy", "entrypoint", "command", "env_file"),
    *("healthcheck", "stop_grace_period", "ports"),
}
"""Words that are heard where a service is planned, started or waited for."""
_HEALTHY_WITHIN_S = 120
_DEATHS_AT_START = 3
_LOOKS_S = 1.0


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - what YAML gives
    """Return *value* with its `${NAME}`, `${NAME:-else}` and `${NAME:?what is wrong}` replaced.

    Raises:
        ValueError: One that must be set is not.  Source: the Compose Specification, Interpolation.
    """
    if isinstance(value, dict):
        return {name: interpolated(one, variables) for name, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, variables) for one in value]
    return _VARIABLE.sub(lambda found: _replaced(found, variables), value) if isinstance(value, str) else value


def _replaced(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    if name is None:
        return "$"
    value = variables.get(name)
    if value or (value is not None and (kind or "").startswith(":") is False):
        return value
    if kind is not None and kind.endswith("?"):
        raise ValueError(f"{name}: {rest}")
    return str(interpolated(rest or "", variables))


@dataclass(frozen=True)
class Service:
    """One container of a service.  Shape: *says* is the file's, interpolated; *name* as Compose would name it."""

    service: str
    name: str
    address: str
    says: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether it runs our image."""
        return str(self.says["image"]).startswith("membersync:")

    @property
    def health(self) -> list[str]:
        """Return the command that says whether it is well; empty: nobody asks."""
        return [str(word) for word in self.says.get("healthcheck", {}).get("test", ())][1:]

    @property
    def grace_s(self) -> int:
        """Return how long it may take to end."""
        return int(str(self.says.get("stop_grace_period", "10s")).rstrip("s"))


def planned(variables: Mapping[str, str], network: str) -> list[Service]:
    """Return the containers of the profiles in `COMPOSE_PROFILES`, those that others wait for first."""
    services = _file(variables)["services"]
    profiles = set(variables.get("COMPOSE_PROFILES", "").split(","))
    wanted = {name: says for name, says in services.items() if profiles & set(says.get("profiles", profiles))}
    order: list[str] = []
    while len(order) < len(wanted):
        ready = [name for name in wanted if name not in order and {*wanted[name].get("depends_on", ())} <= {*order}]
        assert ready, "they wait for each other"
        order += ready
    addresses = ipaddress.ip_network(network).hosts()
    next(addresses)  # the bridge's own
    return [
        Service(name, f"membersync-{name}-{number}", str(next(addresses)), wanted[name])
        for name in order
        for number in range(1, wanted[name].get("deploy", {}).get("replicas", 1) + 1)
    ]


def _file(variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = interpolated(yaml.safe_load(FILE.read_text(encoding="utf-8")), variables)
    return found


class Composed:
    """The services, as they run."""

    def __init__(self, store: Store, folder: Path, variables: Mapping[str, str], network: str) -> None:
        """Plan them on *network*, which is there; what they write and log goes to *folder*."""
        self._store = store
        self._folder = folder
        self._variables = variables
        self._network = network
        (found,) = json.loads(store.podman("network", "inspect", network))
        self.services = planned(variables, found["subnets"][0]["subnet"])
        self.started: list[Service] = []
        self.not_here: list[Service] = []
        self._stand_ins = stand_ins()
        self._published = ExitStack()
        for name, text in SCRIPTS.items():
            script = folder / "stand-ins" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text(text, encoding="utf-8")
            script.chmod(0o755)

    def __getitem__(self, name: str) -> Service:
        """Return a service, the first of several, or a container by its name."""
        return next(one for one in self.services if name in {one.service, one.name})

    def ours(self) -> list[Service]:
        """Return what runs our image."""
        return [one for one in self.started if one.is_ours]

    def up(self) -> None:
        """Start everything in its order, and wait until all of it is well.

        Raises:
            ImageError: It is not, in time; what it logs is named.
        """
        for one in self.services:
            for other, how in one.says.get("depends_on", {}).items():
                self.wait(self[other], str(how["condition"]))
            self._start(one)
        for one in self.started:
            if one.health:
                self.wait(one)
        for one in self.started:
            for _, port, inside in (str(each).rsplit(":", 2) for each in one.says.get("ports", ())):
                self._published.enter_context(published(int(port), int(inside), partial(self._pid, one)))

    def down(self) -> None:
        """Remove every container, however it is."""
        self._published.close()
        if self.started:
            self._store.podman("rm", "--force", "--time", "0", *(one.name for one in self.started))

    def wait(self, one: Service, condition: str = "service_healthy") -> None:
        """Wait until *one* is as others expect it.

        Raises:
            ImageError: It is not, in time.
        """

        def met() -> bool:
            state = self.inspected(one)["State"]
            if condition == "service_completed_successfully":
                return (state["Status"], state["ExitCode"]) == ("exited", 0)
            return bool(state["Running"]) and (condition == "service_started" or self._is_well(one))

        deadline = time.monotonic() + _HEALTHY_WITHIN_S
        while not met():
            if time.monotonic() > deadline or self.inspected(one)["RestartCount"] > _DEATHS_AT_START:
                raise ImageError(f"{one.name}: not {condition}; it says: {self.log(one)[-2000:]}")
            time.sleep(_LOOKS_S)

    def inspected(self, one: Service) -> dict[str, Any]:
        """Return what podman knows of a container."""
        (found,) = json.loads(self._store.podman("inspect", one.name))
        assert isinstance(found, dict)
        return found

    def changes(self, one: Service) -> list[str]:
        """Return what it has changed in its own file system."""
        return self._store.podman("diff", one.name).splitlines()

    def log(self, one: Service) -> str:
        """Return what it has written."""
        return (self._folder / f"{one.name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self, *stopped: Service) -> None:
        """Stop them as Compose does: each gets its signal, and its own time."""
        for grace_s in {one.grace_s for one in stopped}:
            names = [one.name for one in stopped if one.grace_s == grace_s]
            self._store.podman("stop", "--time", str(grace_s), *names)

    def kill(self, one: Service) -> None:
        """Kill its first process from outside, as the kernel would that wants memory."""
        os.kill(self._pid(one), signal.SIGKILL)

    def _pid(self, one: Service) -> int:
        return int(self.inspected(one)["State"]["Pid"])

    def _is_well(self, one: Service) -> bool:
        with suppress(ImageError):
            self._store.podman("exec", one.name, *one.health)
            return True
        return False

    def _start(self, one: Service) -> None:
        options = ["--detach", "--name", one.name, "--network", self._network, "--ip", one.address]
        options += ["--log-driver", "k8s-file", "--log-opt", f"path={self._folder / one.name}.log"]
        names = {one.name: one.address for one in self.services} | {
            one.service: self[one.service].address for one in self.services
        }
        options += [word for name, address in names.items() for word in ("--add-host", f"{name}:{address}")]
        entrypoint, command = (tuple(map(str, one.says.get(word, ()))) for word in ("entrypoint", "command"))
        image = NAME
        if not one.is_ours:
            stand_in = self._stand_ins.get(str(one.says["image"]).partition(":")[0])
            if stand_in is None:
                self.not_here.append(one)
                return
            image = BASE
            options += ["--user", str(_NOBODY), "--volume", f"{self._folder / 'stand-ins'}:{SCRIPTS_AT}:ro"]
            options += ["--workdir", stand_in.folder, "--env", f"PATH={stand_in.path}:{SCRIPTS_AT}:/usr/bin:/bin"]
            options += [word for here, there in stand_in.mounts.items() for word in ("--volume", f"{here}:{there}:ro")]
            entrypoint = entrypoint or stand_in.entrypoint
        for word, value in one.says.items():
            options += self._honoured(one, word, value)
        if entrypoint:
            options += ["--entrypoint", json.dumps(entrypoint)]
        self._store.run(*options, image=image, command=command)
        self.started.append(one)

    def _honoured(self, one: Service, word: str, value: Any) -> Iterator[str]:  # noqa: ANN401 - what YAML gives
        """Iterate over the options of `podman run` for a word of the file."""
        match word:
            case "environment":
                for name, text in {**self._of_env_files(one), **value}.items():
                    yield from ("--env", f"{name}={text}")
            case "read_only":
                yield from ("--read-only", "--read-only-tmpfs=false")
            case "volumes":
                for each in value:
                    yield from ("--volume", self._volume(one, str(each)))
            case "secrets":
                for each in value:
                    yield from ("--volume", self._secret({"source": each} if isinstance(each, str) else each))
            case _ if word in _OPTIONS:
                yield from (f"{_OPTIONS[word]}={each}" for each in (value if isinstance(value, list) else [value]))
            case _ if word not in _ELSEWHERE:
                raise ImageError(f"compose.yaml: nobody here heeds {word!r}, of {one.service}")

    def _of_env_files(self, one: Service) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in one.says.get("env_file", ()):
            path = DEPLOY / file["path"]
            assert path.exists() or not file["required"], path
            found |= {name: text or "" for name, text in dotenv_values(path, interpolate=False).items()}
        return found

    def _volume(self, one: Service, said: str) -> str:
        source, _, rest = said.partition(":")
        if source.startswith("."):
            return f"{(DEPLOY / source).resolve()}:{rest}"
        folder = self._folder / "volumes" / source
        folder.mkdir(parents=True, exist_ok=True)
        owner = _OURS if one.is_ours else _NOBODY
        os.chown(folder, owner, owner)
        return f"{folder}:{rest}"

    def _secret(self, wanted: Mapping[str, str]) -> str:
        variable = _file(self._variables)["secrets"][wanted["source"]]["environment"]
        file = self._folder / "secrets" / wanted["source"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(self._variables[variable], encoding="utf-8")
        return f"{file}:{wanted.get('target', '/run/secrets/' + wanted['source'])}:ro"


@contextmanager
def composed(store: Store, variables: Mapping[str, str]) -> Iterator[Composed]:
    """Bring the services up, and take them down again."""
    name = f"membersync-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="membersync-compose-") as folder:
        store.podman("network", "create", "--internal", name)
        try:
            services = Composed(store, Path(folder), variables, name)
            try:
                services.up()
                yield services
            finally:
                services.down()
        finally:
            store.podman("network", "rm", name)


def trial() -> dict[str, str]:
    """Return what deploy/trial.env says."""
    return {name: text or "" for name, text in dotenv_values(TRIAL, interpolate=False).items()}


def main() -> int:
    """Run the trial on the image of `make image`, until Ctrl-C or SIGTERM; return the exit code."""
    if why := cannot_be_built():
        sys.stderr.write(f"no containers: {why}\n")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # As with Compose, what the shell says wins over the file.
        with composed(Store(), trial() | os.environ) as services, suppress(KeyboardInterrupt):
            for one in services.not_here:
                sys.stdout.write(f"{one.service}: not here, {one.says['image']} cannot be pulled\n")
            sys.stdout.write("ready; where, and with which passwords, is in deploy/trial.env\n")
            sys.stdout.flush()
            signal.pause()
    except (ImageError, ValueError) as error:
        sys.stderr.write(f"not up: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

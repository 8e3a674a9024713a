"""`membersync up`: ready when it says so, two side by side, nothing stays dead, nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import redis

from deploy.local.programs import free_port, inherited_environment
from deploy.sandbox.server import SandboxControl
from shared.broker_address import is_amqp
from shared.ledger.engine import engine
from shared.pipeline import Lane
from tests.forked import run_to_end
from tests.network import TRUSTS_NOBODY, port_of_v6
from tests.proxying import proxied
from tests.rabbit import Node, has_rabbitmq, need_rabbitmq, running_node, url_of
from tests.rig import flush
from tests.terminal import started
from tests.whole_person import columns, dump

READY_WITHIN_S = 90.0
PLAIN: dict[str, Any] = {"trust_env": False, "verify": TRUSTS_NOBODY}


def eventually(happened: Callable[[], object], within_s: float = 60.0) -> bool:
    give_up_at = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Up:
    """A `membersync up` of its own home, and what it says."""

    home: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    @property
    def ready_line(self) -> str:
        return next((line for line in self.lines if line.startswith("ready")), "")

    def wait_until_ready(self) -> None:
        assert eventually(lambda: self.ready_line or self.process.poll() is not None, READY_WITHIN_S), self.lines
        assert self.ready_line, self.lines

    def url(self, name: str) -> str:
        return str(re.findall(rf"\b{name} (http://\S+)", self.ready_line)[0])

    @property
    def login(self) -> tuple[str, str]:
        document = self.stack()
        return str(document["flower_user"]), str(document["flower_password"])

    def stack(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "stack.json").read_text()))

    def processes(self, words: str = "") -> list[int]:
        """Everybody who has the home in the environment or command line, or works in it, but not `up` itself."""
        return [pid for pid in living_in(self.home, words) if pid != self.process.pid]


def living_in(home: Path, words: str = "") -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes().decode(errors="replace")
            ours = str(home) in command + environment or str((process / "cwd").readlink()).startswith(str(home))
            if ours and words in command and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


@contextmanager
def up(home: Path, **more: str) -> Iterator[Up]:
    with started("-m", "producers.cli", "up", MEMBERSYNC_HOME=str(home), **more) as process:
        yield Up(home, process)


@pytest.fixture(scope="module")
def outer() -> dict[str, str]:
    """Where a proxy shows the pages of the second stack, by name."""
    return {name: f"http://127.0.0.1:{free_port()}/ops/{name.lower()}" for name in ("API", "FLOWER")}


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node | None]:
    """The second stack's broker; without Debian's RabbitMQ it has one of its own, as the first."""
    if not has_rabbitmq() and os.environ.get("CI") != "true":
        yield None
        return
    need_rabbitmq()
    with running_node(tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node


@pytest.fixture(scope="module")
def stacks(
    tmp_path_factory: pytest.TempPathFactory, outer: dict[str, str], rabbitmq: Node | None
) -> Iterator[tuple[Up, Up]]:
    """Two stacks that were started at the same moment, with the same preferred ports.

    The second is behind a proxy, and on RabbitMQ.
    """
    given = {f"MEMBERSYNC_{name}__PUBLIC_URL": f"{url}/" for name, url in outer.items()}
    given |= {} if rabbitmq is None else {"MEMBERSYNC_BROKER_URL": url_of(rabbitmq)}
    with ExitStack() as exits:
        first = exits.enter_context(up(tmp_path_factory.mktemp("first")))
        second = exits.enter_context(up(tmp_path_factory.mktemp("second"), **given))
        for one in (first, second):
            one.wait_until_ready()
        yield first, second


def send(one: Up, event_id: str, number: str, first_name: str, *, status: int = 202) -> dict[str, Any]:
    event = {
        "event_id": event_id,
        "operation": "enroll",
        "occurred_at": "2026-03-02T08:00:00Z",
        "member": {
            "member_number": number,
            "first_name": first_name,
            "last_name": "Tester",
            "email_address": f"{number}@example.org",
            "postal_code": "10010",
            "country_code": "US",
            "status": "Active",
        },
    }
    answer = httpx.post(f"{one.url('api')}/v1/member-events", json=event, **PLAIN)
    assert answer.status_code == status, answer.text
    return dict(answer.json()["results"][0])


def arrived(one: Up, number: str) -> dict[str, Any] | None:
    with SandboxControl(one.url("control")) as control:
        siebel = control.member(number)
        return control.user(number) if siebel and siebel["status"] == "Success" else None


def test_each_says_ready_once_in_one_line_with_addresses_that_answer(stacks: tuple[Up, Up]) -> None:
    for one in stacks:
        assert sum(line.startswith("ready") for line in one.lines) == 1
        ready = httpx.get(f"{one.url('api')}/readyz", **PLAIN)
        assert ready.status_code == 200, ready.text
        assert httpx.get(one.url("flower"), **PLAIN).status_code == 401
        assert httpx.get(one.url("flower"), auth=one.login, **PLAIN).status_code == 200
        for name in ("crowdtwist", "siebel"):
            assert httpx.get(f"{one.url(name)}/_sandbox/state", **PLAIN).json()["name"] == name
    first, second = stacks
    assert not {first.url(name) for name in ("api", "flower", "control")} & {
        second.url(name) for name in ("api", "flower", "control")
    }


def test_commands_typed_beside_it_find_it_and_nobody_else_reads_its_passwords(stacks: tuple[Up, Up]) -> None:
    for one in stacks:
        assert (one.home / "stack.json").stat().st_mode & 0o777 == 0o600
        document = one.stack()
        assert document["pid"] == one.process.pid
        assert document["api_url"] == one.url("api")
        assert not one.said(document["flower_password"])
        assert one.said(f"login {document['flower_user']} / the password stands in {one.home / 'stack.json'}")
        assert document["sandbox"]["control"] == one.url("control")
        assert document["ledger_url"].startswith("postgresql+psycopg://")
    assert stacks[0].stack()["broker_url"].startswith("redis://")


def test_an_event_goes_all_the_way_in_its_own_stack_and_not_in_the_other(stacks: tuple[Up, Up]) -> None:
    for one, name in zip(stacks, ("Alma", "Bela"), strict=True):
        assert send(one, "way-1", "7-1", name)["outcome"] == "accepted"
    for one, name in zip(stacks, ("Alma", "Bela"), strict=True):
        assert eventually(lambda one=one: arrived(one, "7-1"))  # type: ignore[misc]
        user = arrived(one, "7-1")
        assert user is not None
        assert user["first_name"] == name


@pytest.mark.parametrize("which", [0, 1])
def test_who_is_forgotten_is_in_no_dump_log_broker_or_file_of_its_stack(stacks: tuple[Up, Up], which: int) -> None:
    one = stacks[which]
    send(one, "forget-1", "forget-7700", "Zoraida")
    assert eventually(lambda: arrived(one, "forget-7700"))
    address = f"{one.url('api')}/v1/members/forget-7700/forget"

    def forgotten() -> bool:  # the call that tells Siebel may still be out
        return httpx.post(address, json={"reason": "asked for"}, **PLAIN).status_code == 200

    assert eventually(forgotten)
    assert send(one, "forget-1", "forget-7700", "Zoraida", status=422)["outcome"] == "refused"
    ledger = engine(one.stack()["ledger_url"])
    held = {"ledger": str(dump(ledger, columns(ledger))), "log": "\n".join(one.lines)}
    ledger.dispose()
    if not is_amqp(one.stack()["broker_url"]):  # RabbitMQ: when nothing runs any more, below
        with redis.Redis.from_url(one.stack()["broker_url"]) as broker:
            broker.bgrewriteaof()  # as the runbook says: what passed through stays in its file until then
            busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
            assert eventually(lambda: not any(broker.info("persistence")[name] for name in busy))
            held |= {f"broker {key!r}": str(broker.dump(key)) for key in broker.scan_iter()}
    for path in one.home.rglob("*"):  # what the pages of the ledger's tables still hold is its own affair
        if path.is_file() and "postgres" not in path.relative_to(one.home).parts[0]:
            held[str(path)] = path.read_bytes().decode(errors="replace")
    assert len(held) > 3
    assert {name: word for name, said in held.items() for word in ("Zoraida", "forget-7700") if word in said} == {}


@pytest.mark.parametrize(
    ("which", "name", "words"),
    [
        (0, "worker-live", "producers.cli worker --lane live"),
        (0, "worker-bulk", "producers.cli worker --lane bulk"),
        (0, "dispatcher", "producers.cli dispatcher"),
        (0, "api", "producers.cli api"),
        (0, "flower", "producers.cli flower"),
        (1, "worker-live", "producers.cli worker --lane live"),
        (1, "dispatcher", "producers.cli dispatcher"),
    ],
)
def test_what_is_killed_is_started_again_and_that_is_said(
    stacks: tuple[Up, Up], which: int, name: str, words: str
) -> None:
    one = stacks[which]
    before = set(one.processes(words))
    for pid in before:
        if "die_with_parent.py" not in Path(f"/proc/{pid}/cmdline").read_text():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: one.said(f"{name} died (exit code 137)"))
    assert eventually(lambda: set(one.processes(words)) - before)
    assert eventually(lambda: is_up(one))
    send(one, f"after-{name}", f"8-{name}", "Again")
    assert eventually(lambda: arrived(one, f"8-{name}"))


def test_on_a_full_machine_the_bulk_worker_leaves_the_processor_to_the_others(stacks: tuple[Up, Up]) -> None:
    one, _ = stacks
    niceness = {lane: {psutil.Process(pid).nice() for pid in one.processes(f"worker --lane {lane}")} for lane in Lane}
    assert max(niceness[Lane.LIVE]) < max(niceness[Lane.BULK])


def test_no_message_of_its_own_is_taken_for_a_stray_one(stacks: tuple[Up, Up]) -> None:
    """Not even what a Flower that starts again asks of workers that run."""
    for one in stacks:
        logs = [log.read_text() for log in one.home.glob("logs/worker-*.log")]
        assert all(" ready." in log and "stray message" not in log for log in logs), one.home


def is_up(one: Up) -> bool:
    with suppress(httpx.TransportError):
        urls = (f"{one.url('api')}/readyz", f"{one.url('flower')}/healthcheck")
        return all(httpx.get(url, auth=one.login, **PLAIN).is_success for url in urls)
    return False


def test_behind_a_proxys_path_console_and_flower_lead_to_each_other(
    stacks: tuple[Up, Up], outer: dict[str, str]
) -> None:
    _, one = stacks
    ports = {name: urlsplit(url).port or 0 for name, url in outer.items()}
    assert is_up(one), "at its own addresses, as a probe asks"
    for strips in (True, False):
        with (
            proxied(one.url("api"), ports["API"], under="/ops/api", strips=strips),
            proxied(one.url("flower"), ports["FLOWER"], under="/ops/flower", strips=strips),
            httpx.Client(auth=one.login, **PLAIN) as browser,
        ):
            assert f'href="{outer["FLOWER"]}"' in browser.get(outer["API"], auth=None).text
            for path in ("", "/", "/workers", "/tasks", "/broker"):
                page = browser.get(f"{outer['FLOWER']}{path}")
                assert page.status_code == 200, path
                assert f'href="{outer["API"]}/"' in page.text
                local = set(re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text))
                assert len(local) > 5
                assert all(address.startswith("/ops/flower/") for address in local), local
                origin = outer["FLOWER"].removesuffix("/ops/flower")
                answers = {address: browser.get(f"{origin}{address}").status_code for address in local}
                assert set(answers.values()) <= {200, 302}, answers
            assert browser.get(f"{outer['FLOWER']}/api/workers").status_code == 200
            assert browser.get(f"{outer['FLOWER']}/workers", auth=("flower", "guess")).status_code == 401


def test_a_home_runs_once(stacks: tuple[Up, Up]) -> None:
    with up(stacks[0].home) as third:
        assert third.process.wait(READY_WITHIN_S) == 1
        assert eventually(lambda: third.said("is in use by process"))
        assert not third.ready_line


def test_asked_to_stop_while_it_starts_it_stops_and_leaves_nothing(tmp_path: Path) -> None:
    with up(tmp_path) as one:
        assert eventually(lambda: one.said("postgres "))
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(60) == 0
        assert not one.ready_line
        assert eventually(lambda: not one.processes())


@pytest.mark.parametrize(("which", "number"), [(0, signal.SIGINT), (1, signal.SIGTERM)])
def test_told_to_stop_it_leaves_nothing_behind(stacks: tuple[Up, Up], which: int, number: signal.Signals) -> None:
    one = stacks[which]
    assert one.processes()
    one.process.send_signal(number)
    assert one.process.wait(60) == 0
    assert eventually(lambda: one.said("stopped"))
    assert eventually(lambda: not one.processes()), one.processes()
    assert not (one.home / "stack.json").exists()


@pytest.mark.usefixtures("stacks")
def test_of_who_is_forgotten_rabbitmq_keeps_nothing_after_what_the_runbook_says(rabbitmq: Node | None) -> None:
    """What passed through its queues stays in their logs until then; both stacks are stopped."""
    if rabbitmq is None:
        need_rabbitmq()
        return

    def remembered() -> list[str]:
        return [str(path) for path in rabbitmq.folder.rglob("*") if path.is_file() and b"forget-7700" in _read(path)]

    assert remembered()
    flush(url_of(rabbitmq))
    rabbitmq.control("stop_app")
    rabbitmq.control("start_app")
    assert eventually(lambda: not remembered()), remembered()


def _read(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


@pytest.fixture(scope="module")
def on_ipv6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    given = {"MEMBERSYNC_API__HOST": "::1", "MEMBERSYNC_FLOWER__HOST": "[::1]", "MEMBERSYNC_FLOWER__PASSWORD": "given"}
    with up(tmp_path_factory.mktemp("v6"), MEMBERSYNC_API__PORT=str(port_of_v6()), **given) as one:
        one.wait_until_ready()
        yield one


def test_on_ipv6_every_address_that_it_prints_answers(on_ipv6: Up) -> None:
    one = on_ipv6
    assert one.login == ("flower", "given")
    assert one.url("api").startswith("http://[::1]:")
    assert one.stack()["api_url"] == one.url("api")
    assert send(one, "v6-1", "6-1", "Cara")["outcome"] == "accepted"
    page = httpx.get(one.url("flower"), auth=one.login, **PLAIN)
    assert f'href="{one.url("api")}/"' in page.text
    assert f'href="{one.url("flower")}"' in httpx.get(one.url("api"), **PLAIN).text


def test_killed_hard_it_still_leaves_nothing_behind(on_ipv6: Up) -> None:
    assert on_ipv6.processes()
    on_ipv6.process.kill()
    on_ipv6.process.wait(60)
    assert eventually(lambda: not on_ipv6.processes(), 60), on_ipv6.processes()


@pytest.mark.parametrize(("name", "path"), [("FLOWER", "/tasks"), ("API", "/v1/x")])
def test_a_proxys_path_that_cannot_be_told_from_ours_is_refused(tmp_path: Path, name: str, path: str) -> None:
    given = {f"MEMBERSYNC_{name}__PUBLIC_URL": f"https://ops.example.com{path}"}
    needed = {
        "MEMBERSYNC_LEDGER_URL": "postgresql://nobody@127.0.0.1:1/none",
        "MEMBERSYNC_BROKER_URL": "redis://127.0.0.1:1/0",
        "MEMBERSYNC_FLOWER__PASSWORD": "given",
        "MEMBERSYNC_HOME": str(tmp_path),
        f"MEMBERSYNC_{name}__PORT": str(free_port()),
    }
    environment = inherited_environment()
    ran = run_to_end(("-m", "producers.cli", name.lower()), environment | needed | given)
    assert ran.returncode != 0
    assert f"MEMBERSYNC_{name}__PUBLIC_URL must not have a path that begins with /{path.split('/')[1]}" in ran.stderr

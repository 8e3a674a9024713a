"""The command line as it looks and helps: terminals wide and narrow, completion, and words for what went wrong."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from sqlalchemy import Engine

from producers.cli.app import COMMANDS
from tests.commands import parse
from tests.road import ALWAYS_REFUSED, Road
from tests.terminal import ROOT, Terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
FILTER = ["state", "stage", "status", "code", "member", "since", "until", "lane", "text"]


@pytest.fixture
def cli(cli: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A narrow one."""
    monkeypatch.setenv("COLUMNS", "80")
    return cli


@pytest.fixture
def road(ledger: Engine, cli: Terminal) -> Road:
    """A ledger with one Data Error and one dead letter."""
    assert cli
    road = Road(ledger)
    road.accept("296-2185003")
    road.travel(ALWAYS_REFUSED)
    road.dead("296-2185004")
    return road


def on_a_terminal(ledger_url: str, *arguments: str, columns: int = 80, **environment: str) -> str:
    """Type a command on a terminal of so many columns; give what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    unset = {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    clean |= {"TERM": "xterm-256color", "MEMBERSYNC_LEDGER_URL": ledger_url, **environment}
    command = [sys.executable, "-m", "producers.cli", *arguments]
    with subprocess.Popen(command, env=clean, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so that the other side is closed
        return b""


@pytest.mark.parametrize("arguments", [["instances"], ["dead-letters"], ["status"], ["connections"]])
def test_tables_fit_a_terminal_of_80_columns_and_keep_their_words_whole(
    road: Road, ledger_url: str, arguments: list[str]
) -> None:
    road.sql("update instance set event_id = 'a-very-long-event-id-of-some-system-' || id")
    shown = on_a_terminal(ledger_url, *arguments)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert COLOUR.search(shown)
    if arguments == ["instances"]:
        assert any("296-2185004" in line and "dead letter" in line and "CT Failure" in line for line in lines), shown
        assert "no room for event" in shown
    else:
        assert "CrowdTwist" in shown


def test_a_wide_terminal_has_room_for_every_column(road: Road, ledger_url: str) -> None:
    assert road
    shown = on_a_terminal(ledger_url, "instances", columns=200)
    assert "no room" not in shown
    assert "accepted" in shown


def test_who_waits_for_siebel_has_a_reason_without_a_text(road: Road, cli: Terminal) -> None:
    road.sql("update instance set code = 'unreachable', error = '' where state = 'dead'")
    (number,) = road.sql("select id from instance where state = 'dead'")
    lines = cli("show", str(number)).out.splitlines()
    assert "  unreachable" in lines, lines


def test_there_are_no_colours_where_nobody_wants_them(road: Road, ledger_url: str, cli: Terminal) -> None:
    assert road
    assert not COLOUR.search(on_a_terminal(ledger_url, "status", NO_COLOR="1"))
    assert "\x1b" not in cli("status").out
    examined = cli("doctor", "--offline").out
    assert "\x1b" not in examined
    assert [name in examined for name in ("open cases: ", "connection CrowdTwist: ")] == [True, True]


def test_doctor_shows_a_table_on_a_terminal_and_a_line_for_each_finding_in_a_pipe(
    ledger_url: str, road: Road, cli: Terminal
) -> None:
    assert road
    shown = on_a_terminal(ledger_url, "doctor", "--offline")
    assert re.search(r"fail\S* +dispatcher +there is none", shown)
    assert "start one: `membersync dispatcher`" in shown
    (line,) = [line for line in cli("doctor", "--offline").out.splitlines() if "dispatcher:" in line]
    assert line.startswith("fail  dispatcher: there is none")
    assert "do: start one: `membersync dispatcher`" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["isntances"], "Did you mean 'instances'"),
        (["dead-letter"], "Did you mean 'dead-letters'?"),
        (["instances", "--stat", "dead"], "--state"),
        (["instances", "--state", "lost"], "'discarded'"),
        (["requeue", "--status", "fine"], "'data error'"),
        (["connections", "pause", "siebell", "--reason", "x"], "'siebel'"),
        (["instances", "--since", "soon"], "an age like 2h"),
    ],
)
def test_who_mistypes_is_told_what_there_is(cli: Terminal, arguments: list[str], said: str) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", " ", ran.err).split())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API__TOKENS", "secret", "MEMBERSYNC_API__TOKENS is not valid JSON"),
        ("SIEBEL__FIELD_NAMES", "secret", "MEMBERSYNC_SIEBEL__FIELD_NAMES is not valid JSON"),
        ("SIEBEL__TIMEZONE", "Mars/secret", "MEMBERSYNC_SIEBEL__TIMEZONE: is no time zone"),
        ("DISPATCHER__LEASE_S", "10", "dispatcher.lease_s (10.0) must exceed the longest timeout_s"),
        ("OIC__NULLS", "secret", "MEMBERSYNC_OIC__NULLS or MEMBERSYNC_OIC__NULL_DEFAULTS is not valid JSON"),
        ("WORKER", "secret", "MEMBERSYNC_WORKER is not valid JSON"),
        ("LEDGER_URL", "mysql://secret@db", "MEMBERSYNC_LEDGER_URL: must be a postgresql+psycopg:// URL"),
    ],
)
def test_a_wrong_setting_is_named_without_traceback_and_value(
    cli: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"MEMBERSYNC_{name}", value)
    ran = cli("status")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert "secret" not in ran.err


def test_migrate_tells_the_schema_as_json(cli: Terminal, road: Road) -> None:
    told = cli("migrate", "--json")
    assert (told.code, told.json["schema"]) == (0, road.sql("select version_num from alembic_version")[0])
    assert cli("migrate", "--check").code == 0


def test_every_command_with_a_filter_has_all_of_it() -> None:
    for command in ("instances", "dead-letters", "requeue", "discard"):
        _, understood = parse([command])
        assert [name for name in understood if name in FILTER] == FILTER


def test_a_filter_on_the_command_line_is_understood_as_it_was_typed() -> None:
    typed = "requeue 4711 4712 --state dead --state rejected --stage oic --lane bulk --since 2h --text lee --rate 60"
    command, understood = parse(typed.split())
    assert command == "requeue"
    assert (understood["ids"], understood["rate"]) == (["4711", "4712"], 60)
    assert [list(understood[name]) for name in ("state", "stage")] == [["dead", "rejected"], ["oic"]]
    assert (understood["lane"], understood["since"], understood["text"]) == ("bulk", "2h", "lee")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("membersync d", {"demo", "dispatcher", "doctor", "dead-letters", "discard", "drop-checks"}),
        ("membersync instances --stage c", {"crowdtwist"}),
        ("membersync instances --state re", {"rejected"}),
        ("membersync requeue --status C", {"CT Failure"}),
        ("membersync requeue --code un", {"unauthorised", "unavailable", "unreachable"}),
        ("membersync worker --lane ", {"live", "bulk"}),
        ("membersync connections pause ", {"oic", "crowdtwist", "siebel"}),
        ("membersync demo --scene o", {"outage", "oic", "overtaken"}),
    ],
)
def test_bash_completes_commands_and_values(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    environment = os.environ | {
        "_MEMBERSYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "producers.cli"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert set(ran.stdout.splitlines()) == offered


@pytest.mark.parametrize("command", ["", *sorted(COMMANDS)])
def test_help_shows_flags_as_flags_and_says_something_of_every_option(cli: Terminal, command: str) -> None:
    helped = cli(*command.split(), "--help").out
    assert not re.search(r"<(bool|str|int|list|float|path)\b", helped), helped
    rows = [line.strip("│ ") for line in helped.splitlines() if re.match(r"│ [ *]*(--\w|[A-Z]+  )", line)]
    assert rows
    assert all(re.search(r"\S {2,}\S", row) for row in rows), rows


def test_status_and_doctor_begin_with_the_same_line_whatever_is_wrong(
    cli: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    away = cli("status")
    assert (away.code, away.err.splitlines()[:1]) == (2, cli("doctor", "--offline").out.splitlines()[:1])
    assert away.err.startswith("The ledger does not serve")
    monkeypatch.setenv("MEMBERSYNC_API__PORT", "none")
    wrong = cli("status")
    assert (wrong.code, wrong.err.splitlines()[:1]) == (2, cli("doctor", "--offline").out.splitlines()[:1])
    assert wrong.err.startswith("The settings are not valid")
    assert cli("doctor", "--offline", "--json").json["verdict"]["needs_person"]

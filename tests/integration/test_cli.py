"""The command line: exit codes, the shapes of `--json`, files of every kind, and the processes it starts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from deploy.local.programs import free_port
from producers.cli.command_settings import configured
from producers.cli.terminal import age, plain
from tests.road import Road
from tests.terminal import CSV, EVENT, XML, Terminal, eventually_answers, running


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(EVENT) + "\n", encoding="utf-8")
    return file


def test_version_and_help(bare: Terminal) -> None:
    version = bare("--version")
    assert (version.code, version.out.split()[0]) == (0, "membersync")
    helped = bare("--help")
    assert helped.code == 0
    for command in ("up", "demo", "api", "dispatcher", "worker", "flower", "migrate", "produce", "status", "show"):
        assert command in helped.out


def test_files_of_every_kind_are_taken_in_and_what_is_refused_is_named(
    cli: Terminal, events: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.xml").write_text(XML, encoding="utf-8")
    (tmp_path / "m.csv").write_text(CSV, encoding="utf-8")
    (tmp_path / "m.json").write_text(json.dumps([{**EVENT, "event_id": "E-2"}]), encoding="utf-8")
    ran = cli("produce", events, tmp_path / "m.xml", tmp_path / "m.csv", tmp_path / "m.json")
    assert ran.code == 1
    assert ran.out.strip() == "4 accepted, 1 refused"
    assert "m.csv: event 1 refused: line 3, column Date of Birth: is a date that does not exist" in ran.err
    assert "99/99" not in ran.err


def test_an_event_of_the_future_is_refused_by_field_in_files_of_every_kind_and_the_others_are_taken_in(
    cli: Terminal, tmp_path: Path
) -> None:
    far, rest = "2199-01-01T00:00:00Z", ",Lee"
    ahead = {**EVENT, "event_id": "E-2", "occurred_at": far}
    (tmp_path / "m.json").write_text(json.dumps([EVENT, ahead]), encoding="utf-8")
    (tmp_path / "m.ndjson").write_text(f"{json.dumps(ahead)}\n", encoding="utf-8")
    (tmp_path / "m.csv").write_text(f"Member Number,Updated,Last Name\nC-1,{far}{rest}\nC-2,{rest}\n", encoding="utf-8")
    member = "<Member_spcNumber>X-1</Member_spcNumber>"
    (tmp_path / "m.xml").write_text(XML.replace(member, f"{member}<Updated>{far}</Updated>"), encoding="utf-8")
    ran = cli("produce", *(tmp_path / f"m.{kind}" for kind in ("json", "ndjson", "csv", "xml")))
    assert (ran.code, ran.out.strip()) == (1, "2 accepted, 4 refused")
    assert ran.err.count("more than MEMBERSYNC_GUARD__FUTURE_S (300) allows") == 4
    assert ran.err.count("occurred_at: lies ") == 4


def test_standard_input_is_a_file_too(ledger_url: str, ledger: Engine) -> None:
    with running("produce", "-", "--json", "--lane", "bulk", MEMBERSYNC_LEDGER_URL=ledger_url) as process:
        out, _ = process.communicate(json.dumps(EVENT), timeout=60)
    assert process.returncode == 0
    assert json.loads(out) == {"outcomes": {"accepted": 1}, "refused": [], "unreadable": [], "remarks": []}
    with ledger.connect() as tx:
        assert tx.execute(text("select lane from instance")).scalars().all() == ["bulk"]


def test_standard_input_may_be_a_file_or_closed(ledger_url: str, ledger: Engine, events: Path) -> None:
    assert ledger.url.database
    for redirection, code, said in ((f"< {events}", 0, "1 accepted"), ("<&-", 1, "standard input: is closed")):
        ran = subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m producers.cli produce - {redirection}"],
            env=os.environ | {"MEMBERSYNC_LEDGER_URL": ledger_url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, said in ran.stdout + ran.stderr) == (code, True), ran.stderr


def test_what_a_terminal_cannot_show_stops_nothing(ledger_url: str, ledger: Engine) -> None:
    Road(ledger).accept("Zoë-1")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
    with running("instances", MEMBERSYNC_LEDGER_URL=ledger_url, **ascii_only) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "Zo\\xeb-1" in out


def test_a_table_without_a_column_for_the_member_number_is_refused_once(cli: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("foo,bar\n1,2\n3,4\n", encoding="utf-8")
    ran = cli("produce", file)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "line 1: has no column Member Number, or member_number" in ran.err


def test_a_second_time_everything_is_a_duplicate_and_done(cli: Terminal, events: Path) -> None:
    cli("produce", events)
    ran = cli("produce", events)
    assert (ran.code, ran.out.strip()) == (0, "1 duplicate")


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"operation": "bogus"}', "event 0 refused"), ("{", "is not JSON"), ("", "is not JSON")],
)
def test_a_file_without_a_good_event_ends_with_1(cli: Terminal, tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(content, encoding="utf-8")
    ran = cli("produce", file)
    assert ran.code == 1
    assert said in ran.err


def test_a_file_that_is_not_there_ends_with_1_and_the_others_go_in(cli: Terminal, events: Path) -> None:
    ran = cli("produce", "/nowhere.json", events, "--json")
    assert ran.code == 1
    assert ran.json["outcomes"] == {"accepted": 1}
    assert ran.json["unreadable"][0]["file"] == "/nowhere.json"


def test_instances_are_listed_as_items_with_a_cursor(cli: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "three.ndjson"
    three = [{**EVENT, "event_id": f"E-{n}", "member": {"member_number": f"M-{n}"}} for n in range(3)]
    file.write_text("\n".join(map(json.dumps, three)), encoding="utf-8")
    cli("produce", file)
    first = cli("instances", "--json", "--limit", "2", "--state", "pending", "--state", "dead", "--since", "1h")
    assert (first.code, set(first.json)) == (0, {"items", "next"})
    assert [item["member_number"] for item in first.json["items"]] == ["M-2", "M-1"]
    second = cli("instances", "--json", "--limit", "2", "--cursor", first.json["next"])
    assert ([item["event_id"] for item in second.json["items"]], second.json["next"]) == (["E-0"], None)
    table = cli("instances", "--text", "E-1")
    assert "M-1" in table.out
    assert "M-2" not in table.out
    assert "\x1b[" not in table.out


def test_nothing_that_matches_ends_with_1(cli: Terminal) -> None:
    listed = cli("instances", "--state", "dead", "--json")
    assert (listed.code, listed.json) == (1, {"items": [], "next": None})
    assert cli("show", "12").code == 1
    assert cli("show", "x").code == 1
    assert cli("member", "nobody").code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["instances", "--state", "lost"],
        ["instances", "--since", "soon"],
        ["instances", "--limit", "0"],
        ["instances", "--cursor", "abc"],
        ["show"],
        ["produce"],
        ["worker", "--lane", "fast"],
        ["bogus"],
    ],
)
def test_what_cannot_be_meant_ends_with_2(cli: Terminal, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


def test_an_instance_is_shown_with_activity_masked_unless_asked(cli: Terminal, events: Path, ledger: Engine) -> None:
    cli("produce", events)
    call = {"method": "PUT", "url": "/v2/users/M-1", "http_status": 503, "took_ms": 9, "response": "<b>away[/b]</b>"}
    with ledger.begin() as tx:
        tx.execute(
            text("""insert into activity (instance_id, stage, attempt, state, what, code, took_ms, calls)
                    values (1, 'crowdtwist', 2, 'waiting', :what, 'unavailable', 12, cast(:calls as jsonb))"""),
            {"what": "answered [red]503\x1b[2J", "calls": json.dumps([call])},
        )
    shown = cli("show", "1", "--json").json
    assert (shown["instance_id"], shown["state"], len(shown["activity"])) == ("1", "pending", 2)
    assert shown["event"]["member"]["email_address"] == "a***@e***.org"
    assert "andy.cole@example.org" in cli("show", "1", "--unmasked").out
    text_shown = cli("show", "1").out
    assert "CrowdTwist #2" in text_shown
    assert "answered [red]503" in text_shown
    assert "PUT /v2/users/M-1 -> 503" in text_shown
    assert "\x1b" not in text_shown
    assert "andy.cole" not in text_shown


def test_a_member_is_shown_as_a_timeline(cli: Terminal, events: Path, ledger: Engine) -> None:
    cli("produce", events)
    with ledger.begin() as tx:
        tx.execute(text("update member set told_status = 'CT Failure', told_error = 'away', ct_user_id = 77"))
    member = cli("member", "M-1", "--json")
    assert (member.code, member.json["member_number"], member.json["told_status"]) == (0, "M-1", "CT Failure")
    assert member.json["instances"][0]["activity"][0]["what"] == "accepted"
    shown = cli("member", "M-1").out
    for words in ("CrowdTwist user 77", "Siebel shows CT Failure", "instance 1", "update E-1", "accepted"):
        assert words in shown


def test_status_says_how_it_goes(cli: Terminal, events: Path) -> None:
    assert "nothing is pending" in cli("status").out
    cli("produce", events)
    overview = cli("status", "--json")
    assert overview.code == 0
    assert {"connections", "backlog", "dead_letters", "rates"} <= set(overview.json)
    assert overview.json["backlog"][0]["count"] == 1
    shown = cli("status").out
    assert "CrowdTwist" in shown
    assert "pending" in shown


def test_connections_say_how_many_calls_each_takes_and_why(cli: Terminal, ledger: Engine) -> None:
    known = (
        '{"limit": 12, "reason": "9 of 80 calls were lost: 9 timed out", "backoffs": 4, "unloaded": {"PUT": {"98": 3}}}'
    )
    with ledger.begin() as tx:
        change = "known = cast(:known as jsonb), in_flight = 11, wanted = 40, changed_at = now()"
        tx.execute(text(f"update call_limit set {change} where name = 'crowdtwist'"), {"known": known})
    found = {row["name"]: row["calls"] for row in cli("connections", "--json").json["items"]}
    assert (found["siebel"], found["crowdtwist"]["limit"], found["crowdtwist"]["in_flight"]) == (None, 12, 11)
    assert found["crowdtwist"]["unloaded_ms"]["PUT"] == pytest.approx(188, abs=5)
    shown = " ".join(cli("connections").out.split())
    assert "CrowdTwist: takes 12 calls at once: 9 of 80 calls were lost: 9 timed out" in shown


def test_status_is_watched_until_somebody_has_seen_enough(cli: Terminal, ledger_url: str) -> None:
    assert cli("status").code == 0
    with running("status", "--watch", MEMBERSYNC_LEDGER_URL=ledger_url) as watching:
        assert watching.stdout is not None
        seen = 0
        for line in watching.stdout:
            seen += "nothing is pending" in line
            if seen > 1:
                break
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert seen > 1


def test_without_a_ledger_it_says_what_to_set(bare: Terminal) -> None:
    assert bare("status").err.splitlines()[0] == bare("doctor", "--offline").out.splitlines()[0]
    for arguments in (["status"], ["instances", "--json"], ["migrate"], ["api"], ["dispatcher"], ["worker"]):
        ran = bare(*arguments)
        assert ran.code == 2
        assert ran.out == ""
        assert "MEMBERSYNC_LEDGER_URL is not set" in ran.err
    assert "MEMBERSYNC_BROKER_URL" in bare("flower").err


def test_a_stack_that_runs_here_is_found_and_one_that_is_gone_is_not(
    bare: Terminal, ledger_url: str, ledger: Engine
) -> None:
    assert ledger.url.database
    file = Path(".membersync/stack.json")
    file.parent.mkdir()
    file.write_text(json.dumps({"ledger_url": ledger_url, "pid": os.getpid()}), encoding="utf-8")
    assert bare("status").code == 0
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    file.write_text(json.dumps({"ledger_url": ledger_url, "pid": gone.pid}), encoding="utf-8")
    assert bare("status").code == 2
    file.write_text("{", encoding="utf-8")
    assert bare("status").code == 2


def test_a_ledger_that_is_away_or_a_wrong_setting_ends_with_2_and_a_hint(
    bare: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    for command in ("status", "migrate"):
        ran = bare(command)
        assert ran.code == 2
        assert "MEMBERSYNC_LEDGER_URL" in ran.err
        assert "secret" not in ran.err
    monkeypatch.setenv("MEMBERSYNC_API__PORT", "many")
    ran = bare("api")
    assert ran.code == 2
    assert "MEMBERSYNC_API__PORT" in ran.err
    assert "many" not in ran.err


def test_the_api_refuses_to_be_open_without_tokens(cli: Terminal) -> None:
    ran = cli("api", "--host", "0.0.0.0")  # noqa: S104  # that it does not is the point
    assert ran.code == 2
    assert "MEMBERSYNC_API__TOKENS" in ran.err


def test_migrate_says_when_it_is_done(cli: Terminal) -> None:
    assert cli("migrate").code == 0
    assert configured().ledger_url


def test_the_api_serves_logs_without_people_and_stops_when_told(
    cli: Terminal, events: Path, ledger_url: str, tmp_path: Path
) -> None:
    port = free_port()
    tokens = json.dumps({"t": {"name": "files", "role": "producer"}})
    with running("api", "--port", str(port), MEMBERSYNC_LEDGER_URL=ledger_url, MEMBERSYNC_API__TOKENS=tokens) as api:
        url = f"http://127.0.0.1:{port}"
        eventually_answers(f"{url}/readyz")
        (tmp_path / "bad.csv").write_text(CSV, encoding="utf-8")
        sent = cli("produce", events, tmp_path / "bad.csv", "--api", url, "--token", "t")
        refused = cli("produce", events, "--api", url, "--token", "wrong")
        httpx.get(f"{url}/v1/instances?text=andy.cole@example.org", headers={"X-Request-Id": "R-1"}, trust_env=False)
        httpx.get(f"{url}/andy.cole@example.org", trust_env=False)
        api.send_signal(signal.SIGTERM)
        _, logged = api.communicate(timeout=30)
    assert api.returncode == 0
    assert (sent.code, sent.out.strip()) == (1, "2 accepted, 1 refused")
    assert "bad.csv: event 1 refused: line 3, column Date of Birth" in sent.err
    assert refused.code == 2
    assert "401" in refused.err
    lines = [json.loads(line) for line in logged.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    posted = next(line for line in requests if line["status"] == 202)
    assert (posted["path"], posted["accepted"], posted["who"]) == ("/v1/member-events", 1, "files")
    assert next(line for line in requests if line["request_id"] == "R-1")["status"] == 401
    assert "andy.cole" not in logged


def test_an_api_that_is_away_is_said_in_words(bare: Terminal, events: Path) -> None:
    ran = bare("produce", events, "--api", "ftp://somewhere")
    assert ran.code == 2
    assert "is not a URL" in ran.err


@pytest.mark.parametrize("token", ["s3cret\n", "s3cret\ttoo", "s3cr\u00e9t"])
def test_a_token_that_no_header_can_carry_is_said_at_once_and_not_shown(
    bare: Terminal, events: Path, token: str
) -> None:
    ran = bare("produce", events, "--api", "http://127.0.0.1:9", "--token", token)
    assert (ran.code, "s3cr" in ran.err) == (2, False)
    assert "--token is none" in ran.err


def test_the_dispatcher_serves_metrics_and_stops_when_told(ledger_url: str, ledger: Engine, broker_url: str) -> None:
    assert ledger.url.database
    port = free_port()
    with running(
        "dispatcher",
        MEMBERSYNC_LEDGER_URL=ledger_url,
        MEMBERSYNC_BROKER_URL=broker_url,
        MEMBERSYNC_DISPATCHER__METRICS_PORT=str(port),
    ) as dispatcher:
        eventually_answers(f"http://127.0.0.1:{port}/metrics")
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        dispatcher.send_signal(signal.SIGTERM)
        dispatcher.communicate(timeout=30)
    assert dispatcher.returncode == 0
    assert 'membersync_connection_up{name="siebel"} 1.0' in metrics


def test_a_worker_of_a_lane_starts_and_stops_when_told(ledger_url: str, ledger: Engine, broker_url: str) -> None:
    assert ledger.url.database
    with running(
        "worker",
        "--lane",
        "bulk",
        "--concurrency",
        "1",
        MEMBERSYNC_LEDGER_URL=ledger_url,
        MEMBERSYNC_BROKER_URL=broker_url,
        MEMBERSYNC_CROWDTWIST__BASE_URL="http://127.0.0.1:1",
        MEMBERSYNC_CROWDTWIST__API_KEY="k",
        MEMBERSYNC_SIEBEL__BASE_URL="http://127.0.0.1:1",
        MEMBERSYNC_SIEBEL__USERNAME="u",
        MEMBERSYNC_SIEBEL__PASSWORD="p",
    ) as worker:
        assert worker.stdout is not None
        banner = ""
        while "ready" not in banner and (line := _line_of(worker)):
            banner += line
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    assert "ready" in banner
    assert worker.returncode == 0


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def test_durations_and_texts_are_told_as_people_read_them() -> None:
    assert [age(seconds) for seconds in (0.042, 12, 300, 10_800, 172_800)] == ["42 ms", "12 s", "5 min", "3 h", "2 d"]
    assert plain("a\x1b[31mb[red]").plain == "a\N{REPLACEMENT CHARACTER}[31mb[red]"

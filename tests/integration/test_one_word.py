"""People read one word for one thing, on every page and in every command: stored words stay in JSON and in options."""

import os
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from shared.ledger import views
from shared.pipeline import spoken
from shared.settings import Settings, settings
from tests.console import said
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road, start
from tests.terminal import Terminal

RAW = re.compile(r"(?<![\w./:=`-])(oic|crowdtwist|siebel|rejected|dead(?! letter)|half_open)(?![\w./=`-])")
"""A stored word that has a display word, where it is no address, option or command; codes stay as `--code` has them."""
COMMANDS = [
    ["status"],
    ["connections"],
    ["instances"],
    ["dead-letters"],
    ["dead-letters", "--list"],
    ["dead-letters", "--state", "rejected"],
    ["member", "M-2"],
    ["member", "M-3"],
    ["show", "1"],
    ["jobs"],
    ["doctor", "--offline"],
]
PAGES = ["/", "/instances", "/instances?state=dead&stage=crowdtwist", "/instances/1", "/instances/2", "/instances/3"]
PAGES += ["/members/M-2", "/members/M-3", "/dead-letters", "/dead-letters?stage=crowdtwist&code=unavailable"]
PAGES += ["/dead-letters?state=rejected", "/connections", "/audit", "/jobs", "/jobs/1", "/history", "/refusals"]
PAGES += ["/dead-letters/plan?kind=requeue&state=dead&stage=crowdtwist"]


@pytest.fixture
def road(ledger: Engine, ledger_url: str) -> Road:
    """A ledger with one of each: done, Data Error, dead letter, held, a job, an outage and a pause."""
    road = Road(ledger)
    road.accept("M-1")
    road.travel()
    road.accept("M-2")
    road.travel(ALWAYS_REFUSED)
    road.dead("M-3", "M-4")
    road.until_over(start(road, 3), ALWAYS_REFUSED)
    road.accept("M-5")
    road.sql("update instance set state = 'held' where member_number = 'M-5'")
    road.sql("""update connection set breaker = 'half_open', failures = 5, failing_since = now(), opened_at = now(),
                probes = 1, last_error = 'CrowdTwist: answered 503' where name = 'crowdtwist'""")
    road.sql("""update connection set paused = true, paused_by = 'ann', paused_reason = 'moving', paused_at = now()
                where name = 'siebel'""")
    Bookkeeper(Settings(_env_file=None, ledger_url=ledger_url)).turn()
    return road


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ledger_url: str) -> Iterator[Terminal]:
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    yield Terminal(capsys)
    settings.cache_clear()


def raw(text: str) -> list[str]:
    """Return the stored words of a text that a person would have to translate, each with what stands beside it."""
    return [text[max(0, one.start() - 30) : one.end() + 20] for one in RAW.finditer(text)]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_prints_a_stored_word(road: Road, cli: Terminal, arguments: list[str]) -> None:
    assert road
    ran = cli(*arguments)
    assert ran.code == (1 if arguments[0] == "doctor" else 0), ran.err
    assert not raw(re.sub(r"`[^`]*`", "", ran.out))


def test_no_page_shows_a_stored_word(road: Road, oscar: httpx.Client) -> None:
    assert road
    for address in PAGES:
        page = oscar.get(address)
        assert page.status_code == 200, (address, page.text)
        text = re.sub(r"<(title|code|pre|datalist)\b.*?</\1>|placeholder=\S+", " ", page.text, flags=re.DOTALL)
        assert not raw(re.sub(r"`[^`]*`", "", said(httpx.Response(200, text=text)))), address


def test_a_status_that_nobody_was_told_stands_apart_everywhere(road: Road, cli: Terminal, oscar: httpx.Client) -> None:
    road.accept("M-9")
    road.travel(lambda _: None)
    road.sql("""update instance set state = 'waiting', status = 'CT Failure', finished_at = null
                where member_number = 'M-9'""")
    road.sql("update member set told_id = null where member_number = 'M-9'")
    assert "not told yet" in cli("instances", "--member", "M-9").out
    (number,) = road.sql("select id from instance where member_number = 'M-9'")
    for arguments in (["member", "M-9"], ["show", str(number)]):
        assert "not told yet: CT Failure" in cli(*arguments).out
    assert "not told yet: CT Failure" in said(oscar.get("/members/M-9"))
    rows = oscar.get("/instances.csv").text.splitlines()
    told = {row.split(",")[2]: row.split(",")[-1] for row in rows[1:]}
    assert (rows[0].split(",")[-1], told["M-9"], told["M-1"], told["M-2"]) == ("status_told", "no", "yes", "yes")
    road.sql(f"update member set told_id = {number}, told_status = 'CT Failure' where member_number = 'M-9'")
    assert "not told yet" not in cli("member", "M-9").out + cli("instances").out.replace("not told yet  ", "")


Told = Callable[[Road], None]


def _overtaken(road: Road) -> None:
    road.accept("M-9")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    road.accept("M-9", minute=1)
    road.travel()


def _dead_and_told(road: Road) -> None:
    road.dead("M-9")
    road.report()
    road.accept("M-9", minute=1)
    road.travel()


def _inherits(road: Road) -> None:
    road.accept("M-9")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    road.report()
    road.accept("M-9", minute=1)


def _heals(road: Road) -> None:
    _inherits(road)
    road.sql("update instance set due_at = now() where state in ('waiting', 'pending')")
    road.claim()
    road.sql("update instance set stage = 'siebel', status = 'Success' where state = 'running'")


def _fails_elsewhere(road: Road) -> None:
    road.accept("M-9")
    road.travel(ALWAYS_DOWN, attempts_max=9)
    road.sql("update member set told_id = 1, told_status = 'OIC Failure', told_at = now()")


def _told_again(road: Road) -> None:
    road.accept("M-9")
    road.travel()
    road.sql("update member set told_id = 7, told_status = 'CT Failure'")
    road.sql("""insert into errand (instance_id, member_number, kind, stage, lane, due_at, token, lease_until)
                select id, member_number, 'tell_again', 'siebel', lane, now(), 1, now() from instance""")


@pytest.mark.parametrize(
    ("happens", "untold"),
    [
        pytest.param(_overtaken, {"1"}, id="overtaken before anybody was told"),
        pytest.param(_dead_and_told, set(), id="a dead letter that was told, then a newer event"),
        pytest.param(_inherits, set(), id="a newer event goes on failing, as Siebel shows"),
        pytest.param(_heals, {"2"}, id="Siebel shows the failure, the success is on its way"),
        pytest.param(_fails_elsewhere, {"1"}, id="Siebel shows another failure of it"),
        pytest.param(_told_again, set(), id="one that has ended is told once more"),
    ],
)
def test_untold_is_what_siebel_does_not_show_and_never_showed(ledger: Engine, happens: Told, untold: set[str]) -> None:
    road = Road(ledger)
    happens(road)
    with ledger.connect() as tx:
        assert views.unreported(tx, road.sql("select id from instance")) == untold, road.sql(
            "select id, state, status, told_id, told_status from instance join member using (member_number)"
        )


def test_counts_have_their_plural() -> None:
    assert [spoken("dead", count) for count in (0, 1, 2)] == ["dead letters", "dead letter", "dead letters"]
    assert (spoken("rejected", 2), spoken("oic", 2), spoken("half_open"), spoken(None)) == (
        "Data Errors",
        "OIC",
        "being probed",
        "",
    )

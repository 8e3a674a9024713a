"""The webhook is told what mail tells: signed, again until it is taken or given up, nowhere but where it was set."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr, ValidationError

from producers.doctor import work
from producers.doctor.check import Level, Subject
from producers.http.request import ProblemError
from producers.http.signatures import check
from producers.mail.mailer import Mailer
from producers.mail.webhook import Poster
from producers.metrics import registry_of
from shared.ledger import mail
from shared.ledger.engine import transaction
from shared.settings import Settings
from shared.webhook_settings import WebhookSettings
from tests.mailing import goes_down
from tests.road import Road
from tests.terminal import Terminal

KEY = "a key of twenty-four characters, or more"


@dataclass
class Hook:
    """A program that listens.  *answers* are given one by one, the last for good: status and headers."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status, headers = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(road: Road, url: str, **more: object) -> Settings:
    hook = WebhookSettings.model_validate({"url": url, "signing_key": KEY, "allow_http": True, "timeout_s": 5, **more})
    return Settings(_env_file=None, ledger_url=road.ledger.url.render_as_string(hide_password=False), webhook=hook)


def tell(road: Road, of: Settings, times: int = 1) -> None:
    Mailer(of).write()
    for _ in range(times):
        road.sql("update mail set due_at = now()")
        Poster(of).post_one()


def outbox(road: Road) -> tuple[int, str | None, bool, bool]:
    found: list[tuple[int, str | None, bool, bool]] = road.sql(
        "select tries, last_error, sent_at is not null, dead_at is not null from mail"
    )
    return found[0]


def told(of: Settings) -> tuple[float, ...]:
    """Return what metrics say of it: how many wait, were taken and given up, and when it last took one."""
    registry = registry_of(of)
    states = ("waiting", "taken", "given_up")
    counts = [registry.get_sample_value("membersync_webhook_messages", {"state": state}) for state in states]
    last = registry.get_sample_value("membersync_webhook_taken_timestamp_seconds")
    return tuple(-1.0 if value is None else value for value in (*counts, last))


def test_it_is_told_once_signed_and_names_nobody(road: Road) -> None:
    with listening() as hook:
        of = settings(road, hook.url)
        goes_down(road)
        tell(road, of, times=3)
        ((headers, body),) = hook.taken
        stamp = float(headers["webhook-timestamp"])
        check(headers, body, [SecretStr(KEY)], now_s=stamp, within_s=1)
        for wrong in (body + b" ", body.replace(b"down", b"up")):
            with pytest.raises(ProblemError):
                check(headers, wrong, [SecretStr(KEY)], now_s=stamp, within_s=1)
        said = json.loads(body)
        assert (said["type"], said["data"]["id"]) == ("membersync.down", headers["webhook-id"])
        assert "the connection CrowdTwist is down" in said["data"]["subject"]
        assert "ann.lee" not in body.decode()
        assert outbox(road)[2:] == (True, False)
        assert told(of)[:3] == (0, 1, 0)
        assert told(of)[3] == pytest.approx(road.sql("select extract(epoch from sent_at)::float8 from mail")[0])
        (found,) = work.look_at_webhook(Subject(of))
        assert (found.level, found.found.startswith("none waits; the last was taken at 20")) == (Level.OK, True)
        assert road.sql("select channel from mail") == ["webhook"], "no mail where there is no mail server"


def test_what_it_does_not_take_comes_again_as_the_same_and_is_given_up_at_last(road: Road, cli: Terminal) -> None:
    with listening() as hook:
        of = settings(road, hook.url, max_tries=3)
        hook.answers = [(503, {"retry-after": "1800"}), (302, {"location": hook.url}), (500, {})]
        goes_down(road)
        tell(road, of)
        assert outbox(road) == (1, "HTTP 503", False, False)
        assert road.sql("select due_at > now() + interval '29 minutes' from mail") == [True]
        tell(road, of)
        assert outbox(road)[1] == "HTTP 302 (redirections are not followed)"
        assert told(of) == (1, 0, 0, 0)
        tell(road, of, times=3)
        assert told(of) == (0, 0, 1, 0)
        assert outbox(road) == (3, "HTTP 500", False, True)
        assert len(hook.taken) == 3
        assert len({(headers["webhook-id"], body) for headers, body in hook.taken}) == 1
    (found,) = work.look_at_webhook(Subject(of))
    assert (found.level, "1 given up within a day, after 3 tries" in found.found) == (Level.WARN, True)
    assert cli("webhook", "--json").json["count"] == 1
    assert "within a day 0 were taken" in cli("webhook").out
    with transaction(road.ledger) as tx:
        assert mail.unsent(tx).count == 0, "it is no mail"
        mail.prune(tx, days=0)
    assert road.sql("select count(*) from mail") == [0]


def test_one_that_is_away_is_told_without_the_address_and_a_test_says_so(
    road: Road, cli: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as hook:
        secret = f"{hook.url}?token=s3cret"
    goes_down(road)
    tell(road, settings(road, secret))
    assert outbox(road)[1] == "ConnectError"
    assert cli("webhook", "test").code == 2
    with listening() as hook:
        for name, value in {"URL": hook.url, "SIGNING_KEY": KEY, "ALLOW_HTTP": "true"}.items():
            monkeypatch.setenv(f"MEMBERSYNC_WEBHOOK__{name}", value)
        tested = cli("webhook", "test")
        assert (tested.code, tested.out.strip()) == (0, "the webhook: taken")
        hook.answers = [(403, {})]
        refused = cli("webhook", "test", "--json")
        assert (refused.code, refused.json["answer"]) == (1, "not taken: HTTP 403")
    assert road.sql("select answer from operator_action where what = 'test webhook' order by id") == [
        "taken",
        "not taken: HTTP 403",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://hook.example"},
        {"url": "file:///etc/passwd", "allow_http": True},
        {"url": "https://user:word@hook.example"},
        {"url": "https://hook.example/#x"},
        {"url": "https://hook.example", "signing_key": "short"},
        {"url": "https://hook.example", "signing_key": None},
    ],
)
def test_an_address_that_would_not_be_safe_is_no_setting(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        WebhookSettings.model_validate({"signing_key": KEY, **wrong})
    assert "word@" not in str(refused.value)

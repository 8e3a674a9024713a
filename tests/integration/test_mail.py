"""Mail to operators over the wire: what is told once, what waits for the mail server, what it costs nobody else."""

import shlex
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.cli.trouble import DONE, NOTHING
from producers.mail import advice
from producers.mail.postman import Postman
from shared.breaker import Seen
from shared.ledger import connections, dispatching, mail
from shared.ledger.engine import ears, transaction
from shared.pipeline import Stage
from shared.settings import CrowdTwistSettings, DispatcherSettings, MailSettings, Settings, settings
from tests.mailbox import CERTIFICATE, HOST, PASSWORD, SETTINGS, USER, Mailbox, free_port, mail_server, silent_server
from tests.rig import DISPATCHER, Pipeline, eventually, member_event
from tests.road import ALWAYS_REFUSED, Road
from tests.terminal import Terminal

FAILED = "CrowdTwist: could not serve us (HTTP 503), says ann.lee@example.org"
LATE = timedelta(hours=2)
BURY = "update instance set state = 'dead', code = 'unavailable', failed_stage = 'crowdtwist', finished_at = now()"

OURS = "from pg_stat_activity where application_name = 'membersync'"


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as running:
        yield running


def postman(road: Road, mailbox: Mailbox, **changes: Any) -> Postman:  # noqa: ANN401  # settings as they are written
    """Give a postman of this ledger and mail server."""
    of = MailSettings.model_validate(mailbox.settings | changes)
    url = road.ledger.url.render_as_string(hide_password=False)
    return Postman(Settings(ledger_url=url, mail=of, dispatcher=DispatcherSettings(tick_s=0.01)))


def deliver(one: Postman) -> int:
    """Let a postman write what is new and send what is due; say how many were taken."""
    one.write()
    sent = 0
    while one.send_one():
        sent += 1
    return sent


def goes_down(road: Road, stage: Stage = Stage.CROWDTWIST) -> None:
    rules = replace(CrowdTwistSettings().breaker_rules, failures=1, members=1)
    with transaction(road.ledger) as connection:
        connections.observe(connection, stage, Seen(is_up=False, failed={1: "M-1"}, error=FAILED), rules)


def comes_back(road: Road, stage: Stage = Stage.CROWDTWIST) -> None:
    with transaction(road.ledger) as connection:
        connections.observe(connection, stage, Seen(is_up=True, failed={}), CrowdTwistSettings().breaker_rules)


def digest_is_due(road: Road) -> None:
    road.sql("update bookmark set upto = upto - interval '16 minutes' where name = 'digest'")


def bookmark(road: Road) -> datetime:
    (upto,) = road.sql("select upto from bookmark where name = 'digest'")
    assert isinstance(upto, datetime)
    return upto


def everything_is_due(road: Road) -> None:
    road.sql("update mail set due_at = now() where sent_at is null")


def unsent(road: Road) -> list[Any]:
    return road.sql("select tries, last_error from mail where sent_at is null order by id")


def test_a_connection_that_goes_down_and_comes_back_is_one_mail_each(road: Road, mailbox: Mailbox) -> None:
    one = postman(road, mailbox)
    deliver(one)
    goes_down(road)
    deliver(one)
    goes_down(road)
    deliver(one)
    assert mailbox.subjects == ["membersync: the connection crowdtwist is down"]
    comes_back(road)
    deliver(one)
    deliver(one)
    assert mailbox.subjects[1:] == ["membersync: the connection crowdtwist is back after 0 s"]


def test_a_mail_is_addressed_signed_and_in_two_parts_that_name_nobody(road: Road, mailbox: Mailbox) -> None:
    goes_down(road)
    deliver(postman(road, mailbox))
    (received,), (envelope,) = mailbox.mails, mailbox.envelopes
    assert (received["From"], received["To"]) == (SETTINGS["from"], "ann@example.org, bob@example.org")
    assert (envelope.mail_from, envelope.rcpt_tos) == ("membersync@example.org", ["ann@example.org", "bob@example.org"])
    assert received["Auto-Submitted"] == "auto-generated"
    assert abs(received["Date"].datetime - datetime.now(UTC)) < timedelta(minutes=1)
    assert received["Message-ID"].endswith("@example.org>")
    parts = {part.get_content_type(): part.get_content() for part in received.iter_parts()}
    assert list(parts) == ["text/plain", "text/html"]
    for content in parts.values():
        assert "(HTTP 503)" in content
        assert "ann.lee" not in content


def test_many_postmen_tell_each_change_once(road: Road, mailbox: Mailbox) -> None:
    many = [postman(road, mailbox) for _ in range(4)]
    for stage in Stage:
        goes_down(road, stage)
        comes_back(road, stage)
    together = threading.Barrier(len(many))

    def work(one: Postman) -> None:
        together.wait()
        deliver(one)

    with ThreadPoolExecutor(len(many)) as pool:
        list(pool.map(work, many))
    deliver(many[0])
    told = [f"membersync: the connection {stage} is {what}" for stage in Stage for what in ("down", "back after 0 s")]
    assert sorted(mailbox.subjects) == sorted(told)


def test_whoever_failed_is_told_in_one_digest_by_cause_and_never_again(road: Road, mailbox: Mailbox) -> None:
    one = postman(road, mailbox)
    road.accept(*(f"R-{index}" for index in range(20)))
    road.travel(ALWAYS_REFUSED)
    road.accept(*(f"D-{index}" for index in range(500)))
    road.sql(f"{BURY}, error = 'CrowdTwist: ann' || id || '@example.org cannot be served' where state = 'pending'")
    assert deliver(one) == 0
    digest_is_due(road)
    deliver(one)
    assert mailbox.subjects == ["membersync: 500 dead letters and 20 Data Errors"]
    body = mailbox.mails[0].get_body(("plain",))
    assert body is not None
    said = body.get_content()
    assert "500 x CrowdTwist: <e-mail> cannot be served" in said
    assert "20 x Email Address is already taken" in said
    assert "R-1" not in said
    often = postman(road, mailbox, digest_every_s=0.01)
    before = bookmark(road)
    eventually(lambda: deliver(often) == 0 and bookmark(road) > before, "the next period")
    assert len(mailbox.mails) == 1


def test_a_dead_letter_that_is_just_being_reported_is_in_the_digest(road: Road, mailbox: Mailbox) -> None:
    road.dead("D-1")
    with transaction(road.ledger) as connection:
        dispatching.claim_errands(connection, list(Stage), limit=10, token=8, lease_s=60)
    assert road.states() == {"running": 1}
    digest_is_due(road)
    deliver(postman(road, mailbox))
    assert mailbox.subjects == ["membersync: 1 dead letter"]


def test_one_whose_transaction_commits_late_is_in_the_next_digest(road: Road, mailbox: Mailbox) -> None:
    often = postman(road, mailbox, digest_every_s=0.01)
    road.accept("D-1")
    with road.ledger.connect() as slow:
        slow.execute(text("select 1"))
        before = bookmark(road)
        eventually(lambda: deliver(often) == 0 and bookmark(road) > before, "a period is over meanwhile")
        slow.execute(text(BURY))
        slow.commit()
    eventually(lambda: deliver(often) == 1, "the next digest")
    assert mailbox.subjects == ["membersync: 1 dead letter"]


def test_what_happened_long_before_mail_was_switched_on_is_not_told(road: Road, mailbox: Mailbox) -> None:
    goes_down(road)
    comes_back(road)
    goes_down(road, Stage.SIEBEL)
    road.dead("D-1")
    with transaction(road.ledger) as connection:
        connection.execute(text("update connection_change set at = at - :late"), {"late": LATE})
        connection.execute(text("update instance set finished_at = finished_at - :late"), {"late": LATE})
        connection.execute(text("update bookmark set upto = upto - 12 * :late"), {"late": LATE})
    deliver(postman(road, mailbox))
    assert mailbox.subjects == ["membersync: the connection siebel is down"], "which it still is"
    assert road.sql("select count(*) from connection_change where not mailed") == [0]
    assert datetime.now(UTC) - bookmark(road) < timedelta(minutes=2)


def test_a_pause_is_the_operators_own_and_not_mailed(road: Road, mailbox: Mailbox) -> None:
    with transaction(road.ledger) as connection:
        connections.pause(connection, Stage.OIC, by="olga", reason="their window")
        connections.resume(connection, Stage.OIC, by="olga")
    deliver(postman(road, mailbox))
    assert mailbox.subjects == []


def test_mail_waits_for_a_mail_server_that_is_away_and_is_sent_once(road: Road) -> None:
    away = Mailbox(free_port())
    one = postman(road, away)
    goes_down(road)
    for tries in (1, 2, 3):
        everything_is_due(road)
        deliver(one)
        ((counted, error),) = unsent(road)
        assert counted == tries
        assert "ConnectionRefusedError" in error
    road.sql("update mail set created_at = created_at - interval '3 hours'")
    with transaction(road.ledger) as connection:
        count, age_s = mail.unsent(connection)
    assert (count, round(age_s / 60)) == (1, 180)
    with mail_server(away):
        everything_is_due(road)
        deliver(one)
        everything_is_due(road)
        deliver(one)
    (received,) = away.mails
    assert datetime.now(UTC) - received["Date"].datetime > LATE, "when it was written"
    with transaction(road.ledger) as connection:
        assert mail.unsent(connection) == (0, 0.0)


def test_a_mail_that_is_refused_is_tried_later_and_holds_up_no_other(road: Road, mailbox: Mailbox) -> None:
    one = postman(road, mailbox)
    goes_down(road)
    mailbox.answer = "554 5.7.1 looks like spam"
    deliver(one)
    assert unsent(road) == [(1, "554 5.7.1 looks like spam")]
    road.sql("update mail set due_at = now() + interval '1 minute'")
    mailbox.answer = "250 taken"
    comes_back(road)
    deliver(one)
    assert mailbox.subjects == ["membersync: the connection crowdtwist is back after 0 s"]
    everything_is_due(road)
    deliver(one)
    assert len(mailbox.mails) == 2


def test_a_recipient_who_is_refused_costs_the_others_nothing(road: Road, mailbox: Mailbox) -> None:
    mailbox.refused = "ann@example.org"
    goes_down(road)
    deliver(postman(road, mailbox))
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [["bob@example.org"]]
    assert road.sql("select last_error from mail where sent_at is not null") == [
        "1 recipients refused, the first with 550 nobody of that name"
    ]


def leased(road: Road) -> mail.Leased:
    with transaction(road.ledger) as connection:
        found = mail.lease(connection, lease_s=60)
    assert found is not None
    return found


def test_a_mail_that_is_being_sent_is_nobody_elses_until_the_lease_ends(road: Road, mailbox: Mailbox) -> None:
    one = postman(road, mailbox)
    goes_down(road)
    one.write()
    first = leased(road)
    assert deliver(one) == 0
    everything_is_due(road)
    second = leased(road)
    for late, sent in ((first, 0), (second, 1)):
        with transaction(road.ledger) as connection:
            mail.failed(connection, late, error="421 later", again_in_s=0)
        assert deliver(one) == sent, "whose lease has ended says nothing any more"
    assert unsent(road) == []


def test_sent_mail_is_kept_for_the_retention_and_unsent_mail_for_ever(road: Road, mailbox: Mailbox) -> None:
    goes_down(road)
    deliver(postman(road, mailbox))
    goes_down(road, Stage.SIEBEL)
    postman(road, mailbox).write()
    road.sql("update mail set created_at = created_at - interval '9 days', sent_at = sent_at - interval '8 days'")
    for days, pruned in ((10, 0), (7, 1), (7, 0)):
        with transaction(road.ledger) as connection:
            assert mail.prune(connection, days=days) == pruned
    assert len(unsent(road)) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_it_encrypts_and_logs_in(road: Road, security: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    login = {"security": security, "username": USER, "password": PASSWORD}
    goes_down(road)
    with mail_server(security=security) as mailbox:
        deliver(postman(road, mailbox, **login | {"password": "another"}))
        ((_, error),) = unsent(road)
        assert error.startswith("535")
        assert "another" not in error
        everything_is_due(road)
        deliver(postman(road, mailbox, **login))
    assert mailbox.subjects == ["membersync: the connection crowdtwist is down"]
    assert mailbox.logged_in == [USER]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_server_that_cannot_prove_its_name_gets_nothing(road: Road, security: str) -> None:
    goes_down(road)
    with mail_server(security=security) as mailbox:
        deliver(postman(road, mailbox, security=security, username=USER, password=PASSWORD))
    ((_, error),) = unsent(road)
    assert "certificate verify failed" in error
    assert mailbox.logged_in == []


def test_a_ledger_that_was_away_is_asked_again(road: Road, mailbox: Mailbox, ledger_url: str) -> None:
    stop = threading.Event()
    working = threading.Thread(target=postman(road, mailbox).run, args=(stop,))
    with ears(ledger_url) as apart:
        working.start()
        try:
            eventually(lambda: apart.execute(f"select 1 {OURS}").rowcount > 0, "a postman at work")
            apart.execute(f"select pg_terminate_backend(pid) {OURS}")
            eventually(lambda: apart.execute(f"select 1 {OURS}").rowcount > 0, "a new connection")
            goes_down(road)
            eventually(lambda: len(mailbox.mails) == 1, "a mail")
        finally:
            stop.set()
            working.join()


@pytest.mark.usefixtures("ledger")
def test_every_command_that_a_mail_says_to_type_can_be_typed(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    type_in = Terminal(capsys)
    steps = [*advice.after_outage(), *advice.correct(), *advice.find_bug(advice.OURS)]
    for stage in Stage:
        steps += [*advice.bring_back(stage, Settings()), *advice.requeue(stage, ("unavailable", "throttled"))]
    commands = {command for step in steps for command in step.commands}
    assert len(commands) > 15
    for command in sorted(commands):
        program, *arguments = shlex.split(command)
        assert program == "membersync"
        assert type_in(*arguments).code in {DONE, NOTHING}, command
    settings.cache_clear()


def mailing(pipeline: Pipeline, port: int) -> None:
    of = SETTINGS | {"host": HOST, "port": str(port), "timeout_s": "60"}
    pipeline.settings |= {f"MEMBERSYNC_MAIL__{name.upper()}": value for name, value in of.items()}


def test_an_outage_is_mailed_by_the_dispatcher_as_soon_as_the_mail_server_is_there(pipeline: Pipeline) -> None:
    mailbox, road = Mailbox(free_port()), Road(pipeline.ledger)
    mailing(pipeline, mailbox.port)
    pipeline.settings |= {f"MEMBERSYNC_CROWDTWIST__PROBE_{name}_S": "0.2" for name in ("FIRST", "CAP")}
    pipeline.sandbox.control.fault("crowdtwist", "maintenance")

    def tried_again() -> bool:
        everything_is_due(road)
        return len(unsent(road)) == 2 and sum(tries for tries, _ in unsent(road)) > 2

    with pipeline.whole():
        pipeline.send(*(member_event(f"M-{index}") for index in range(8)))
        eventually(lambda: pipeline.sql("select kind from mail") == ["down"], "a mail about it")
        pipeline.sandbox.control.heal("crowdtwist")
        eventually(lambda: pipeline.states() == {"completed": 8}, "all completed without a mail server")
        eventually(tried_again, "both mails written, and one tried again")
        with mail_server(mailbox):
            everything_is_due(road)
            eventually(lambda: unsent(road) == [], "both mails sent")
    assert sorted(subject.partition(" after ")[0] for subject in mailbox.subjects) == [
        "membersync: the connection crowdtwist is back",
        "membersync: the connection crowdtwist is down",
    ]
    assert pipeline.log_text().count('"event": "mail waits to be sent"') == 1


def test_a_silent_mail_server_delays_neither_the_work_nor_the_end(pipeline: Pipeline) -> None:
    with silent_server() as port:
        mailing(pipeline, port)
        goes_down(Road(pipeline.ledger), Stage.OIC)
        comes_back(Road(pipeline.ledger), Stage.OIC)
        with pipeline.worker(), pipeline.process(*DISPATCHER) as dispatcher:
            eventually(lambda: len(pipeline.sql("select 1 from mail where tries > 0")) == 1, "a mail being sent")
            pipeline.send(member_event("M-1"))
            eventually(lambda: pipeline.states() == {"completed": 1}, "completed meanwhile")
            dispatcher.send_signal(signal.SIGTERM)
            assert dispatcher.wait(15) == 0

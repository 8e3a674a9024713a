"""Bringing mail to the mail server: what waits for it, what it may refuse, how it proves its name, what it delays."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from deploy.local.programs import free_port
from shared.ledger import mail
from shared.ledger.engine import transaction
from shared.pipeline import Stage
from tests.mailbox import CERTIFICATE, PASSWORD, USER, Mailbox, mail_server, silent_server
from tests.mailing import comes_back, deliver, everything_is_due, goes_down, mailer, mailing, unsent
from tests.rig import DISPATCHER, Pipeline, eventually, member_event
from tests.road import Road


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as running:
        yield running


def test_mail_waits_for_a_mail_server_that_is_away_and_is_sent_once(road: Road) -> None:
    away = Mailbox(free_port())
    one = mailer(road, away)
    goes_down(road)
    for tries in (1, 2, 3):
        everything_is_due(road)
        deliver(one)
        ((counted, error),) = unsent(road)
        assert counted == tries
        assert "ConnectionRefusedError" in error
    road.sql("update mail set created_at = created_at - interval '3 hours'")
    with transaction(road.ledger) as tx:
        waiting = mail.unsent(tx)
    assert (waiting.count, round(waiting.oldest_s / 60)) == (1, 180)
    with mail_server(away):
        everything_is_due(road)
        deliver(one)
        everything_is_due(road)
        deliver(one)
    (received,) = away.mails
    assert datetime.now(UTC) - received["Date"].datetime > timedelta(hours=2), "when it was written"
    with transaction(road.ledger) as tx:
        assert mail.unsent(tx) == mail.Unsent(0, None, 0.0, None, None)


def test_a_mail_that_is_refused_is_tried_later_and_holds_up_no_other(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    goes_down(road)
    mailbox.answer = "554 5.7.1 looks like spam"
    deliver(one)
    assert unsent(road) == [(1, "554 5.7.1 looks like spam")]
    road.sql("update mail set due_at = now() + interval '1 minute'")
    mailbox.answer = "250 taken"
    comes_back(road)
    deliver(one)
    (subject,) = mailbox.subjects
    assert subject.startswith("membersync: the connection CrowdTwist is back after 0 s")
    everything_is_due(road)
    deliver(one)
    assert len(mailbox.mails) == 2


def test_a_recipient_who_is_refused_costs_the_others_nothing(road: Road, mailbox: Mailbox) -> None:
    mailbox.refused = "ann@example.org"
    goes_down(road)
    deliver(mailer(road, mailbox))
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [["bob@example.org"]]
    assert road.sql("select last_error from mail where sent_at is not null") == [
        "1 recipients refused, the first with 550 nobody of that name"
    ]


def test_a_recipient_who_is_put_off_gets_it_later_and_nobody_gets_it_twice(
    road: Road, mailbox: Mailbox, capsys: pytest.CaptureFixture[str]
) -> None:
    one = mailer(road, mailbox)
    mailbox.later = "ann@example.org"
    goes_down(road)
    deliver(one)
    assert "mail sent in part" in capsys.readouterr().out
    ((_, error),) = unsent(road)
    assert error == "1 recipients put off, the first with 451 greylisted, come again"
    everything_is_due(road)
    deliver(one)
    assert len(unsent(road)) == 1, "for as long as it takes"
    mailbox.later = ""
    everything_is_due(road)
    deliver(one)
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [["bob@example.org"], ["ann@example.org"]]
    assert len({received["Message-ID"] for received in mailbox.mails}) == 1
    assert unsent(road) == []


def test_one_who_is_put_off_for_ever_holds_up_no_other_mail(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    mailbox.later = "ann@example.org"
    goes_down(road)
    deliver(one)
    comes_back(road)
    deliver(one)
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [["bob@example.org"]] * 2
    assert len(unsent(road)) == 2


def test_one_who_is_put_off_and_then_refused_is_the_end_of_it(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    mailbox.later = "ann@example.org"
    goes_down(road)
    deliver(one)
    mailbox.later, mailbox.refused = "", "ann@example.org"
    everything_is_due(road)
    deliver(one)
    assert unsent(road) == []
    assert road.sql("select last_error from mail") == ["1 recipients refused, the first with 550 nobody of that name"]


def test_a_mail_that_reached_nobody_stays_due_for_everybody(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    mailbox.later, mailbox.refused = "ann@example.org", "bob@example.org"
    goes_down(road)
    deliver(one)
    ((_, error),) = unsent(road)
    assert error.startswith("2 recipients refused")
    mailbox.later = mailbox.refused = ""
    everything_is_due(road)
    deliver(one)
    assert [envelope.rcpt_tos for envelope in mailbox.envelopes] == [["ann@example.org", "bob@example.org"]]


def leased(road: Road) -> mail.LeasedMail:
    with transaction(road.ledger) as tx:
        found = mail.lease(tx, lease_s=60)
    assert found is not None
    return found


def test_a_mail_that_is_being_sent_is_nobody_elses_until_the_lease_ends(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    goes_down(road)
    one.write()
    first = leased(road)
    assert deliver(one) == 0
    everything_is_due(road)
    second = leased(road)
    for late, sent in ((first, 0), (second, 1)):
        with transaction(road.ledger) as tx:
            mail.put_off(tx, late, error="421 later", again_in_s=0)
        assert deliver(one) == sent, "whose lease has ended says nothing any more"
    assert unsent(road) == []


def test_sent_mail_is_kept_for_the_retention_and_unsent_mail_for_ever(road: Road, mailbox: Mailbox) -> None:
    goes_down(road)
    deliver(mailer(road, mailbox))
    goes_down(road, Stage.SIEBEL)
    mailer(road, mailbox).write()
    road.sql("update mail set created_at = created_at - interval '9 days', sent_at = sent_at - interval '8 days'")
    for days, pruned in ((10, 0), (7, 1), (7, 0)):
        with transaction(road.ledger) as tx:
            assert mail.prune(tx, days=days) == pruned
    assert len(unsent(road)) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_it_encrypts_and_logs_in(road: Road, security: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    login = {"security": security, "username": USER, "password": PASSWORD}
    goes_down(road)
    with mail_server(security=security) as mailbox:
        deliver(mailer(road, mailbox, **login | {"password": "another"}))
        ((_, error),) = unsent(road)
        assert error.startswith("535")
        assert "another" not in error
        everything_is_due(road)
        deliver(mailer(road, mailbox, **login))
    assert [subject.partition(" [")[0] for subject in mailbox.subjects] == [
        "membersync: the connection CrowdTwist is down"
    ]
    assert mailbox.logged_in == [USER]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_server_that_cannot_prove_its_name_gets_nothing(road: Road, security: str) -> None:
    goes_down(road)
    with mail_server(security=security) as mailbox:
        deliver(mailer(road, mailbox, security=security, username=USER, password=PASSWORD))
    ((_, error),) = unsent(road)
    assert "certificate verify failed" in error
    assert mailbox.logged_in == []


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
    assert sorted(subject.partition(" after ")[0].partition(" [")[0] for subject in mailbox.subjects) == [
        "membersync: the connection CrowdTwist is back",
        "membersync: the connection CrowdTwist is down",
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

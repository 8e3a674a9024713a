"""Mail to operators over the wire: what is told, once, in which words; who is not named."""

import shlex
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from producers.cli.command import DONE, NOTHING
from producers.mail.mailer import Mailer
from producers.operations import advice
from shared.errors import OURS
from shared.ledger import connections, mail
from shared.ledger.engine import transaction
from shared.ledger.listening import wake_calls
from shared.ledger.transitions import errands
from shared.pipeline import SYSTEMS, Lane, Stage
from shared.settings import Settings, settings
from tests.mailbox import SETTINGS, Mailbox, mail_server
from tests.mailing import bookmark, comes_back, deliver, digest_is_due, goes_down, mailer
from tests.rig import eventually
from tests.road import ALWAYS_REFUSED, Road
from tests.terminal import Terminal

LATE = timedelta(hours=2)
BURY = "update instance set state = 'dead', code = 'unavailable', failed_stage = 'crowdtwist', finished_at = now()"


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as running:
        yield running


def test_a_connection_that_goes_down_and_comes_back_is_one_mail_each(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    deliver(one)
    goes_down(road)
    deliver(one)
    goes_down(road)
    deliver(one)
    (fingerprint,) = road.sql("select fingerprint from incident")
    down = f"membersync: the connection CrowdTwist is down [{fingerprint}]"
    assert mailbox.subjects == [down]
    comes_back(road)
    deliver(one)
    deliver(one)
    back = f"membersync: the connection CrowdTwist is back after 0 s [{fingerprint}]"
    assert mailbox.subjects[1:] == [back]
    received = mailbox.mails[0].get_body(("plain",))
    assert received is not None


def changes(road: Road, *told: tuple[float, str]) -> None:
    """Let crowdtwist have gone down or come back so many minutes ago, oldest first."""
    for minutes, what in told:
        road.sql(f"""
            insert into connection_change (name, what, at)
            values ('crowdtwist', '{what}', now() - interval '{minutes} minutes')
        """)


def test_an_outage_that_flaps_is_one_mail_when_it_begins_and_one_when_it_is_over(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    for what in ("down", "up") * 13:
        road.sql("update connection_change set at = at - interval '1 minute'")
        changes(road, (0, what))
        deliver(one)
    assert mailbox.subjects == [
        "membersync: the connection CrowdTwist is down",
        "membersync: the connection CrowdTwist is back after 1 min",
    ]
    assert road.sql("select count(*) from connection_change where what in ('down', 'up')") == [26], "the audit has all"
    assert road.sql("select count(*) from connection_change where not mailed") == [0]


def test_a_flap_that_lasts_is_told_and_so_is_its_end(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
    changes(road, (40, "down"), (30, "up"), (20, "down"))
    deliver(one)
    assert len(mailbox.mails) == 3, "it has been down for longer than a flap"
    changes(road, (1, "up"))
    deliver(one)
    assert len(mailbox.mails) == 4


def test_one_that_is_down_again_a_moment_after_it_came_back_waits_until_it_has_lasted(
    road: Road, mailbox: Mailbox
) -> None:
    one = mailer(road, mailbox)
    changes(road, (30, "down"), (18, "up"), (14, "down"))
    deliver(one)
    assert len(mailbox.mails) == 2
    road.sql("update connection_change set at = at - interval '2 minutes'")
    deliver(one)
    assert [subject.partition(" after ")[0].rpartition(" ")[2] for subject in mailbox.subjects] == [
        "down",
        "back",
        "down",
    ]
    assert deliver(one) == 0


def test_an_outage_after_a_quiet_time_is_another_one(road: Road, mailbox: Mailbox) -> None:
    changes(road, (50, "down"), (45, "up"), (20, "down"), (19, "up"))
    deliver(mailer(road, mailbox))
    assert len(mailbox.mails) == 4


def test_a_mail_is_addressed_signed_and_in_two_parts_that_name_nobody(road: Road, mailbox: Mailbox) -> None:
    goes_down(road)
    deliver(mailer(road, mailbox))
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


def test_many_mailers_tell_each_change_once(road: Road, mailbox: Mailbox) -> None:
    many = [mailer(road, mailbox) for _ in range(4)]
    for stage in Stage:
        goes_down(road, stage)
        comes_back(road, stage)
    together = threading.Barrier(len(many))

    def work(one: Mailer) -> None:
        together.wait()
        deliver(one)

    with ThreadPoolExecutor(len(many)) as pool:
        list(pool.map(work, many))
    deliver(many[0])
    told = [(system, what) for system in SYSTEMS.values() for what in ("down", "back after 0 s")]
    assert sorted(subject.partition(" [")[0] for subject in mailbox.subjects) == sorted(
        f"membersync: the connection {system} is {what}" for system, what in told
    )


def test_whoever_failed_is_told_in_one_digest_by_cause_and_never_again(road: Road, mailbox: Mailbox) -> None:
    one = mailer(road, mailbox)
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
    assert "500 x <e-mail> cannot be served" in said
    assert "20 x Email Address is already taken" in said
    assert "R-1" not in said
    often = mailer(road, mailbox, digest_every_s=0.01)
    before = bookmark(road)
    eventually(lambda: deliver(often) == 0 and bookmark(road) > before, "the next period")
    assert len(mailbox.mails) == 1


def test_a_dead_letter_that_is_just_being_reported_is_in_the_digest(road: Road, mailbox: Mailbox) -> None:
    road.dead("D-1")
    with transaction(road.ledger) as tx:
        errands.claim(tx, {(lane, stage): 10 for lane in Lane for stage in Stage}, token=8, lease_s=60)
    assert road.states() == {"dead": 1}
    assert road.sql("select count(*) from errand where token <> 0") == [1]
    digest_is_due(road)
    deliver(mailer(road, mailbox))
    assert mailbox.subjects == ["membersync: 1 dead letter"]


def test_one_whose_transaction_commits_late_is_in_the_next_digest(road: Road, mailbox: Mailbox) -> None:
    often = mailer(road, mailbox, digest_every_s=0.01)
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
    with transaction(road.ledger) as tx:
        tx.execute(text("update connection_change set at = at - :late"), {"late": LATE})
        tx.execute(text("update instance set finished_at = finished_at - :late"), {"late": LATE})
        tx.execute(text("update bookmark set upto = upto - 12 * :late"), {"late": LATE})
    deliver(mailer(road, mailbox))
    (subject,) = mailbox.subjects
    assert subject.partition(" [")[0] == "membersync: the connection Siebel is down", "which it still is"
    assert road.sql("select count(*) from connection_change where not mailed") == [0]
    assert datetime.now(UTC) - bookmark(road) < timedelta(minutes=2)


def test_after_an_outage_of_mail_what_stands_is_told_last(road: Road) -> None:
    for kind in (mail.Kind.DOWN, mail.Kind.UP, mail.Kind.DIGEST):
        with transaction(road.ledger) as tx:
            mail.put(tx, mail.ComposedMail(kind, f"{kind}", "", ""))
    down = leased(road)
    assert down.composed.kind is mail.Kind.DOWN
    with transaction(road.ledger) as tx:
        mail.put_off(tx, down, error="connection refused", again_in_s=600)
    assert leased(road).composed.kind is mail.Kind.DIGEST
    with transaction(road.ledger) as tx:
        assert mail.lease(tx, lease_s=60) is None
        mail.sent(tx, down.mail_id)
    assert leased(road).composed.kind is mail.Kind.UP


def leased(road: Road) -> mail.LeasedMail:
    with transaction(road.ledger) as tx:
        found = mail.lease(tx, lease_s=60)
    assert found is not None
    return found


def test_a_pause_is_the_operators_own_and_not_mailed(road: Road, mailbox: Mailbox) -> None:
    with transaction(road.ledger) as tx:
        connections.pause(tx, Stage.OIC, by="olga", reason="their window")
        connections.resume(tx, Stage.OIC, by="olga")
    deliver(mailer(road, mailbox))
    assert mailbox.subjects == []


def test_trouble_with_writing_keeps_no_written_mail_back(road: Road, mailbox: Mailbox) -> None:
    goes_down(road)
    of = mailer(road, mailbox)
    of.write()
    stop = threading.Event()
    working = threading.Thread(target=of.run, args=(stop,))
    road.sql("alter table bookmark rename to mislaid")
    try:
        working.start()
        eventually(lambda: len(mailbox.mails) == 1, "the mail")
    finally:
        stop.set()
        working.join()
        road.sql("alter table mislaid rename to bookmark")


def test_a_ledger_that_was_away_is_asked_again(road: Road, mailbox: Mailbox, ledger_url: str) -> None:
    stop = threading.Event()
    working = threading.Thread(target=mailer(road, mailbox).run, args=(stop,))
    with wake_calls(ledger_url) as apart:

        def ours(what: str = "pid") -> set[int]:
            asked = f"select {what} from pg_stat_activity where application_name = 'membersync'"  # our words
            found = apart.execute(asked)
            return {row[0] for row in found}

        working.start()
        try:
            eventually(lambda: len(ours()) > 0, "a mailer at work")
            ended = ours()
            ours("pg_terminate_backend(pid)")
            eventually(lambda: len(ours() - ended) > 0, "a new connection")
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
    steps = [*advice.after_outage(), *advice.correct(), *advice.find_bug(OURS)]
    for stage in Stage:
        steps += [*advice.bring_back(stage, Settings()), *advice.requeue(stage, ("unavailable", "throttled"))]
    commands = {command for step in steps for command in step.commands}
    assert len(commands) > 15
    for command in sorted(commands):
        program, *arguments = shlex.split(command)
        assert program == "membersync"
        assert type_in(*arguments).code in {DONE, NOTHING}, command
    settings.cache_clear()

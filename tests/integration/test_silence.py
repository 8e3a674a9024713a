"""Siebel falls silent: metric, mail, doctor and the first line say so, once, by what the hour is used to."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from producers.doctor import work
from producers.doctor.check import Level, Subject
from producers.mail.mailer import Mailer
from shared.ledger import silence
from shared.ledger.engine import transaction
from shared.settings import MailSettings, Settings
from tests.mailbox import SETTINGS
from tests.road import Road
from tests.terminal import Terminal

ADA = {"Authorization": "Bearer tok-ada", "Accept": "text/plain"}
LEARNED = """
    insert into silence (at, longest_s)
    select date_trunc('hour', now(), 'UTC') - n * interval '168 h' + (n % 3 - 1) * interval '1 h', 100 * n
    from generate_series(1, 6) as n
"""


def test_silence_beyond_what_the_hour_is_used_to_is_told_everywhere_and_once(
    road: Road, client: httpx.Client, cli: Terminal, ledger_url: str
) -> None:
    of = Settings(_env_file=None, ledger_url=ledger_url, mail=MailSettings.model_validate(SETTINGS))
    rules = of.guard.silence_rules
    road.accept("M-1")
    road.sql(LEARNED)
    road.sql("update instance set accepted_at = now() - interval '29 min'")
    with transaction(road.ledger) as tx:
        found = silence.read(tx, rules)
    assert (found.weeks, found.longest_s, found.limit_s, found.is_too_long) == (6, 600, 1800, False)
    (well,) = work.listen_to_siebel(Subject(of))
    assert (well.level, "at most 10 min at this hour of the week, in 6 weeks" in well.found) == (Level.OK, True)
    road.sql("update instance set accepted_at = now() - interval '3 h'")
    for _ in range(3):
        Mailer(of).write()
    (mail,) = road.sql("select subject, plain from mail where kind = 'silence'")
    assert mail[0] == "membersync: no event from Siebel for 3 h"
    assert "at most 10 min at this hour of the week, in 6 weeks" in mail[1]
    (finding,) = work.listen_to_siebel(Subject(of))
    assert (finding.level, finding.found.startswith("3 h ago")) == (Level.WARN, True)
    verdict = cli("status", "--json").json["verdict"]
    assert "Siebel is silent" in [one["short"] for one in verdict["troubles"]]
    text = client.get("/metrics", headers=ADA).text
    told = {one.name: one.samples[0].value for one in text_string_to_metric_families(text) if "silence" in one.name}
    assert told["membersync_silence_seconds"] >= 10_800
    assert told["membersync_silence_limit_seconds"] == 1800


def test_what_repairs_make_is_no_word_of_siebels_and_a_planned_window_excuses(road: Road, ledger_url: str) -> None:
    rules = Settings(_env_file=None, ledger_url=ledger_url).guard.silence_rules
    road.accept("M-1", "M-2")
    road.sql("update instance set accepted_at = now() - interval '2 days' where id = 1")
    road.sql("update instance set origin = 'reconcile' where id = 2")
    with transaction(road.ledger) as tx:
        assert silence.read(tx, rules).is_too_long
    road.sql("update connection set window_id = 1 where name = 'siebel'")
    with transaction(road.ledger) as tx:
        assert not silence.read(tx, rules).is_too_long


def test_of_each_hour_the_longest_is_kept(road: Road, ledger_url: str) -> None:
    rules = Settings(_env_file=None, ledger_url=ledger_url).guard.silence_rules
    road.accept("M-1")
    for minutes in (20, 50, 5):
        road.sql(f"update instance set accepted_at = now() - interval '{minutes} min'")
        with transaction(road.ledger) as tx:
            silence.note(tx, rules)
    assert road.sql("select round(longest_s / 60) from silence where at = date_trunc('hour', now(), 'UTC')") == [50]

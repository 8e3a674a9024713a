"""The verdict says in one sentence whether all is well, what is wrong, since when, who waits, who has to act."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from producers.cli.command import TroubleError
from producers.operations.verdict import (
    MAIL_LATE_S,
    Level,
    Verdict,
    judge,
    unseen,
)
from shared.errors import LedgerError, LedgerSlowError, SettingsInvalidError
from shared.ledger.causes import Alike
from shared.ledger.clock import Step
from shared.ledger.heartbeats import SILENT_S
from shared.ledger.records import (
    Backlog,
    BudgetState,
    ConnectionState,
    DeadLetters,
    HeldSnapshots,
    Overview,
    Process,
    Rate,
    UnsentMail,
)
from shared.ledger.snapshots import Holds, SnapshotHolder
from shared.lifecycle.breaker import drain_s
from shared.pipeline import STAGES

NOW = datetime(2026, 11, 23, 9, 0, 30, tzinfo=UTC)
AT_0110 = datetime(2026, 11, 23, 1, 10, 4, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)
REFUSED = "CrowdTwist: refused our credentials (HTTP 403)"


def up(name: str) -> ConnectionState:
    budget = BudgetState(10_000, 0, 0, 0, 10_000, 8_000) if name == "crowdtwist" else None
    nothing = dict.fromkeys(
        ("since", "last_error", "opened_at", "probe_at", "next_probe_in_s", "healed_at", "paused_by"), None
    )
    more = {"breaker": "closed", "failures": 0, "probes": 0, "paused_reason": None, "paused_at": None, "held": 0}
    return ConnectionState(name=name, state="up", budget=budget, **nothing, **more)  # type: ignore[arg-type]


def process(kind: str, name: str, lanes: Sequence[str] = (), silent_s: float = 1.0, age_s: float = 3600) -> Process:
    heard = NOW - timedelta(seconds=silent_s)
    return Process(kind, name, list(lanes), NOW - timedelta(seconds=age_s), heard, silent_s)


DISPATCHER = process("dispatcher", "host/11")
LIVE, BULK = process("worker", "live@host/1", ["live"]), process("worker", "bulk@host/1", ["bulk"])
FORGOTTEN = SnapshotHolder(Holds.SESSION, "4711", "psql, ann", "idle in transaction", "select 1", 9_000, AT_0110)
DUMP = replace(FORGOTTEN, name="4712", who="pg_dump, ann", state="active")
ALL_WELL = Overview(
    at=NOW,
    connections=[up(stage) for stage in STAGES],
    backlog=[],
    dead_letters=[],
    rates=[Rate(60, 0, {}), Rate(3600, 0, {})],
    processes=[LIVE, BULK, DISPATCHER],
)


def silent(one: Process, for_s: float = 30) -> Process:
    return replace(one, silent_s=for_s, heard_at=NOW - timedelta(seconds=for_s))


def with_processes(*processes: Process) -> Overview:
    return replace(ALL_WELL, processes=list(processes))


def with_connection(name: str, **changes: object) -> Overview:
    states = [replace(one, **changes) if one.name == name else one for one in ALL_WELL.connections]  # type: ignore[arg-type]
    return replace(ALL_WELL, connections=states)


def waiting(state: str, count: int, *, lane: str = "live", due_s: float | None = 0) -> Overview:
    due = None if due_s is None else NOW - timedelta(seconds=due_s)
    return replace(ALL_WELL, backlog=[Backlog(lane, "crowdtwist", state, count, 400, due)])


def dead(*rows: tuple[str, str, int]) -> Overview:
    return replace(ALL_WELL, dead_letters=[DeadLetters(stage, code, count, AT_0110) for stage, code, count in rows])


def judged(found: Overview) -> Verdict:
    """Judge *found* where no message tells its dead letters apart."""
    return judge(found, [Alike(one.stage, one.code, "", one.count, apart=False) for one in found.dead_letters])


CASES = [
    ("nothing to do", ALL_WELL, Level.WELL, "All well: nothing waits", "all well"),
    ("traffic", waiting("running", 3), Level.WELL, "All well: 3 instances on the way", "all well"),
    (
        "a retry",
        waiting("waiting", 1, due_s=-30),
        Level.WELL,
        "All well: 1 instance on the way, 1 of them to be tried again",
        "all well",
    ),
    (
        "an outage",
        with_connection("crowdtwist", state="open", since=AT_0110, held=798, last_error="CrowdTwist: answered 503"),
        Level.WAITS,
        "CrowdTwist away since 01:10 UTC; 798 wait safely; nothing to do; about 20 s to drain after it is back",
        "CrowdTwist away",
    ),
    (
        "an outage without anybody held",
        with_connection("siebel", state="half_open", since=YESTERDAY, last_error="Siebel: could not connect"),
        Level.WAITS,
        "Siebel away since 2026-11-22 09:00 UTC; nothing to do",
        "Siebel away",
    ),
    (
        "an outage that a person has to end",
        with_connection("crowdtwist", state="open", since=AT_0110, held=1, last_error=REFUSED),
        Level.PERSON,
        (
            "CrowdTwist refuses our credentials since 01:10 UTC; 1 waits safely; "
            "correct MEMBERSYNC_CROWDTWIST__API_KEY, or __AUTH; restart api and workers"
        ),
        "CrowdTwist refuses us",
    ),
    (
        "a pause",
        with_connection("oic", state="paused", since=AT_0110, held=12, paused_by="olga", paused_reason="window"),
        Level.WAITS,
        "OIC paused by olga since 01:10 UTC: window; 12 wait safely; goes on when somebody resumes it",
        "OIC paused",
    ),
    (
        "dead letters of one cause",
        dead(("crowdtwist", "unauthorised", 6)),
        Level.PERSON,
        "6 dead letters need you: CrowdTwist API key refused",
        "6 dead letters",
    ),
    (
        "dead letters of several",
        dead(("crowdtwist", "unauthorised", 6), ("siebel", "unreachable", 2), ("oic", "bug", 1)),
        Level.PERSON,
        "9 dead letters need you: 6 CrowdTwist API key refused, 2 Siebel could not be reached, 1 more cause",
        "9 dead letters",
    ),
    (
        "one dead letter",
        dead(("oic", "bug", 1)),
        Level.PERSON,
        "1 dead letter needs you: an error of membersync",
        "1 dead letter",
    ),
    (
        "every worker stopped",
        with_processes(silent(LIVE), silent(BULK), DISPATCHER),
        Level.PERSON,
        (
            "No worker is at work since 09:00 UTC: stopped, hanging, or cut off; "
            "see what became of live@host/1, bulk@host/1, or start another: `membersync worker`"
        ),
        "no worker",
    ),
    (
        "the workers of one lane stopped",
        with_processes(LIVE, silent(BULK, SILENT_S + 0.1), DISPATCHER),
        Level.PERSON,
        (
            "No worker of the bulk lane is at work since 09:00 UTC: stopped, hanging, or cut off; "
            "see what became of bulk@host/1, or start another: `membersync worker --lane bulk`"
        ),
        "no worker of the bulk lane",
    ),
    (
        "no worker ever",
        with_processes(DISPATCHER),
        Level.PERSON,
        "No worker is at work; start one: `membersync worker`",
        "no worker",
    ),
    (
        "the dispatcher stopped",
        with_processes(LIVE, BULK, silent(DISPATCHER, 100)),
        Level.PERSON,
        (
            "No dispatcher is at work since 08:58 UTC: stopped, hanging, or cut off; "
            "see what became of host/11, or start another: `membersync dispatcher`"
        ),
        "no dispatcher",
    ),
    (
        "one worker process of two stopped",
        with_processes(LIVE, silent(replace(LIVE, name="live@host/2")), BULK, DISPATCHER),
        Level.PERSON,
        "1 of 3 worker processes silent since 09:00 UTC; see what became of live@host/2; others work",
        "a silent worker",
    ),
    (
        "one that was killed, and another started in its place",
        with_processes(silent(replace(LIVE, name="live@gone/1")), replace(LIVE, started_at=NOW), BULK, DISPATCHER),
        Level.WELL,
        "All well: nothing waits",
        "all well",
    ),
    (
        "nothing moves though all are there",
        waiting("pending", 7, due_s=400),
        Level.PERSON,
        "7 instances due since 08:53 UTC, and nothing ends; see `membersync doctor`",
        "nothing moves",
    ),
    (
        "Data Errors that are the members",
        replace(ALL_WELL, rates=[Rate(60, 0, {}), Rate(3600, 90, {"completed": 60, "rejected": 30})]),
        Level.WELL,
        "All well: nothing waits",
        "all well",
    ),
    (
        "a few Data Errors and nothing else",
        replace(ALL_WELL, rates=[Rate(60, 0, {}), Rate(3600, 9, {"rejected": 9})]),
        Level.WELL,
        "All well: nothing waits",
        "all well",
    ),
    (
        "a jump of Data Errors",
        replace(ALL_WELL, rates=[Rate(60, 0, {}), Rate(3600, 90, {"completed": 30, "rejected": 60})]),
        Level.PERSON,
        (
            "60 of the 90 instances that ended in the last hour are Data Errors; a setting or a rule rather than the "
            "members: see `membersync dead-letters --state rejected --since 1h`"
        ),
        "60 Data Errors",
    ),
    (
        "members that fail while others are served",
        with_connection("crowdtwist", suspects=5, suspects_given_up=2),
        Level.WAITS,
        (
            "3 members fail at CrowdTwist, which serves others; nothing to do: tried again by themselves, "
            "and a dead letter at last"
        ),
        "3 suspects",
    ),
    (
        "suspects that are dead letters already",
        with_connection("crowdtwist", suspects=2, suspects_given_up=2),
        Level.WELL,
        "All well: nothing waits",
        "all well",
    ),
    (
        "mail that could not be sent",
        replace(ALL_WELL, unsent_mail=UnsentMail(2, AT_0110)),
        Level.PERSON,
        (
            "2 mails to operators unsent since 01:10 UTC; correct MEMBERSYNC_MAIL__…; `membersync doctor` has the mail "
            "server's answer"
        ),
        "unsent mail",
    ),
    (
        "mail that is on its way",
        replace(ALL_WELL, unsent_mail=UnsentMail(1, NOW - timedelta(seconds=MAIL_LATE_S))),
        Level.WELL,
        "All well: nothing waits",
        "all well",
    ),
    (
        "a snapshot that somebody has forgotten",
        replace(ALL_WELL, held_snapshots=HeldSnapshots(300, [FORGOTTEN, DUMP])),
        Level.PERSON,
        (
            "A snapshot of the ledger held since 01:10 UTC by pid 4711 (psql, ann, idle in transaction) and 1 other: "
            "dead rows pile up; see `membersync doctor`"
        ),
        "a held snapshot",
    ),
    (
        "a snapshot of somebody who works",
        replace(ALL_WELL, held_snapshots=HeldSnapshots(300, [DUMP])),
        Level.WAITS,
        (
            "A snapshot of the ledger held since 01:10 UTC by pid 4712 (pg_dump, ann, active): "
            "dead rows pile up; see `membersync doctor`"
        ),
        "a held snapshot",
    ),
    (
        "a long queue that moves",
        replace(waiting("pending", 7, due_s=400), rates=[Rate(60, 0, {"completed": 1})]),
        Level.WELL,
        "All well: 7 instances on the way",
        "all well",
    ),
]


@pytest.mark.parametrize(
    ("found", "level", "sentence", "short"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_verdict_is_one_sentence(found: Overview, level: Level, sentence: str, short: str) -> None:
    said = judged(found)
    assert (said.level, said.sentence, said.short) == (level, sentence, short)
    assert said.needs_person == (level is Level.PERSON)


def test_dead_letters_of_one_code_are_told_apart_as_on_their_cards() -> None:
    alike = [
        Alike("crowdtwist", "unavailable", "CrowdTwist: could not serve us (HTTP 500)", 2, apart=True),
        Alike("crowdtwist", "unavailable", "CrowdTwist: answered something that is not JSON (HTTP 200)", 2, apart=True),
        Alike("crowdtwist", "unavailable", "CrowdTwist: could not serve us (HTTP 502)", 1, apart=False),
    ]
    found = dead(("crowdtwist", "unavailable", 5))
    assert judge(found, alike).sentence == (
        "5 dead letters need you: 3 CrowdTwist failed on these members, 2 something else than CrowdTwist answered"
    )


@pytest.mark.parametrize(
    ("apart", "cause"), [(True, "CrowdTwist refused these members"), (False, "CrowdTwist API key refused")]
)
def test_members_that_are_refused_while_others_are_served_blame_no_key(*, apart: bool, cause: str) -> None:
    alike = [Alike("crowdtwist", "unauthorised", REFUSED, 2, apart=apart)]
    assert judge(dead(("crowdtwist", "unauthorised", 2)), alike).sentence == f"2 dead letters need you: {cause}"


def test_what_needs_a_person_comes_first_and_nothing_is_left_out() -> None:
    away = with_connection("crowdtwist", state="open", since=AT_0110, held=798, last_error="CrowdTwist: answered 503")
    backlog = [Backlog("live", "crowdtwist", "held", 798, 60, None), Backlog("live", "oic", "pending", 5, 1, NOW)]
    said = judged(replace(away, dead_letters=[DeadLetters("siebel", "throttled", 2, YESTERDAY)], backlog=backlog))
    assert said.sentence.startswith("2 dead letters need you: Siebel asked us to wait · CrowdTwist away since 01:10")
    assert (said.short, said.since, said.waiting) == ("2 dead letters (+1)", YESTERDAY, 803)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step(AT_0110, 3_600.0, is_settling=True), "The ledger's clock was set ahead by 3600 s at 01:10 UTC; nothing"),
        (Step(AT_0110, -90.25, is_settling=True), "The ledger's clock was set back by 90.25 s at 01:10 UTC; nothing"),
        (
            Step(AT_0110, 3_600.0, is_doubted=True, is_settling=True),
            "The ledger's clock seems set ahead by 3600 s at 01:10 UTC; leases stay in force; one of the clocks",
        ),
        (Step(AT_0110, 3_600.0), "All well"),
        (None, "All well"),
    ],
)
def test_a_step_of_the_ledgers_clock_is_said_while_it_is_settled(step: Step | None, said: str) -> None:
    found = judge(with_processes(LIVE, BULK, DISPATCHER), [], step)
    assert found.sentence.startswith(said)
    assert not found.needs_person


def test_what_waits_for_a_lane_without_workers_is_counted() -> None:
    found = replace(with_processes(LIVE, DISPATCHER), backlog=[Backlog("bulk", "oic", "pending", 40, 60, NOW)])
    assert "; 40 wait safely; start one" in judged(found).sentence


def test_a_ledger_that_does_not_serve_needs_a_person() -> None:
    away = unseen(LedgerError("OperationalError"))
    assert "what was accepted is safe" in away.sentence
    slow = unseen(LedgerSlowError("QueryCanceled"))
    assert slow.sentence.startswith("The ledger serves, but takes too long")
    unset = unseen(TroubleError("MEMBERSYNC_LEDGER_URL is not set"))
    assert unset.sentence.startswith("MEMBERSYNC_LEDGER_URL is not set")
    invalid = unseen(SettingsInvalidError("the settings are not valid", []))
    assert invalid.sentence.startswith("The settings are not valid")
    assert all(one.needs_person for one in (away, slow, unset, invalid))


@pytest.mark.parametrize(
    ("held", "per_minute", "seconds"),
    [
        (0, 10_000, 0),
        (83, 10_000, 5),  # a tenth of 10,000 a minute for 5 s: 83
        (250, 10_000, 10),  # and then a fifth: 167
        (5_000, 10_000, 42.5),  # 20 s of ramp take 1,250; the rest by 167 a second
        (100, 60, 112.5),  # the ramp takes 7.5 of them
    ],
)
def test_the_time_to_drain_follows_ramp_and_budget(held: int, per_minute: int, seconds: float) -> None:
    assert drain_s(held, per_minute) == pytest.approx(seconds, abs=0.1)


def test_open_cases_are_not_called_well_and_who_is_parked_too_long_needs_somebody() -> None:
    some = judged(replace(ALL_WELL, cases={"cycle": 2, "format": 1}))
    assert (some.level, some.short, some.sentence) == (
        Level.WELL,
        "3 open cases",
        "Nothing waits; 3 open cases: `membersync cases` says who must correct what",
    )
    parked = judged(replace(ALL_WELL, cases={"cycle": 2}, parked_late=1))
    assert (parked.level, parked.needs_person, parked.short) == (Level.PERSON, True, "parked")

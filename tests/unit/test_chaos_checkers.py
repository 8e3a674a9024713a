"""The checker of a chaos run finds what is wrong outside, and excuses only what nobody on our side could help."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.suite.broken import MUTANTS, Mutant
from tests.chaos.suite.faults import KINDS, schedule
from tests.chaos.suite.feed import Accepted, Author, Sent
from tests.chaos.suite.machine import WITH_UP
from tests.chaos.suite.outside import Findings, Outside, check, longest_recovery_s
from tests.chaos.suite.scenarios import SCENARIOS
from tests.chaos.suite.stand import LONG, SHORT

NUMBER = "M-1"


def three(last: str = "update") -> list[Sent]:
    author = Author(1, 1)
    return [author.write(NUMBER), author.write(NUMBER), author.write(NUMBER, what=last)]


def accepted(events: list[Sent]) -> Accepted:
    return Accepted({NUMBER: events}, {one.event_id: 10 * one.version for one in events})


def written(mark: str, at: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"at": at, "method": "PUT", "document": {"first_name": mark}, "status": 200, "late": False} | more


def told(status: str, error: str, at: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    row = {"Id": f"1-{NUMBER}", "CT Sync Status": status, "CT Sync Error": error}
    return {"at": at, "row": row, "status": 200, "late": False} | more


def seen(writes: list[dict[str, Any]], tells: list[dict[str, Any]], shows: str = "V3") -> Outside:
    member = three()[0].body["member"]
    user = {name: member[name] for name in ("last_name", "email_address", "postal_code")}
    last = tells[-1]["row"]
    row = {"status": last["CT Sync Status"], "error": last["CT Sync Error"]}
    return Outside(
        {NUMBER: writes}, {NUMBER: tells}, {NUMBER: user | {"first_name": shows, "is_active": True}}, {NUMBER: row}, []
    )


SUCCESS = told("Success", "", 9)
FINE = [written("V1", 1), written("V3", 3)]
FAILURE = told("CT Failure", "away [instance 30]", 5)
TWICE = [written("V1", 1, method="POST"), written("V3", 2, method="POST")]
LATE = [written("V3", 3), written("V1", 4, late=True), written("V3", 5)]


@pytest.mark.parametrize("writes", [FINE, LATE, [written("V3", 3), written("V3", 4)]])
def test_a_run_in_which_all_is_well_has_no_findings(writes: list[dict[str, Any]]) -> None:
    assert check(accepted(three()), seen(writes, [SUCCESS]), []).lines() == []


@pytest.mark.parametrize(
    ("outside", "found"),
    [
        (lambda: seen([written("V1", 1)], [SUCCESS], "V1"), "lost"),
        (lambda: seen([written("V3", 1), written("V1", 2)], [SUCCESS]), "stale_applied"),
        (lambda: seen(LATE[:2], [SUCCESS], "V1"), "stale_applied"),
        (lambda: seen(FINE, [told("CT Failure", "CrowdTwist: away [instance 30]", 9)]), "wrong_status"),
        (lambda: seen(FINE, [told("Success", "", 4), FAILURE, SUCCESS]), "wrong_status"),
        (lambda: seen(FINE, [told("Success", "", 0.5), SUCCESS]), "wrong_status"),
        (lambda: seen(TWICE, [SUCCESS]), "duplicate_effects"),
    ],
)
def test_what_is_wrong_is_found(outside: Callable[[], Outside], found: str) -> None:
    counts = check(accepted(three()), outside(), []).counts()
    assert {name for name, count in counts.items() if count} == {found}


def test_data_that_was_refused_has_to_be_told_with_its_instance() -> None:
    events = accepted(three("refused"))
    tells = [told("Data Error", "Postal Code is invalid [instance 30]", 9)]
    assert check(events, seen([written("V1", 1)], tells, "V1"), []).lines() == []
    counts = check(events, seen([written("V1", 1)], [SUCCESS], "V1"), []).counts()
    assert counts == {"lost": 1, "stale_applied": 0, "wrong_status": 1, "duplicate_effects": 0}


def test_what_a_frozen_worker_had_in_its_socket_is_excused_and_nothing_else() -> None:
    outside = seen([written("V3", 3), written("V1", 20), written("V3", 21)], [SUCCESS])
    outside.overlaps.append(("crowdtwist", NUMBER, 20.0))
    assert check(accepted(three()), outside, [(10.0, 19.0)]).lines() == []
    counts = check(accepted(three()), outside, [(100.0, 110.0)]).counts()
    assert (counts["stale_applied"], counts["duplicate_effects"]) == (1, 1)


def test_findings_are_exactly_what_the_figures_name() -> None:
    assert list(Findings().counts()) == ["lost", "stale_applied", "wrong_status", "duplicate_effects"]


def test_a_recovery_lasts_from_the_end_of_a_trouble_to_the_next_write() -> None:
    assert longest_recovery_s([(0, 10), (5, 20), (30, 99)], [1.0, 12.0, 20.5]) == 2.0
    assert longest_recovery_s([], [1.0]) == 0.0


def test_a_schedule_is_that_of_its_seed_and_leaves_no_kind_out() -> None:
    assert schedule(7, 60, SHORT) == schedule(7, 60, SHORT) != schedule(8, 60, SHORT)
    assert {one.kind for one in schedule(7, 900, LONG, WITH_UP)} == WITH_UP.keys() > KINDS.keys()
    assert Author(3, 9).batch(40) != Author(4, 9).batch(40)


def test_addresses_that_are_passed_on_are_given_up_by_who_had_them() -> None:
    author = Author(5, 60, moving=True)
    sent = [event for _ in range(60) for event in author.batch(10)] + author.rest()
    newest = {one.number: one for one in sorted(sent, key=lambda one: one.version)}
    addresses = [one.body["member"]["email_address"] for one in newest.values()]
    assert len(addresses) == len(set(addresses))
    assert any(not one.startswith(number.lower()) for number, one in zip(newest, addresses, strict=True))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_breaks_what_is_there_and_has_a_scenario_that_shows_it(mutant: Mutant) -> None:
    sources = {edit.path: edit.path.read_text(encoding="utf-8") for edit in mutant.edits}
    for edit in mutant.edits:
        sources[edit.path] = edit.applied(sources[edit.path])
    for path, source in sources.items():
        compile(source, str(path), "exec")
    assert mutant.scenario in SCENARIOS

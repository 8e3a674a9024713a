"""What Flower is told of a task's end, and which instances it names."""

import logging

import pytest

from deploy.flower import LONGEST_WAIT_S, bounded, counts, instance_ids, reworded, wait
from shared.broker import describe_instances

TRACEBACK = """\
Traceback (most recent call last):
  File "/app/workers/tasks.py", line 66, in crowdtwist_call
    return attempt(task, Stage.CROWDTWIST, ids, "ann.lee@example.org")
           ^^^^^^^
{last}
"""
CONSTRAINT = """\
sqlalchemy.exc.IntegrityError: (psycopg.errors.NotNullViolation) null value in column "state"
DETAIL:  Failing row contains (4711, Ann, Lee, ann.lee@example.org)."""


def ended(event: str, last: str, exception: str = "None") -> dict[str, object]:
    told = {"type": event, "uuid": "u", "exception": exception, "traceback": TRACEBACK.format(last=last)}
    kept = reworded(told)
    assert (kept.pop("type"), kept.pop("uuid")) == (event, "u")
    return kept


def test_a_retry_keeps_its_summary_and_no_traceback() -> None:
    last = "celery.exceptions.Retry: 2 waiting, 1 held; tried again in 7 s"
    assert ended("task-retried", last) == {
        "result": "2 waiting, 1 held; tried again in 7 s",
        "exception": None,
        "traceback": None,
    }


def test_what_is_held_is_promised_no_time() -> None:
    assert ended("task-retried", "celery.exceptions.Retry: 5 held")["result"] == "5 held"


def test_a_batch_that_failed_for_good_keeps_its_summary_and_no_traceback() -> None:
    last = "workers.tasks.AllFailedError: 2 dead, 1 data_error"
    assert ended("task-failed", last, "AllFailedError('2 dead, 1 data_error')") == {
        "result": "2 dead letters, 1 Data Error",
        "exception": None,
        "traceback": None,
    }


def test_a_bug_keeps_its_class_and_its_frames_and_nothing_that_may_name_a_member() -> None:
    kept = ended("task-failed", CONSTRAINT, 'IntegrityError("… Failing row contains (4711, Ann, Lee)")')
    assert kept["exception"] == "IntegrityError"
    assert 'File "/app/workers/tasks.py", line 66, in crowdtwist_call' in str(kept["traceback"])
    assert not any(word in str(kept) for word in ("Ann", "ann.lee", "4711"))


def test_other_events_are_kept_as_they_are() -> None:
    received = {"type": "task-received", "uuid": "u", "args": "1 member: M-1"}
    assert reworded(received) == received


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("{'done': 11, 'data_error': 1}", "11 done, 1 Data Error"),
        ({"done": 1}, "1 done"),
        ("{}", "nothing to do"),
        ("'cut off…", "'cut off…"),
        ("[1, 2]", "[1, 2]"),
        (None, None),
    ],
)
def test_a_result_reads_as_counts_by_outcome(result: object, words: object) -> None:
    assert counts(result) == words


def test_the_instances_of_a_batch_are_read_back_lowest_first_and_up_to_fifty() -> None:
    assert describe_instances([4711]) == "1 instance: 4711"
    assert instance_ids(describe_instances([9, 7, 8])) == [7, 8, 9]
    assert describe_instances(range(60)).endswith("48, 49, …")
    assert instance_ids(describe_instances(range(60))) == list(range(50))


@pytest.mark.parametrize("other", [None, "", "{}", "{'day': 12}"])
def test_other_keyword_arguments_name_no_instances(other: object) -> None:
    assert instance_ids(other) == []


@pytest.mark.parametrize(("doubled_s", "waits_s"), [(2, 2), (4096, LONGEST_WAIT_S)])
def test_a_broker_that_was_away_for_long_is_tried_again_soon(
    monkeypatch: pytest.MonkeyPatch, doubled_s: int, waits_s: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("threading.Event.wait", lambda _, wait_s: slept.append(wait_s))
    wait(doubled_s)
    assert slept == [waits_s]

    words = "Failed to capture events: '%s', trying again in %s seconds."  # Flower's own
    line = logging.LogRecord("flower.events", logging.ERROR, "events.py", 1, words, ("refused", doubled_s), None)
    assert bounded(line)
    assert line.getMessage().endswith(f"'refused', trying again in {waits_s} seconds.")

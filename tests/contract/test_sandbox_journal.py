"""Answers of the simulators that nobody can read, and the journal of what they were asked to change."""

import httpx
import pytest

from deploy.sandbox.server import RunningSandbox
from tests.contract.test_sandbox_faults import KEYS, create, first_name, rename, wait_until


def test_an_answer_of_the_wrong_length_was_applied_and_never_ends(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("crowdtwist", "wrong_length", times=1)

    with pytest.raises(httpx.RemoteProtocolError):
        create(sandbox, http)

    assert first_name(sandbox) == "Andy"


def test_a_dripping_answer_comes_whole_to_who_waits_for_it(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("crowdtwist", "drip", seconds=0.0001, times=1)
    assert create(sandbox, http).json()["first_name"] == "Andy"

    sandbox.control.fault("crowdtwist", "drip", seconds=5, times=1)
    with pytest.raises(httpx.ReadTimeout):
        http.put(f"{sandbox.crowdtwist}/v2/users/296-1", params=KEYS, json={"first_name": "Andrew"}, timeout=0.05)
    assert first_name(sandbox) == "Andrew"


def test_the_journal_has_what_was_to_be_changed_and_what_came_too_late(
    sandbox: RunningSandbox, http: httpx.Client
) -> None:
    create(sandbox, http)
    assert sandbox.control.journal("crowdtwist") == []
    sandbox.control.set("crowdtwist", journal=True)

    http.get(f"{sandbox.crowdtwist}/v2/users/296-1", params=KEYS)
    rename(sandbox, http, "Newer")
    rename(sandbox, http, "")
    sandbox.control.fault("crowdtwist", "apply_late", seconds=0.1, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        rename(sandbox, http, "Older")
    wait_until(lambda: first_name(sandbox) == "Older")

    kept = sandbox.control.journal("crowdtwist")
    assert [(one["keys"], one["document"]["first_name"], one["status"], one["late"]) for one in kept] == [
        (["296-1"], "Newer", 200, False),
        (["296-1"], "", 400, False),
        (["296-1"], "Older", 200, True),
    ]
    late_s = kept[2]["at"] - kept[2]["received_at"]
    assert late_s > 0.05, "waited for by one clock, stamped by another"

"""One member in Siebel, in CrowdTwist and in the ledger, compared now: each side says what it has, or why not."""

import json
from typing import Any

import httpx
import pytest

from producers.operations import connection_control
from producers.operations.job_control import Operator
from producers.operations.reconcile.compare import compare
from producers.operations.reconcile.side_by_side import Comparison, CrowdTwistNow, SiebelNow
from shared.ledger import audit
from shared.ledger.audit import ActionFilter
from shared.ledger.engine import transaction
from shared.pipeline import Stage
from shared.settings import settings
from tests.console import console, link, logged_in, post, said
from tests.network import TRUSTS_NOBODY
from tests.rig import Pipeline, eventually, member_event
from tests.terminal import Terminal

ADA = Operator("ada", "admin")
ROW = {
    "Status": "Active",
    "Language": "",
    "Contact First Name": "Ann",
    "Contact Last Name": "Lee",
    "Contact Middle Name": "",
    "Date of Birth": "",
    "Email Address": "m-1@example.org",
    "Primary Postal Code": "10010",
    "Primary City": "",
    "Primary Country Code": "US",
    "M/F": "",
    "CT City Id": "",
    "Mod Id": "7",
}


def seed(pipeline: Pipeline, **changes: str) -> None:
    pipeline.sandbox.control.set("siebel", auto_members=False)
    pipeline.sandbox.control.seed({"member_number": "M-1", "row_id": "1-M-1", **ROW, **changes})


@pytest.fixture
def synced(pipeline: Pipeline) -> Pipeline:
    """One member, in both systems and in the ledger."""
    seed(pipeline)
    with pipeline.whole():
        pipeline.send(member_event("M-1"))
        eventually(lambda: pipeline.states() == {"completed": 1} and pipeline.settled(), "it is synced")
    return pipeline


def compared(pipeline: Pipeline, number: str = "M-1", **more: Any) -> Comparison:  # noqa: ANN401
    found = compare(pipeline.ledger, number, of(pipeline), **more)
    assert found is not None
    return found


def of(pipeline: Pipeline) -> Any:  # noqa: ANN401
    with pytest.MonkeyPatch.context() as patch:
        for name, value in pipeline.environment.items():
            patch.setenv(name, value)
        settings.cache_clear()
        found = settings()
    settings.cache_clear()
    return found


def differing(found: Comparison) -> dict[str, tuple[str, ...]]:
    return {one.field: one.differs for one in found.fields if one.differs}


def test_all_sides_agree_after_a_sync(synced: Pipeline) -> None:
    found = compared(synced)

    assert (found.verdict, differing(found), found.differences) == ("same", {}, ())
    assert (found.siebel.row_id, found.siebel.status) == ("1-M-1", "Success")
    assert found.crowdtwist.is_active is True
    assert (found.ledger.state, found.ledger.status) == ("completed", "Success")
    assert found.ledger.acknowledged_at is not None


def test_what_siebel_has_now_and_nobody_told_us_is_a_missed_event(synced: Pipeline) -> None:
    seed(synced, **{"Contact First Name": "Zoe"})

    found = compared(synced, unmasked_for=ADA)

    assert (found.verdict, differing(found)) == ("different", {"first_name": ("siebel",)})
    assert [one.drift_class for one in found.differences] == ["missed_event"]
    (name,) = (one for one in found.fields if one.field == "first_name")
    assert (name.siebel, name.ledger, name.crowdtwist, name.acknowledged) == ("Zoe", "Ann", "Ann", "Ann")


def change_in_crowdtwist(pipeline: Pipeline, **changes: Any) -> None:  # noqa: ANN401
    url = f"{pipeline.sandbox.crowdtwist}/v2/users/M-1"
    query = {"api_key": "sandbox-key", "id_type": "third_party_id"}
    httpx.put(url, params=query, json=changes, trust_env=False, verify=TRUSTS_NOBODY).raise_for_status()


def test_what_was_changed_in_crowdtwist_is_told_from_what_it_showed_then(synced: Pipeline) -> None:
    change_in_crowdtwist(synced, last_name="Leigh")

    found = compared(synced)

    assert (found.verdict, differing(found)) == ("different", {"last_name": ("crowdtwist",)})
    assert [one.drift_class for one in found.differences] == ["changed_at_destination"]


def test_people_are_masked_unless_it_is_recorded_who_sees_them(synced: Pipeline) -> None:
    seed(synced, **{"Contact Last Name": "Quixote"})

    hidden = compared(synced)
    assert "Quixote" not in json.dumps(hidden.shown(), default=str)
    assert "m-1@example.org" not in json.dumps(hidden.shown(), default=str)
    with transaction(synced.ledger) as tx:
        assert audit.actions(tx, ActionFilter(what=("unmask",)), limit=5).items == []

    assert "Quixote" in json.dumps(compared(synced, unmasked_for=ADA).shown(), default=str)
    with transaction(synced.ledger) as tx:
        (action,) = audit.actions(tx, ActionFilter(what=("unmask",)), limit=5).items
    assert (action.who, action.asked) == ("ada", {"member": "M-1", "comparison": True})


@pytest.mark.parametrize(
    ("system", "kind", "details", "code"),
    [
        ("siebel", "status", {"status": 503}, "unavailable"),
        ("crowdtwist", "status", {"status": 401}, "unauthorised"),
        ("crowdtwist", "refuse", {}, "unreachable"),
        ("siebel", "hang", {}, "outcome_unknown"),
    ],
)
def test_a_side_that_cannot_be_read_says_why_and_the_others_are_shown(
    synced: Pipeline, system: str, kind: str, details: dict[str, Any], code: str
) -> None:
    synced.settings["MEMBERSYNC_SIEBEL__TIMEOUT_S"] = "0.5"
    synced.sandbox.control.fault(system, kind, **details)

    found = compared(synced)

    sides: dict[str, SiebelNow | CrowdTwistNow] = {"siebel": found.siebel, "crowdtwist": found.crowdtwist}
    broken, whole = sides.pop(system), next(iter(sides.values()))
    assert (found.verdict, found.differences) == ("unknown", ())
    assert (broken.found, broken.trouble and broken.trouble.code) == (None, code)
    assert (whole.found, whole.trouble) == (True, None)
    assert found.ledger.found


def test_an_answer_about_another_member_is_no_answer(synced: Pipeline) -> None:
    control = synced.sandbox.control
    row = {"Id": "1-M-2", "Member Number": "M-2", **ROW}
    control.fault("siebel", "status", status=200, body={"items": [row]}, method="GET")
    user = {**(control.user("M-1") or {}), "third_party_id": "M-2"}
    control.fault("crowdtwist", "status", status=200, body=user, method="GET")

    found = compared(synced)

    assert (found.siebel.found, found.crowdtwist.found) == (None, None)
    assert "not asked for" in str(found.siebel.trouble)
    assert "another member" in str(found.crowdtwist.trouble)
    assert [one.crowdtwist for one in found.fields if one.field == "first_name"] == [None]


def test_what_is_on_its_way_is_moving_and_no_difference(synced: Pipeline) -> None:
    seed(synced, **{"Contact First Name": "Zoe"})
    synced.send(member_event("M-1", 5, first_name="Zoe"))

    found = compared(synced)

    assert found.verdict == "moving"
    assert [one.state for one in found.ledger.on_its_way] == ["pending"]


def test_siebel_showing_another_status_than_it_was_told_lies(synced: Pipeline) -> None:
    seed(synced, **{"CT Sync Status": "CT Failure"})

    found = compared(synced)

    assert differing(found) == {"CT Sync Status": ("siebel",)}
    assert [one.drift_class for one in found.differences] == ["status_lies"]


def test_a_row_that_cannot_be_compared_says_which_field_is_at_fault(synced: Pipeline) -> None:
    seed(synced, **{"Date of Birth": "31/31/1979"})

    found = compared(synced)

    assert (found.verdict, found.siebel.found, found.siebel.is_member) == ("unknown", True, None)
    assert found.siebel.trouble is not None
    assert "Date of Birth" in found.siebel.trouble.message


def test_a_row_that_is_not_whole_says_all_that_is_missing_and_the_others_are_compared(synced: Pipeline) -> None:
    synced.sandbox.control.remove("M-1")
    synced.sandbox.control.seed({"member_number": "M-1", "row_id": "1-M-1", "Status": "Active"})

    found = compared(synced)

    lacks = "Contact First Name: is not among the fields of the row, nor are Contact Last Name, Email Address"
    assert found.means == (
        f"Siebel could not be compared (its row is flawed: {lacks}); CrowdTwist and the ledger agree."
    )


def test_a_member_that_only_siebel_has_was_never_sent_and_one_nobody_has_is_nobody(pipeline: Pipeline) -> None:
    seed(pipeline)

    found = compared(pipeline)

    assert (found.ledger.found, found.crowdtwist.found, found.siebel.found) == (False, False, True)
    assert [one.drift_class for one in found.differences] == ["never_sent"]
    assert compare(pipeline.ledger, "M-9", of(pipeline)) is None
    assert compare(pipeline.ledger, "M\0", of(pipeline)) is None


def test_a_member_that_siebel_and_crowdtwist_have_no_more(synced: Pipeline) -> None:
    synced.sandbox.control.remove("M-1")

    found = compared(synced)

    assert (found.verdict, found.siebel.found) == ("different", False)
    assert "Siebel has no such member" in found.means
    assert [one.drift_class for one in found.differences] == ["orphan"]


def test_the_calls_are_paid_for_in_the_bulk_lane_and_a_spent_budget_is_said(synced: Pipeline) -> None:
    synced.settings |= {
        "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE": "10",
        "MEMBERSYNC_CROWDTWIST__LIVE_SHARE": "0.8",
    }
    found = [compared(synced).crowdtwist.found for _ in range(4)]

    assert found[-1] is None
    assert "budget" in str(compared(synced).crowdtwist.trouble)


def test_of_a_connection_that_is_paused_nothing_is_asked(synced: Pipeline) -> None:
    connection_control.pause(synced.ledger, ADA, Stage.SIEBEL, "their window", of(synced))
    gets = synced.sandbox.control.state("siebel")["gets"]

    found = compared(synced)

    assert found.siebel.trouble is not None
    assert found.siebel.trouble.code == "paused"
    assert synced.sandbox.control.state("siebel")["gets"] == gets
    assert found.crowdtwist.found is True


def test_the_command_shows_all_sides_and_as_json_one_object(
    synced: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in synced.environment.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    membersync = Terminal(capsys)

    shown = membersync("compare", "M-1")
    assert shown.code == 0
    for words in ("same", "Siebel", "CrowdTwist", "ledger", "first_name", "A***", "CT Sync Status"):
        assert words in shown.out

    document = json.loads(membersync("compare", "M-1", "--json").out)
    assert (document["member_number"], document["verdict"]) == ("M-1", "same")
    assert {"siebel", "crowdtwist", "ledger", "fields", "differences", "at"} <= document.keys()
    assert " ".join(document["fields"][1]) == "field siebel crowdtwist ledger acknowledged differs unsent"
    rows = {one["field"]: one for one in document["fields"]}
    assert (rows["status"]["crowdtwist"], rows["status"]["ledger"]) == ("Active", "Active")
    assert (rows["country_code"]["ledger"], rows["country_code"]["unsent"]) == ("US", True)
    assert "not sent" in shown.out

    nobody = membersync("compare", "M-9", "--json")
    assert (nobody.code, nobody.out) == (1, "")
    settings.cache_clear()


def test_the_api_compares_masked_but_for_who_may_see_people(synced: Pipeline) -> None:
    with console(of(synced)) as client:
        for token, name in (("tok-vera", "A***"), ("tok-ada", "Ann")):
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            answer = client.get("/v1/members/M-1/comparison", headers=headers)
            assert answer.status_code == 200
            (first,) = (one for one in answer.json()["fields"] if one["field"] == "first_name")
            assert first["crowdtwist"] == name
        assert client.get("/v1/members/M-9/comparison", headers=headers).json()["code"] == "no_such_member"
        assert client.get("/v1/members/M-1/comparison", headers={"Accept": "application/json"}).status_code == 401


def test_compare_now_on_the_members_page(synced: Pipeline) -> None:
    seed(synced, **{"Contact First Name": "Zoe"})
    with console(of(synced)) as client:
        logged_in(client, "tok-vera")
        address = link(client.get("/members/M-1"), "Compare now")
        page = said(client.get(address))
        for words in ("Different : Siebel's row is newer", "missed event", "Z***", "Back to the member"):
            assert words in page
        assert "Zoe" not in page
        assert post(client, "/members/M-1", address, people="1").status_code == 403
        assert client.get("/members/M-9/comparison").status_code == 404

        client.cookies.clear()
        logged_in(client, "tok-ada")
        assert "Zoe" in said(post(client, address, address))
    assert synced.sql("select who, denied from operator_action where what = 'unmask' order by id") == [
        ("vera", True),
        ("ada", False),
    ]

"""The siebel stage against its simulator: what the member shows, and what Siebel can do to stop it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sandbox.server import RunningSandbox, SandboxControl, running_sandbox
from shared.errors import (
    DataError,
    OutcomeUnknownError,
    RowConflictError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.instances import Done, Failed, Work
from shared.pipeline import Stage
from shared.settings import Settings, SiebelSettings
from tests.siebel_stage import SUCCESS, TAKEN, attempt, done, failed, many, settings_of, shown
from tests.stages import try_connection
from workers.stages.siebel import texts


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def control(sandbox: RunningSandbox) -> SandboxControl:
    sandbox.control.reset("siebel")
    sandbox.control.set("siebel", auto_members=False)
    sandbox.control.seed(*({"member_number": f"296-{n}", "row_id": f"1-R{n}"} for n in range(1, 131)))
    return sandbox.control


@pytest.fixture
def settings(sandbox: RunningSandbox) -> Settings:
    return settings_of(sandbox)


def test_a_success_is_shown_without_an_error(settings: Settings, control: SandboxControl) -> None:
    result = done(settings, SUCCESS)
    assert shown(control) == ("Success", "")
    assert result.facts == {"row_id": "1-R1", "told_status": "Success", "told_error": ""}
    assert [(call.method, call.url) for call in result.calls] == [
        ("PUT", "/siebel/v1.0/data/LOY%20Member/LOY%20Member/1-R1")
    ]


def test_a_failure_is_shown_with_its_cause_and_instance(settings: Settings, control: SandboxControl) -> None:
    done(settings, TAKEN)
    assert shown(control) == ("Data Error", "Email Address is already taken [instance 12]")
    done(settings, SUCCESS)
    assert shown(control) == ("Success", "")


def test_the_words_are_settable(sandbox: RunningSandbox, control: SandboxControl) -> None:
    details = {"success_status": "Synced", "status_field": "CT Sync State", "business_component": "LOY Member"}
    done(settings_of(sandbox, **details), SUCCESS)
    member = control.member("296-1")
    assert member is not None
    assert member["fields"]["CT Sync State"] == "Synced"


@given(st.text(max_size=400), st.integers(1, 10**12), st.integers(40, 300))
def test_the_text_fits_and_names_the_instance_whole(error: str, instance_id: int, longest: int) -> None:
    work = replace(TAKEN, error=error, instance_id=instance_id)
    _, text = texts(work, SiebelSettings(error_max_length=longest))
    assert len(text) <= longest
    assert text.endswith(f"[instance {instance_id}]")
    assert "\n" not in text


@pytest.mark.parametrize("told", [("Success", ""), ("Success", None)])
def test_what_siebel_shows_already_is_not_written(
    settings: Settings, control: SandboxControl, told: tuple[str, str | None]
) -> None:
    work = replace(SUCCESS, told_status=told[0], told_error=told[1])
    assert done(settings, work).what == "Siebel shows it already"
    assert done(settings, replace(work, row_id=None)).calls == ()
    assert control.state("siebel")["calls_total"] == 0


def test_always_write_writes_it_all_the_same(sandbox: RunningSandbox, control: SandboxControl) -> None:
    done(settings_of(sandbox, always_write=True), replace(SUCCESS, told_status="Success", told_error=""))
    assert control.state("siebel")["puts"] == 1


def test_a_row_id_is_looked_up_by_member_number(settings: Settings, control: SandboxControl) -> None:
    result = done(settings, replace(SUCCESS, row_id=None))
    assert [call.method for call in result.calls] == ["GET", "PUT"]
    assert result.facts["row_id"] == "1-R1"
    assert shown(control) == ("Success", "")


@pytest.mark.parametrize("as_object", [True, False])
def test_quotes_in_a_member_number_are_safe(settings: Settings, control: SandboxControl, *, as_object: bool) -> None:
    control.set("siebel", single_as_object=as_object)
    number = "O'Neil' OR [Id] LIKE '*"
    control.seed({"member_number": number, "row_id": "1-Q"})
    assert done(settings, replace(SUCCESS, member_number=number, row_id=None)).facts["row_id"] == "1-Q"
    assert shown(control, number) == ("Success", "")


@pytest.mark.parametrize("empty", [204, 404])
def test_no_member_for_the_number_is_a_data_error(settings: Settings, control: SandboxControl, empty: int) -> None:
    control.set("siebel", empty_query=empty)
    result = failed(settings, replace(SUCCESS, member_number="nobody", row_id=None))
    assert type(result.error) is DataError
    assert result.error.what == "no member with this Member Number"
    assert control.state("siebel")["puts"] == 0


def test_an_object_name_that_siebel_does_not_know_is_no_data_error(
    sandbox: RunningSandbox, control: SandboxControl
) -> None:
    wrong = settings_of(sandbox, business_component="Loy Mebmer")
    for work in (SUCCESS, replace(SUCCESS, row_id=None)):
        assert type(failed(wrong, work).error) is UnavailableError
    assert control.state("siebel")["puts"] == 1


def test_a_remembered_row_that_is_gone_is_looked_up_again(settings: Settings, control: SandboxControl) -> None:
    gone = {"ERROR": "There is no data for the requested resource"}
    control.fault("siebel", "status", method="PUT", status=404, body=gone, times=1)
    result = done(settings, SUCCESS)
    assert [call.method for call in result.calls] == ["PUT", "GET", "PUT"]


@pytest.mark.parametrize("proven", [None, "1-R1"])
def test_a_row_of_another_member_is_not_written_whatever_the_event_says(
    settings: Settings, control: SandboxControl, proven: str | None
) -> None:
    done(settings, replace(SUCCESS, member_number="296-2", row_id="1-R2"))
    result = done(settings, replace(TAKEN, row_id=proven, claimed_row_id="1-R2"))
    assert result.facts["row_id"] == "1-R1", "only what was proven is remembered"
    assert shown(control) == ("Data Error", "Email Address is already taken [instance 12]")
    assert shown(control, "296-2") == ("Success", "")


def test_two_members_that_claim_one_row_are_told_each_on_its_own_also_in_an_array(
    settings: Settings, control: SandboxControl
) -> None:
    works = many(3, claimed_row_id="1-R2")
    works = [replace(work, row_id=None if number else work.row_id) for number, work in enumerate(works)]
    results = attempt(settings, *works, replace(TAKEN, row_id=None, member_number="296-4", claimed_row_id="1-R2"))
    assert [result.facts["row_id"] for result in results] == [f"1-R{number}" for number in (1, 2, 3, 4)]
    assert [shown(control, f"296-{number}")[0] for number in (1, 2, 3, 4)] == ["Success"] * 3 + ["Data Error"]


def test_a_claimed_row_is_proven_once_and_then_remembered(settings: Settings, control: SandboxControl) -> None:
    first = done(settings, replace(SUCCESS, row_id=None, claimed_row_id="1-R1"))
    assert ([call.method for call in first.calls], first.facts["row_id"]) == (["GET", "PUT"], "1-R1")
    assert [call.method for call in done(settings, replace(SUCCESS, claimed_row_id="1-R1")).calls] == ["PUT"]
    assert shown(control) == ("Success", "")


def test_a_new_row_of_the_member_does_not_show_what_the_old_one_did(
    settings: Settings, control: SandboxControl
) -> None:
    told = replace(SUCCESS, told_status="Success", told_error="")
    assert done(settings, replace(told, claimed_row_id="1-R1")).calls == ()
    control.seed({"member_number": "296-1", "row_id": "1-NEW"})
    assert done(settings, replace(told, claimed_row_id="1-NEW")).facts["row_id"] == "1-NEW"
    assert control.call("GET", "siebel/members", row_id="1-NEW").json()["status"] == "Success"


def test_a_wrong_claim_does_not_write_again_what_the_proven_row_shows(
    settings: Settings, control: SandboxControl
) -> None:
    work = replace(SUCCESS, claimed_row_id="1-R2", told_status="Success", told_error="")
    assert [call.method for call in done(settings, work).calls] == ["GET"]
    assert control.state("siebel")["puts"] == 0


def test_of_several_rows_of_a_member_the_claimed_one_is_told(settings: Settings, control: SandboxControl) -> None:
    rows = [{"Id": "1-R1", "Member Number": "296-1"}, {"Id": "1-NEW", "Member Number": "296-1"}]
    control.seed({"member_number": "296-9", "row_id": "1-NEW"})
    control.fault("siebel", "status", method="GET", status=200, body={"items": rows})
    assert done(settings, replace(SUCCESS, row_id=None, claimed_row_id="1-NEW")).facts["row_id"] == "1-NEW"
    assert type(failed(settings, replace(SUCCESS, row_id=None, claimed_row_id="1-R7")).error) is DataError


def test_many_go_in_requests_of_a_hundred(settings: Settings, control: SandboxControl) -> None:
    works = many(130)
    works[3] = replace(works[3], row_id=None)
    results = attempt(settings, *works)
    assert all(isinstance(result, Done) for result in results)
    assert [result.facts["row_id"] for result in results] == [f"1-R{n}" for n in range(1, 131)]
    assert control.state("siebel")["puts"] == 2
    assert control.state("siebel")["gets"] == 1
    assert all(shown(control, work.member_number) == ("Success", "") for work in works)
    assert results[0].calls[-1].request == {"Id": "1-R1", "CT Sync Status": "Success", "CT Sync Error": ""}


def test_a_row_is_never_twice_in_a_request_and_the_later_one_stays(settings: Settings, control: SandboxControl) -> None:
    results = attempt(settings, *many(3), replace(TAKEN, member_number="296-1"), replace(SUCCESS, row_id="1-R2"))
    assert all(isinstance(result, Done) for result in results)
    assert [call["method"] for call in control.calls("siebel")] == ["PUT", "PUT"]
    assert shown(control) == ("Data Error", "Email Address is already taken [instance 12]")


@pytest.mark.parametrize(("status", "expected"), [(400, DataError), (500, UnavailableError), (404, UnavailableError)])
def test_one_bad_member_does_not_stop_the_others(
    settings: Settings, control: SandboxControl, status: int, expected: type[StageError]
) -> None:
    control.fault("siebel", "siebel_error", member="296-2", status=status, text="Bad value", code="SBL-DAT-00225")
    first, second, third = attempt(settings, *many(3))
    assert isinstance(first, Done)
    assert isinstance(third, Done)
    assert isinstance(second, Failed)
    assert type(second.error) is expected
    assert "SBL-DAT-00225" in second.error.what
    assert shown(control, "296-3") == ("Success", "")


def test_one_member_that_is_not_there_does_not_stop_the_others(settings: Settings, control: SandboxControl) -> None:
    works = many(3)
    works[1] = replace(works[1], member_number="nobody", row_id=None)
    first, second, third = attempt(settings, *works)
    assert isinstance(first, Done)
    assert isinstance(second, Failed)
    assert isinstance(third, Done)
    assert control.state("siebel")["puts"] == 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("times", [1, 2])
def test_a_row_changed_by_another_is_read_again_and_written_at_once(
    settings: Settings, control: SandboxControl, times: int, count: int
) -> None:
    control.fault("siebel", "siebel_error", member="296-1", method="PUT", times=times)
    assert all(isinstance(result, Done) for result in attempt(settings, *many(count)))
    assert shown(control) == ("Success", "")


def test_a_row_that_is_always_changed_by_another_waits(settings: Settings, control: SandboxControl) -> None:
    control.fault("siebel", "siebel_error", method="PUT")
    result = failed(settings, SUCCESS)
    assert type(result.error) is RowConflictError, "a row conflict is no word about the system"
    assert [call.method for call in result.calls] == ["PUT", "GET"] * 3


SIEBEL_FAILURES: list[tuple[dict[str, Any], type[StageError]]] = [
    ({"kind": "refuse"}, UnreachableError),
    ({"kind": "hang"}, OutcomeUnknownError),
    ({"kind": "drop"}, OutcomeUnknownError),
    ({"kind": "drop_after"}, OutcomeUnknownError),
    ({"kind": "status", "status": 401}, UnauthorisedError),
    ({"kind": "status", "status": 403}, UnauthorisedError),
    ({"kind": "status", "status": 408}, UnavailableError),
    ({"kind": "throttle", "retry_after": 7}, ThrottledError),
    ({"kind": "status", "status": 500}, UnavailableError),
    ({"kind": "html", "status": 500}, UnavailableError),
    ({"kind": "status", "status": 502}, UnavailableError),
    ({"kind": "maintenance"}, UnavailableError),
    ({"kind": "html"}, UnavailableError),
    ({"kind": "html", "status": 404}, UnavailableError),
    ({"kind": "garbage"}, UnavailableError),
]


@pytest.mark.parametrize(("fault", "expected"), SIEBEL_FAILURES, ids=lambda part: str(part)[:60])
@pytest.mark.parametrize("works", [many(1), many(3), many(2, row_id=None)], ids=["one", "many", "looked up"])
def test_siebel_failures(
    settings: Settings, control: SandboxControl, works: list[Work], fault: dict[str, Any], expected: type[StageError]
) -> None:
    control.fault("siebel", **fault)
    results = attempt(settings, *works)
    assert [type(result.error) for result in results if isinstance(result, Failed)] == [expected] * len(works)
    assert all(result.took_ms < 1000 for result in results)


def test_basic_and_bearer_are_accepted_and_recorded_nowhere(sandbox: RunningSandbox, control: SandboxControl) -> None:
    result = done(settings_of(sandbox, token="sandbox-token"), SUCCESS)
    assert "sandbox-token" not in str(result)
    assert type(failed(settings_of(sandbox, password="wrong"), SUCCESS).error) is UnauthorisedError
    assert control.state("siebel")["puts"] == 2


def test_an_address_in_the_cause_is_masked_in_the_record_only(settings: Settings, control: SandboxControl) -> None:
    result = done(settings, replace(TAKEN, error="andy@example.org is already taken"))
    assert "andy" not in str(result.calls)
    assert shown(control)[1] == "andy@example.org is already taken [instance 12]"


def test_the_connection_test(sandbox: RunningSandbox, control: SandboxControl) -> None:
    def test(**details: str) -> None:
        try_connection(Stage.SIEBEL, settings_of(sandbox, **details))

    test()
    with pytest.raises(UnauthorisedError):
        test(password="wrong")
    with pytest.raises(UnavailableError):
        test(business_object="Nonsense")
    control.fault("siebel", "refuse")
    with pytest.raises(UnreachableError):
        test()
    control.reset("siebel")
    test()
    for body in ({}, {"items": 5}, {"items": [{"Id": 1}]}):
        fault = control.fault("siebel", "status", status=200, body=body)
        with pytest.raises(UnavailableError):
            test()
        control.heal("siebel", fault)


def told_before(text: str, **details: Any) -> Work:  # noqa: ANN401 - fields of many types
    return replace(TAKEN, told_status="Data Error", told_error=text, **({"told_of_this": True} | details))


LONG = "Email Address is already taken, as is " + "quite a long word " * 20


@pytest.mark.parametrize(
    "work",
    [
        told_before("Email Address is already taken [instance 9]"),
        told_before("Request 4712 failed [instance 9]", error="Request 4713 failed"),
        told_before(LONG[:236].rstrip() + "… [instance 9]", error=LONG),
        told_before("[instance 9]", error=""),
    ],
)
def test_the_same_for_the_same_content_is_not_told_with_another_instance(settings: Settings, work: Work) -> None:
    result = done(settings, work)
    assert not result.calls
    assert result.facts["told_error"] == work.told_error


@pytest.mark.parametrize(
    "work",
    [
        told_before("Email Address is already taken [instance 9]", told_of_this=False),
        told_before("Email Address is already taken [instance 9]", event={"force": True}),
        told_before("Email Address is already taken [instance 9]", must_call=True),
        told_before("Last Name is required [instance 9]"),
        told_before("answered HTTP 502 [instance 9]", error="answered HTTP 503"),
        told_before(LONG[:100].rstrip() + " no such word… [instance 9]", error=LONG),
        replace(told_before("Email Address is already taken [instance 9]"), told_status="CT Failure"),
        replace(TAKEN, told_of_this=True),
    ],
)
def test_whatever_else_is_to_be_told_is_told(settings: Settings, control: SandboxControl, work: Work) -> None:
    assert done(settings, work).calls
    assert shown(control)[1].endswith("[instance 12]")

"""Siebel's answers, as the siebel stage reads them: by code, and by the rows that they name."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from deploy.sandbox.server import RunningSandbox, SandboxControl, running_sandbox
from shared.errors import DataError, UnavailableError
from shared.instances import Done, Failed
from shared.settings import Settings
from tests.siebel_stage import SUCCESS, attempt, done, failed, many, settings_of, shown


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


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.parametrize(
    "said",
    [
        "Es sind keine Daten vorhanden.(SBL-EAI-04378)",
        "No rows retrieved corresponding to the business component 'LOY Member'(SBL-EAI-04378)",
    ],
)
def test_a_missing_record_is_told_by_its_code_in_any_language(
    settings: Settings, control: SandboxControl, said: str, status: int
) -> None:
    fault = control.fault("siebel", "status", method="PUT", status=status, body={"ERROR": said}, times=1)
    assert [call.method for call in done(settings, SUCCESS).calls] == ["PUT", "GET", "PUT"]
    control.heal("siebel", fault)
    control.fault("siebel", "status", method="GET", status=status, body={"ERROR": said})
    result = failed(settings, replace(SUCCESS, row_id=None))
    assert (type(result.error), result.error.what) == (DataError, "no member with this Member Number")


@pytest.mark.parametrize(
    "body",
    [{"ERROR": "Es sind keine Daten vorhanden."}, {"ERROR": "No such object (SBL-DAT-00144)"}, {"ERROR": "?"}],
    ids=str,
)
def test_any_404_to_a_write_is_asked_about_and_none_to_a_question_is_an_absence(
    settings: Settings, control: SandboxControl, body: dict[str, str]
) -> None:
    control.fault("siebel", "status", status=404, body=body, method="PUT", times=1)
    done(settings, SUCCESS)
    control.fault("siebel", "status", status=404, body=body)
    for work in (SUCCESS, replace(SUCCESS, row_id=None)):
        result = failed(settings, work)
        assert type(result.error) is UnavailableError
        assert result.calls[-1].method == "GET"


NO_ROWS: list[Any] = [
    {},
    {"items": 5},
    {"items": None},
    {"items": "x"},
    {"items": [5]},
    {"items": [[]]},
    {"items": {"Id": 5, "Member Number": "296-1"}},
    {"items": {"Id": "", "Member Number": "296-1"}},
    {"items": {"Id": "1-\0", "Member Number": "296-1"}},
    {"items": {"Id": "1" * 200, "Member Number": "296-1"}},
    {"items": {"Member Number": "296-1"}},
    {"items": [{"Id": "1-R1", "Member Number": 296}]},
    {"items": {"Id": "1-R2", "Member Number": "296-2"}},
    [{"Id": "1-R2", "Member Number": "296-2"}],
    {"Id": "1-R1"},
    *(
        {"items": [{"Id": f"1-R{n}"} for n in range(1, 4)], "ERROR": error}
        for error in ("No.", ["No."], {"No": 1}, True)
    ),
    [],
]


@pytest.mark.parametrize("body", NO_ROWS, ids=lambda body: str(body)[:60])
def test_an_answer_that_is_not_about_the_row_is_a_failure_of_the_system(
    settings: Settings, control: SandboxControl, body: object
) -> None:
    control.fault("siebel", "status", status=200, body=body)
    for works in ([SUCCESS], many(3)[::2]):
        for result in attempt(settings, *works):
            assert isinstance(result, Failed)
            assert type(result.error) is UnavailableError
            assert result.facts["unknown_outcome"] is True
    looked_up = failed(settings, replace(SUCCESS, row_id=None))
    assert type(looked_up.error) is (DataError if body == [] else UnavailableError)
    assert [call.method for call in looked_up.calls] == ["GET"]
    assert "unknown_outcome" not in looked_up.facts


def test_a_look_up_takes_no_row_that_was_not_asked_for(settings: Settings, control: SandboxControl) -> None:
    work = replace(SUCCESS, row_id=None)
    ours, other = {"Id": "1-R1", "Member Number": "296-1"}, {"Id": "1-R2", "Member Number": "296-2"}
    for items in ([other], [other, other], [{"Id": "1-R1"}]):
        fault = control.fault("siebel", "status", status=200, body={"items": items}, method="GET")
        assert type(failed(settings, work).error) is UnavailableError
        control.heal("siebel", fault)
    control.fault("siebel", "status", status=200, body={"items": [other, ours]}, method="GET")
    assert done(settings, work).facts["row_id"] == "1-R1"


def test_who_is_not_in_the_answer_to_many_is_written_alone(settings: Settings, control: SandboxControl) -> None:
    rows: list[Any] = [{"Id": "1-R1"}, 5, {"Id": "1-R2", "Member Number": "another"}, {"Id": "1-R9"}]
    rows += [{"Id": "1-R4", "ERROR": "Not written.(SBL-DAT-00225)"}, {"Id": "1-R5", "ERROR": ""}]
    control.fault("siebel", "status", status=200, body=rows, times=1)
    results = attempt(settings, *many(5))
    assert all(isinstance(result, Done) for result in results)
    assert [[call.url[-4:] for call in result.calls] for result in results] == [
        ["mber"],
        ["mber", "1-R2"],
        ["mber", "1-R3"],
        ["mber", "1-R4"],
        ["mber"],
    ]
    assert (shown(control, "296-2"), shown(control, "296-3")) == (("Success", ""), ("Success", ""))


@pytest.mark.usefixtures("control")
def test_each_member_keeps_its_own_part_of_an_answer_to_many(settings: Settings) -> None:
    results = attempt(settings, *many(60))
    for n, result in enumerate(results, 1):
        (call,) = result.calls
        assert (call.request["Id"], call.response["Id"]) == (f"1-R{n}", f"1-R{n}")
        assert f"1-R{n % 60 + 1}'" not in str(call)


def test_the_words_of_a_refusal_of_many_are_kept_for_none_of_them(settings: Settings, control: SandboxControl) -> None:
    body = {"ERROR": "Carla Diaz (03/04/1980) is not valid.(SBL-DAT-00225)"}
    control.fault("siebel", "status", status=400, body=body, times=1)
    first, second = attempt(settings, *many(2))
    for result in (first, second):
        assert isinstance(result, Done)
        assert result.calls[0].response == {"ERROR": "SBL-DAT-00225"}
        assert "Carla" not in str(result)


def test_many_whose_answer_cannot_be_read_are_written_one_by_one(settings: Settings, control: SandboxControl) -> None:
    control.fault("siebel", "garbage", times=1)
    assert all(isinstance(result, Done) for result in attempt(settings, *many(5)))
    assert shown(control, "296-5") == ("Success", "")

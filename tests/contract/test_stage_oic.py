"""The oic stage: here, and against the simulator of Oracle Integration; every row of spec section 3."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from deploy.sandbox.server import RunningSandbox, SandboxControl, running_sandbox
from shared.errors import (
    DataError,
    OutcomeUnknownError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.instances import Done, Failed, Result, Work
from shared.pipeline import Stage
from shared.settings import OicSettings, Settings, SiebelSettings
from shared.systems.oic import map_member
from tests.stages import attempted, opened, try_connection

NUMBER = "296-180296399"
EVENT: dict[str, Any] = {
    "event_id": "1-4XYZ-1",
    "operation": "update",
    "occurred_at": "2026-11-23T08:51:00+00:00",
    "modification": 7,
    "member": {
        "member_number": NUMBER,
        "row_id": "1-2AB3",
        "program_id": "1-PROG",
        "member_type": "Individual",
        "status": "Active",
        "language": "en",
        "first_name": "Andy",
        "last_name": "Cole",
        "middle_name": None,
        "date_of_birth": "1979-11-29",
        "email_address": "andy.cole@example.org",
        "postal_code": "10010",
        "city": "New York",
        "country_code": "US",
        "gender": "M",
    },
}
WORK = Work(1, 1, 1, NUMBER, "update", EVENT)
NAMELESS = replace(WORK, event=EVENT | {"member": EVENT["member"] | {"last_name": None}})
TRIGGER = "/ic/api/integration/v1/flows/rest/ORCL-BA-SIEBEL_LOY_CT_MEMBERSYNC/1.0/members"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def control(sandbox: RunningSandbox) -> SandboxControl:
    sandbox.control.reset("oic")
    return sandbox.control


@pytest.fixture(params=["oauth2", "basic"])
def remote(request: pytest.FixtureRequest, sandbox: RunningSandbox) -> Settings:
    return remote_of(sandbox, request.param)


@pytest.fixture
def oauth2(sandbox: RunningSandbox) -> Settings:
    return remote_of(sandbox, "oauth2")


def remote_of(sandbox: RunningSandbox, auth: str, **details: Any) -> Settings:  # noqa: ANN401 - settings of many types
    known: dict[str, Any] = {"mode": "remote", "base_url": sandbox.oic, "timeout_s": 5}
    if auth == "oauth2":
        known |= {"token_url": f"{sandbox.oic}/oauth2/v1/token", "client_id": "membersync", "client_secret": "secret"}
    else:
        known |= {"username": "oic", "password": "oic-password"}
    return Settings(oic=OicSettings(**(known | details)))


def attempt(settings: Settings, *works: Work) -> list[Result]:
    return attempted(Stage.OIC, settings, works)


def done(settings: Settings, work: Work = WORK) -> Done:
    (result,) = attempt(settings, work)
    assert isinstance(result, Done), result
    return result


def failed(settings: Settings, work: Work = WORK) -> Failed:
    (result,) = attempt(settings, work)
    assert isinstance(result, Failed), result
    return result


def test_the_builtin_flow_answers_each_in_order() -> None:
    mapped, refused = attempt(Settings(oic=OicSettings()), WORK, NAMELESS)
    assert isinstance(mapped, Done)
    assert mapped.facts["user"] == map_member(EVENT, OicSettings())
    assert isinstance(refused, Failed)
    assert type(refused.error) is DataError
    assert refused.error.what == "Contact Last Name is missing"


def test_the_remote_flow_gives_the_user_and_its_instance(remote: Settings, control: SandboxControl) -> None:
    result = done(remote)
    assert result.facts["oic_instance_id"]
    ours = map_member(EVENT, OicSettings())
    theirs = result.facts["user"]
    assert {field: ours[field] for field in theirs if field != "country_code"} == {
        field: value for field, value in theirs.items() if field != "country_code"
    }
    assert control.state("oic")["instances"] == 1
    assert [call.url for call in result.calls] == [TRIGGER]


def test_the_message_is_what_siebel_would_send(remote: Settings, control: SandboxControl) -> None:
    (call,) = done(remote).calls
    message = call.request["SiebelMessage"]
    assert (message["IntObjectName"], message["MessageId"]) == ("CT LOY Member", "1-4XYZ-1")
    (member,) = message["ListOfCT LOY Member"]["LOY Member"]
    assert (member["Id"], member["Mod Id"], member["Updated"]) == ("1-2AB3", "7", "11/23/2026 08:51:00")
    (contact,) = member["ListOfContact"]["Contact"]
    assert (contact["Contact Middle Name"], contact["Contact Last Name"]) == ("", "C***")
    assert "Cole" not in str(call)
    assert control.state("oic")["instances"] == 1


def test_siebel_labels_and_zone_are_settable(sandbox: RunningSandbox, control: SandboxControl) -> None:
    siebel = SiebelSettings(field_names={"modification": "Modification Number"}, timezone="Europe/Berlin")
    (call,) = done(remote_of(sandbox, "basic").model_copy(update={"siebel": siebel})).calls
    (member,) = call.request["SiebelMessage"]["ListOfCT LOY Member"]["LOY Member"]
    assert (member["Modification Number"], member["Updated"]) == ("7", "11/23/2026 09:51:00")
    assert control.state("oic")["instances"] == 1


def test_a_member_that_oic_cannot_map_is_a_data_error_in_its_words(remote: Settings, control: SandboxControl) -> None:
    result = failed(remote, NAMELESS)
    assert type(result.error) is DataError
    assert result.error.what == "Contact Last Name is missing"
    assert control.state("oic")["instances"] == 0


def test_an_incomplete_member_can_be_deleted(remote: Settings, control: SandboxControl) -> None:
    deleted = replace(NAMELESS, operation="delete", event={**NAMELESS.event, "operation": "delete"})
    assert done(remote, deleted).facts["user"] == {"third_party_id": NUMBER, "is_active": 0}
    assert control.state("oic")["instances"] == 0


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"title": "Bad Request", "detail": "No last name"}, "No last name"),
        (422, {"title": "Unprocessable"}, "Unprocessable"),
        (400, {"o:errorCode": "400", "o:title": "Old style"}, "Old style"),
        (400, {"title": "Bad Request", "errorCode": "400"}, "Bad Request"),
    ],
)
def test_400_and_422_are_data_errors(
    oauth2: Settings, control: SandboxControl, status: int, body: dict[str, str], reason: str
) -> None:
    control.fault("oic", "status", path="/ic/", status=status, body=body)
    result = failed(oauth2)
    assert type(result.error) is DataError
    assert result.error.what == reason


USER = {"third_party_id": NUMBER, "first_name": "Andy", "last_name": "Cole"}
WRONG: list[dict[str, object]] = [
    {"first_name": ["Andy"]},
    {"last_name": "Co\0le"},
    {"last_name": "C" * 1001},
    {"date_of_birth": "312681600"},
    {"date_of_birth": 2**62},
    {"date_of_birth": 1.5},
    {"city_id": 2**64 - 1},
    {"city_id": "1"},
    {"gender_id": True},
    {"is_active": 2},
    {"is_active": "1"},
    {"custom_data": {"a": 1}},
    {"extra": 10**30},
    {str(n): "x" * 1000 for n in range(100)},
]
"""What no field of a CrowdTwist user holds."""
NOT_OICS_OWN: list[object] = [
    {},
    [],
    {"message": "no Route matched with those values"},
    {"error": "bad_request", "message": "Malformed"},
    {"error": "invalid_request", "error_description": "Malformed"},
    {"detail": "Field required"},
    {"title": 400},
    {"title": " ", "detail": "x"},
]
"""What gateways say with 400 or 422."""
NO_USERS: list[object] = [
    None,
    5,
    [],
    "x",
    {"third_party_id": [NUMBER]},
    *({"third_party_id": NUMBER} | wrong for wrong in WRONG),
]
NO_IDS: list[object] = ["", "a\0b", "a b", "x" * 200, 2**64 - 1, True, ["1"], {}]
OIC_FAILURES: list[tuple[dict[str, Any], type[StageError]]] = [
    ({"kind": "refuse"}, UnreachableError),
    ({"kind": "hang"}, OutcomeUnknownError),
    ({"kind": "drop"}, OutcomeUnknownError),
    ({"kind": "drop_after"}, OutcomeUnknownError),
    ({"kind": "status", "status": 401}, UnauthorisedError),
    ({"kind": "status", "status": 403}, UnauthorisedError),
    ({"kind": "status", "status": 404}, UnavailableError),
    ({"kind": "html", "status": 404}, UnavailableError),
    ({"kind": "status", "status": 408}, UnavailableError),
    ({"kind": "status", "status": 409}, UnavailableError),
    ({"kind": "throttle", "retry_after": 7}, ThrottledError),
    ({"kind": "status", "status": 500}, UnavailableError),
    ({"kind": "status", "status": 503}, UnavailableError),
    ({"kind": "maintenance"}, UnavailableError),
    ({"kind": "html", "status": 400}, UnavailableError),
    ({"kind": "html"}, UnavailableError),
    ({"kind": "garbage"}, UnavailableError),
    ({"kind": "status", "status": 202, "body": {}}, UnavailableError),
    ({"kind": "status", "status": 200, "body": {"user": {"third_party_id": "another"}}}, UnavailableError),
    *(
        ({"kind": "status", "status": code, "body": body}, UnavailableError)
        for code in (400, 422)
        for body in NOT_OICS_OWN
    ),
    ({"kind": "status", "status": 400, "body": {"type": "about:blank", "title": "Bad Request"}}, UnavailableError),
    *(({"kind": "status", "status": 200, "body": {"user": user}}, UnavailableError) for user in NO_USERS),
    *(({"kind": "status", "status": 200, "body": {"user": USER, "instanceId": no}}, UnavailableError) for no in NO_IDS),
]


@pytest.mark.parametrize(("fault", "expected"), OIC_FAILURES, ids=lambda part: str(part)[:60])
def test_oic_failures(
    remote: Settings, control: SandboxControl, fault: dict[str, Any], expected: type[StageError]
) -> None:
    control.fault("oic", **(fault if fault["kind"] == "refuse" else fault | {"path": "/ic/"}))
    patience_s = 0.5 if fault["kind"] == "hang" else remote.oic.timeout_s
    impatient = remote.model_copy(update={"oic": remote.oic.model_copy(update={"timeout_s": patience_s})})
    assert type(failed(impatient).error) is expected


def test_a_mapped_user_that_is_nested_without_end_is_an_oic_failure(oauth2: Settings, control: SandboxControl) -> None:
    for depth in (60, 300, 900):
        nested = "[" * depth + "]" * depth
        body = f'{{"user": {{"third_party_id": "{NUMBER}", "x": {nested}}}, "y": {nested}}}'
        fault = control.fault("oic", "status", path="/ic/", status=200, body=body)
        assert type(failed(oauth2).error) is UnavailableError
        control.heal("oic", fault)


def test_plain_fields_that_the_flow_adds_are_sent_on(oauth2: Settings, control: SandboxControl) -> None:
    user = USER | {"receive_email_updates": 1, "sign_up_channel_id": "7", "is_active": 0}
    control.fault("oic", "status", path="/ic/", status=200, body={"user": user, "instanceId": 12})
    assert done(oauth2).facts == {"user": user, "oic_instance_id": "12"}


def test_an_integration_that_is_not_active_is_an_oic_failure(remote: Settings, control: SandboxControl) -> None:
    control.set("oic", active=False)
    result = failed(remote)
    assert type(result.error) is UnavailableError
    assert "not active" in result.error.what


def test_a_revoked_token_is_replaced_once(oauth2: Settings, control: SandboxControl) -> None:
    async def run() -> list[Result]:
        async with opened(Stage.OIC, oauth2) as stage:
            first = await stage.run([WORK])
            control.revoke_tokens()
            return [*first, *await stage.run([WORK])]

    first, second = asyncio.run(run())
    assert [call.http_status for call in first.calls] == [200]
    assert [call.http_status for call in second.calls] == [401, 200]
    assert isinstance(second, Done)


def test_a_call_that_stays_unauthorised_is_made_twice(oauth2: Settings, control: SandboxControl) -> None:
    control.fault("oic", "status", path="/ic/", status=401)
    assert [call.http_status for call in failed(oauth2).calls] == [401, 401]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 401}, UnauthorisedError),
        ({"kind": "maintenance"}, UnavailableError),
        ({"kind": "drop"}, UnavailableError),
        ({"kind": "garbage"}, UnavailableError),
        ({"kind": "throttle", "retry_after": 7}, ThrottledError),
    ],
    ids=str,
)
def test_a_token_endpoint_that_fails_is_an_oic_failure(
    oauth2: Settings, control: SandboxControl, fault: dict[str, Any], expected: type[StageError]
) -> None:
    control.fault("oic", **fault, path="/oauth2/")
    result = failed(oauth2)
    assert type(result.error) is expected
    assert control.state("oic")["instances"] == 0


def test_secrets_are_recorded_nowhere(sandbox: RunningSandbox, control: SandboxControl) -> None:
    for auth, secret in (("oauth2", "secret"), ("basic", "oic-password")):
        settings = remote_of(sandbox, auth)
        assert secret not in str(done(settings))
    assert control.state("oic")["instances"] == 2
    wrong = failed(remote_of(sandbox, "oauth2", client_secret="hush-hush"))
    assert type(wrong.error) is UnauthorisedError
    assert "hush-hush" not in repr(wrong)


def test_the_connection_test(sandbox: RunningSandbox, control: SandboxControl) -> None:
    def test(settings: Settings) -> None:
        try_connection(Stage.OIC, settings)

    test(Settings(oic=OicSettings()))
    test(remote_of(sandbox, "oauth2"))
    test(remote_of(sandbox, "basic"))
    assert control.state("oic")["instances"] == 0
    control.set("oic", active=False)
    with pytest.raises(UnavailableError):
        test(remote_of(sandbox, "basic"))
    control.set("oic", active=True)
    with pytest.raises(UnauthorisedError):
        test(remote_of(sandbox, "oauth2", client_secret="wrong"))
    with pytest.raises(UnreachableError):
        test(remote_of(sandbox, "basic", base_url=""))
    control.fault("oic", "maintenance")
    with pytest.raises(UnavailableError):
        test(remote_of(sandbox, "basic"))

"""The crowdtwist stage against its simulator: every row of spec section 3."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from deploy.sandbox.client import SandboxControl
from deploy.sandbox.running import RunningSandbox
from shared.errors import (
    DataError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.instances import Work
from shared.pipeline import Stage
from shared.settings import Settings
from tests.crowdtwist_stage import (
    CREATE,
    DELETE,
    NUMBER,
    UPDATE,
    USER,
    done,
    failed,
    methods,
    settings_of,
    stored,
)
from workers.stages import build_one


def test_an_unknown_member_is_created(settings: Settings, control: SandboxControl) -> None:
    result = done(settings, CREATE)
    assert methods(result) == ["POST"]
    assert result.facts == {"ct_user_id": stored(control)["id"]}
    assert stored(control)["first_name"] == "Andy"


def test_a_known_member_is_updated_and_what_it_no_longer_has_is_emptied(
    settings: Settings, control: SandboxControl
) -> None:
    done(settings, replace(CREATE, user=USER | {"middle_name": "John"}))
    result = done(settings, replace(UPDATE, user=USER | {"last_name": "Smith"}))
    assert methods(result) == ["PUT"]
    assert (stored(control)["last_name"], stored(control)["middle_name"]) == ("Smith", None)


def test_a_member_that_moves_abroad_and_back_ends_at_home(settings: Settings, control: SandboxControl) -> None:
    abroad = {"postal_code": None, "country_code": "FR", "city_name": "Paris", "city_id": 1}
    done(settings, CREATE)
    done(settings, replace(UPDATE, user=USER | abroad))
    assert (stored(control)["country"], stored(control)["city"], stored(control)["postal_code"]) == (
        "FR",
        "Paris",
        None,
    )
    done(settings, UPDATE)
    assert (stored(control)["country"], stored(control)["city"], stored(control)["postal_code"]) == (
        None,
        None,
        "10010",
    )


def test_a_ct_user_id_is_knowledge_too(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    assert methods(done(settings, replace(CREATE, ct_user_id=stored(control)["id"]))) == ["PUT"]


def test_a_known_member_that_is_gone_is_created_again(settings: Settings, control: SandboxControl) -> None:
    assert methods(done(settings, UPDATE)) == ["PUT", "POST"]
    assert stored(control)["third_party_id"] == NUMBER


def test_a_refused_create_of_a_member_that_is_there_becomes_an_update(
    settings: Settings, control: SandboxControl
) -> None:
    done(settings, CREATE)
    result = done(settings, replace(CREATE, user=USER | {"last_name": "Smith"}))
    assert methods(result) == ["POST", "GET", "PUT"]
    assert stored(control)["last_name"] == "Smith"


def test_a_refused_create_of_an_unknown_member_stands_in_their_words(
    settings: Settings, control: SandboxControl
) -> None:
    done(settings, replace(CREATE, member_number="296-2", user=USER | {"third_party_id": "296-2"}))
    result = failed(settings, CREATE)
    assert type(result.error) is DataError
    assert result.error.what == "Email Address is already taken"
    assert methods(result) == ["POST", "GET"]
    assert control.user(NUMBER) is None


def test_a_refused_update_stands_in_their_words(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    result = failed(settings, replace(UPDATE, user=USER | {"postal_code": "00000"}))
    assert type(result.error) is DataError
    assert result.error.what == "Postal Code is invalid"
    assert stored(control)["postal_code"] == "10010"


def test_an_inactive_member_is_created_inactive_even_if_a_create_ignores_it(
    settings: Settings, control: SandboxControl
) -> None:
    control.set("crowdtwist", create_takes_is_active=False)
    assert methods(done(settings, replace(CREATE, user=USER | {"is_active": 0}))) == ["POST", "PUT"]
    assert stored(control)["is_active"] is False


def test_a_deleted_member_is_made_inactive_and_nothing_else(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    result = done(settings, DELETE)
    assert methods(result) == ["PUT"]
    assert result.calls[0].request == {"is_active": 0}
    assert (stored(control)["is_active"], stored(control)["first_name"]) == (False, "Andy")


def test_a_deleted_member_that_is_not_there_is_as_wanted(settings: Settings, control: SandboxControl) -> None:
    assert methods(done(settings, DELETE)) == ["PUT"]
    assert control.users() == []


def test_a_deleted_member_that_is_inactive_already_is_as_wanted(settings: Settings, control: SandboxControl) -> None:
    control.set("crowdtwist", inactive_is_forbidden=True)
    done(settings, CREATE)
    done(settings, DELETE)
    assert "already" in done(settings, DELETE).what


def test_user_is_inactive_is_a_data_error(settings: Settings, control: SandboxControl) -> None:
    control.set("crowdtwist", inactive_is_forbidden=True)
    done(settings, CREATE)
    done(settings, DELETE)
    result = failed(settings, replace(UPDATE, user=USER | {"is_active": 0}))
    assert type(result.error) is DataError
    assert result.error.what == "User is inactive."


CT_FAILURES: list[tuple[dict[str, Any], type[StageError]]] = [
    ({"kind": "refuse"}, UnreachableError),
    ({"kind": "status", "status": 401}, UnauthorisedError),
    ({"kind": "status", "status": 403, "body": {"error": "forbidden", "message": "No."}}, UnauthorisedError),
    ({"kind": "html", "status": 403}, UnauthorisedError),
    ({"kind": "status", "status": 408}, UnavailableError),
    ({"kind": "throttle"}, ThrottledError),
    ({"kind": "status", "status": 500}, UnavailableError),
    ({"kind": "status", "status": 502, "body": "bad gateway"}, UnavailableError),
    ({"kind": "maintenance"}, UnavailableError),
    ({"kind": "html", "status": 200}, UnavailableError),
    ({"kind": "html", "status": 404}, UnavailableError),
    ({"kind": "garbage"}, UnavailableError),
    ({"kind": "status", "status": 200, "body": {}}, UnavailableError),
    ({"kind": "status", "status": 200, "body": []}, UnavailableError),
    ({"kind": "status", "status": 400, "body": {"fault": "of a gateway"}}, UnavailableError),
]


@pytest.mark.parametrize(("fault", "expected"), CT_FAILURES, ids=lambda part: str(part)[:60])
@pytest.mark.parametrize("work", [CREATE, UPDATE, DELETE], ids=["create", "update", "delete"])
def test_ct_failures(
    settings: Settings, control: SandboxControl, work: Work, fault: dict[str, Any], expected: type[StageError]
) -> None:
    control.fault("crowdtwist", **fault)
    result = failed(settings, work)
    assert type(result.error) is expected
    assert "unknown_outcome" not in result.facts
    control.heal("crowdtwist")
    assert control.users() == []


@pytest.mark.parametrize(
    "body",
    [
        {"error": "input_error", "message": "Last Name is invalid"},
        {"error": {"code": 1, "message": "Last Name is invalid", "errors": []}},
        {"system": "x", "reason": "y", "description": "z", "message": "Last Name is invalid"},
    ],
)
@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_other_4xx_in_json_are_data_errors(
    settings: Settings, control: SandboxControl, status: int, body: dict[str, Any]
) -> None:
    control.fault("crowdtwist", "status", status=status, body=body, method="PUT")
    result = failed(settings, UPDATE)
    assert type(result.error) is DataError
    assert (result.error.what, result.error.http_status) == ("Last Name is invalid", status)


@pytest.mark.parametrize(("said", "least", "most"), [(7, 7, 7), ("date:+9", 7.5, 9)])
@pytest.mark.parametrize("kind", ["throttle", "maintenance"])
def test_retry_after_is_honoured(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    settings: Settings, control: SandboxControl, kind: str, said: object, least: float, most: float
) -> None:
    control.fault("crowdtwist", kind, retry_after=said)
    error = failed(settings, UPDATE).error
    assert isinstance(error, ThrottledError)
    assert error.retry_after_s is not None
    assert least <= error.retry_after_s <= most


@pytest.mark.parametrize("number", ["a/b", "a?b=c#d", "100%", "ü €", "a b", "a+b&id_type=email", "%2e%2e", "a\\b"])
def test_any_member_number_is_safe_in_the_path(settings: Settings, control: SandboxControl, number: str) -> None:
    work = replace(CREATE, member_number=number, user=USER | {"third_party_id": number})
    done(settings, work)
    done(
        settings, replace(work, known_in_crowdtwist=True, user={**work.user, "last_name": "Smith"} if work.user else {})
    )
    user = control.user(number)
    assert user is not None
    assert user["last_name"] == "Smith"


def test_a_member_number_of_dots_is_refused_unsent(settings: Settings, control: SandboxControl) -> None:
    assert type(failed(settings, replace(UPDATE, member_number="..")).error) is DataError
    assert control.state("crowdtwist")["calls_total"] == 0


@pytest.mark.parametrize("auth", ["query", "header"])
def test_the_key_is_accepted_either_way_and_recorded_nowhere(
    sandbox: RunningSandbox, control: SandboxControl, auth: str
) -> None:
    result = done(settings_of(sandbox, auth=auth), CREATE)
    assert "sandbox-key" not in str(result)
    assert control.state("crowdtwist")["posts"] == 1


def test_a_call_is_recorded_without_people(settings: Settings, control: SandboxControl) -> None:
    call = done(settings, CREATE).calls[0]
    assert (call.method, call.url, call.http_status) == ("POST", "/v2/users", 200)
    assert call.request["third_party_id"] == NUMBER
    assert call.request["first_name"] == "A***"
    assert call.response == {"id": stored(control)["id"], "third_party_id": NUMBER, "is_active": True}
    assert not any(secret in str(call) for secret in ("Andy", "Cole", "andy.cole", "10010", "312681600"))


def test_the_connection_test(sandbox: RunningSandbox, control: SandboxControl) -> None:
    def test(**details: str) -> None:
        stage = build_one(Stage.CROWDTWIST, settings_of(sandbox, **details))

        async def run() -> None:
            try:
                await stage.test()
            finally:
                await stage.close()

        asyncio.run(run())

    test()
    with pytest.raises(UnauthorisedError):
        test(api_key="wrong")
    with pytest.raises(UnreachableError):
        test(base_url="")
    control.fault("crowdtwist", "maintenance")
    with pytest.raises(UnavailableError):
        test()

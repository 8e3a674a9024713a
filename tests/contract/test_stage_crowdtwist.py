"""The crowdtwist stage against its simulator: every row of spec section 3."""

from dataclasses import replace
from typing import Any

import pytest

from deploy.sandbox.server import RunningSandbox, SandboxControl
from shared.errors import (
    DataError,
    StageError,
    ThrottledError,
    TransientError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.instances import Done, Errand, Failed, Work
from shared.pipeline import Stage
from shared.settings import Settings
from tests.crowdtwist_stage import (
    CREATE,
    DELETE,
    NUMBER,
    UPDATE,
    USER,
    attempt_all,
    done,
    failed,
    methods,
    settings_of,
    stored,
)
from tests.stages import try_connection


def test_an_unknown_member_is_created(settings: Settings, control: SandboxControl) -> None:
    result = done(settings, CREATE)
    assert methods(result) == ["POST"]
    assert result.facts["ct_user_id"] == stored(control)["id"]
    assert stored(control)["first_name"] == "Andy"


def test_what_crowdtwist_shows_of_the_synced_fields_is_kept(settings: Settings, control: SandboxControl) -> None:
    echoed = done(settings, CREATE).facts["echoed"]
    assert (echoed["first_name"], echoed["gender_id"], echoed["is_active"]) == ("Andy", "2", True)
    assert echoed == {name: stored(control)[name] for name in echoed}
    assert {"id", "third_party_id", "total_points", "custom_data"}.isdisjoint(echoed)
    assert done(settings, DELETE).facts["echoed"]["is_active"] is False


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


CT_FAILURES: list[tuple[dict[str, Any], type[StageError], bool]] = [
    ({"kind": "refuse"}, UnreachableError, False),
    ({"kind": "status", "status": 401}, UnauthorisedError, False),
    ({"kind": "status", "status": 403, "body": {"error": "forbidden", "message": "No."}}, UnauthorisedError, False),
    ({"kind": "html", "status": 403}, UnauthorisedError, False),
    ({"kind": "status", "status": 408}, UnavailableError, True),
    ({"kind": "throttle"}, ThrottledError, False),
    ({"kind": "status", "status": 500}, UnavailableError, False),
    ({"kind": "status", "status": 500, "body": {"message": "upstream"}}, UnavailableError, True),
    ({"kind": "html", "status": 500}, UnavailableError, True),
    ({"kind": "status", "status": 502, "body": "bad gateway"}, UnavailableError, True),
    ({"kind": "status", "status": 504, "body": {"error": "timeout", "message": "x"}}, UnavailableError, True),
    ({"kind": "maintenance"}, UnavailableError, True),
    ({"kind": "maintenance", "retry_after": 7}, ThrottledError, True),
    ({"kind": "html", "status": 200}, UnavailableError, True),
    ({"kind": "html", "status": 404}, UnavailableError, False),
    ({"kind": "garbage"}, UnavailableError, True),
    ({"kind": "status", "status": 200, "body": {}}, UnavailableError, True),
    ({"kind": "status", "status": 200, "body": []}, UnavailableError, True),
    ({"kind": "status", "status": 400, "body": {"fault": "of a gateway"}}, UnavailableError, False),
]
"""What CrowdTwist, or whoever is on the way, may do; which error it is; whether a write may be out for all we know."""


@pytest.mark.parametrize(("fault", "expected", "is_out"), CT_FAILURES, ids=lambda part: str(part)[:60])
@pytest.mark.parametrize("work", [CREATE, UPDATE, DELETE], ids=["create", "update", "delete"])
def test_ct_failures(  # noqa: PLR0913 - fixtures and parameters
    settings: Settings,
    control: SandboxControl,
    work: Work,
    fault: dict[str, Any],
    expected: type[StageError],
    *,
    is_out: bool,
) -> None:
    control.fault("crowdtwist", **fault)
    result = failed(settings, work)
    assert type(result.error) is expected
    assert result.facts == ({"unknown_outcome": True} if is_out else {})
    control.heal("crowdtwist")
    assert control.users() == []


OURS = {"error": "input_error", "message": "Last Name is invalid"}


@pytest.mark.parametrize("status", [400, 404, 409, 410, 422])
def test_other_4xx_of_crowdtwists_form_are_data_errors(
    settings: Settings, control: SandboxControl, status: int
) -> None:
    control.fault("crowdtwist", "status", status=status, body=OURS, method="PUT")
    result = failed(settings, UPDATE)
    assert type(result.error) is DataError
    assert (result.error.what, result.error.http_status) == ("Last Name is invalid", status)


NOT_ABOUT_THE_MEMBER: list[tuple[int, object]] = [
    *((status, OURS) for status in (402, 405, 406, 407, 411, 413, 414, 415, 417, 421, 425, 426, 431, 451)),
    (400, {"error": "invalid_api_key", "message": "API key is invalid"}),
    *(
        (status, body)
        for status in (400, 404, 409, 413, 422, 431)
        for body in (
            {"message": "no Route matched with those values"},
            {"error": "input_error"},
            {"error": "", "message": "Last Name is invalid"},
            {"error": "input_error", "message": " "},
            {"error": "input_error", "message": ["Last Name is invalid"]},
            {"error": "Not Found", "message": "Cannot PUT /v2/users/296-1", "statusCode": 404},
            {"timestamp": 1, "status": 404, "error": "Bad Request", "message": "No message available", "path": "/"},
            {"error": {"code": 404, "message": "Method not found.", "status": "NOT_FOUND"}},
            {"system": "x", "reason": "y", "description": "z", "message": "Last Name is invalid"},
            {"fault": {"faultstring": "Unable to identify proxy", "detail": {"errorcode": "x"}}},
            {"statusCode": 404, "message": "Resource not found"},
            {"error": "internal_error", "message": "Internal error."},
            {"error": "access_denied", "message": "Invalid API key."},
            [OURS],
        )
    ),
    (404, {"error": "route_not_found", "message": "There is no such route"}),
    (404, {"error": "not_found", "message": "Not found"}),
    (404, {"error": "page_not_found"}),
]


@pytest.mark.parametrize(("status", "body"), NOT_ABOUT_THE_MEMBER, ids=lambda part: str(part)[:70])
def test_a_4xx_that_is_not_crowdtwists_word_about_the_member_is_a_ct_failure(
    settings: Settings, control: SandboxControl, status: int, body: object
) -> None:
    done(settings, CREATE)
    control.fault("crowdtwist", "status", status=status, body=body)
    for work in (UPDATE, DELETE, CREATE, replace(UPDATE, errand=Errand.READ_BACK)):
        result = failed(settings, work)
        assert isinstance(result.error, TransientError)
        assert result.facts == {}
    control.heal("crowdtwist")
    assert stored(control)["is_active"] is True


OTHERS = [
    {"third_party_id": "296-2"},
    {"third_party_id": None},
    {"third_party_id": 296},
    {"third_party_id": [NUMBER]},
    {"id": 18446744073709551615},
    {"id": 2**63},
    {"id": "12"},
    {"id": True},
    {"id": 0},
    {"id": 12.5},
    {"id": None},
    {"first_name": {"first": "Andy"}},
    {"city": ["Paris"]},
    {"country": "F" * 2000},
    {"date_of_birth": 2**64 - 1},
    {"error": "input_error", "message": "Email Address is already taken."},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda part: str(part)[:40])
@pytest.mark.parametrize("status", [200, 201])
def test_a_user_object_of_another_or_of_another_form_is_a_ct_failure(
    settings: Settings, control: SandboxControl, other: dict[str, Any], status: int
) -> None:
    done(settings, CREATE)
    user = {"id": 12, "third_party_id": NUMBER, "is_active": False, "first_name": "Andy"}
    control.fault("crowdtwist", "status", status=status, body=user | other)
    for work in (UPDATE, DELETE, CREATE, replace(UPDATE, unknown_outcome=True)):
        result = failed(settings, work)
        assert type(result.error) is UnavailableError
        assert result.facts == {"unknown_outcome": True}
    assert failed(settings, replace(UPDATE, errand=Errand.READ_BACK)).facts == {}


def test_a_user_object_that_holds_nul_is_one_all_the_same(settings: Settings, control: SandboxControl) -> None:
    done(settings, CREATE)
    user = {"id": 12, "third_party_id": NUMBER, "is_active": False, "last_name": "Co\0le"}
    control.fault("crowdtwist", "status", status=200, body=user)
    assert done(settings, UPDATE).facts["echoed"]["last_name"] == "Co\N{REPLACEMENT CHARACTER}le"


def test_an_answer_that_is_nested_without_end_is_no_answer(settings: Settings, control: SandboxControl) -> None:
    for depth in (60, 300, 1000):
        nested = "[" * depth + "]" * depth
        for body in (f'{{"id": 12, "third_party_id": {nested}}}', f'{{"error": "x_y", "message": "x", "z": {nested}}}'):
            fault = control.fault("crowdtwist", "status", status=200, body=body)
            assert type(failed(settings, UPDATE).error) is UnavailableError
            control.heal("crowdtwist", fault)


def test_the_others_of_a_batch_are_served_beside_answers_of_any_form(
    settings: Settings, control: SandboxControl
) -> None:
    control.fault("crowdtwist", "status", status=200, member=NUMBER, body={"id": 2**64 - 1, "third_party_id": NUMBER})
    works = [
        replace(CREATE, member_number=f"M-{n}", user=USER | {"third_party_id": f"M-{n}", "email_address": f"{n}@x.org"})
        for n in range(30)
    ]
    results = attempt_all(settings, [*works[:13], CREATE, *works[13:]])
    assert sum(isinstance(result, Done) for result in results) == 30
    assert isinstance(results[13], Failed)


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
        try_connection(Stage.CROWDTWIST, settings_of(sandbox, **details))

    test()
    with pytest.raises(UnauthorisedError):
        test(api_key="wrong")
    with pytest.raises(UnreachableError):
        test(base_url="")
    control.fault("crowdtwist", "maintenance")
    with pytest.raises(UnavailableError):
        test()
    control.heal("crowdtwist")
    for status, body in ((404, {"message": "no Route matched"}), (200, {}), (200, {"id": "1"}), (404, {})):
        fault = control.fault("crowdtwist", "status", status=status, body=body)
        with pytest.raises(UnavailableError):
            test()
        control.heal("crowdtwist", fault)
    test()

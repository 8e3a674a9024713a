"""The OIC simulator keeps the rules of domain.md 1.5 and 4.1."""

import re

import httpx
import pytest

from deploy.sandbox.server import RunningSandbox

FLOW = "/ic/api/integration/v1/flows/rest/MEMBERSYNC/1.0/members"
STATUS = "/ic/api/integration/v1/integrations/MEMBERSYNC%7C01.00.0000/activationStatus"
TEST = "/ic/api/integration/v1/connections/CROWDTWISTREST/test"
BASIC = httpx.BasicAuth("oic", "oic-password")
GRANT = {"grant_type": "client_credentials"}
Fields = dict[str, object]


def message(contact: Fields | None = None, **member: object) -> Fields:
    person = {
        "Contact First Name": "Andy",
        "Contact Last Name": "Cole",
        "Contact Middle Name": "",
        "Date of Birth": "11/29/1979",
        "Email Address": "andy.cole@example.org",
        "Primary Postal Code": "10010",
        "Primary City": "New York",
        "Primary Country Code": "US",
        "M/F": "M",
    } | (contact or {})
    row = {"Operation": "update", "Member Number": "296-1", "Status": "Active", "Language": "en"} | member
    row["ListOfContact"] = {"Contact": [person]}
    return {"SiebelMessage": {"IntObjectName": "CT LOY Member", "ListOfCT LOY Member": {"LOY Member": [row]}}}


def run(sandbox: RunningSandbox, http: httpx.Client, document: Fields) -> httpx.Response:
    return http.post(sandbox.oic + FLOW, json=document, auth=BASIC)


def token(sandbox: RunningSandbox, http: httpx.Client) -> dict[str, str]:
    answer = http.post(f"{sandbox.oic}/oauth2/v1/token", data=GRANT, auth=("membersync", "secret"))
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def test_the_flow_answers_an_instance_and_the_mapped_user(sandbox: RunningSandbox, http: httpx.Client) -> None:
    answer = run(sandbox, http, message())

    assert answer.status_code == 200
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", answer.json()["instanceId"])
    assert answer.json()["user"] == {
        "third_party_id": "296-1",
        "lang_pref": "en",
        "is_active": 1,
        "first_name": "Andy",
        "last_name": "Cole",
        "date_of_birth": 312681600,
        "email_address": "andy.cole@example.org",
        "postal_code": "10010",
        "country_code": "US",
        "gender_id": 2,
    }


@pytest.mark.parametrize(
    ("contact", "member", "expected"),
    [
        ({}, {"Status": "Cancelled"}, {"is_active": 0}),
        ({}, {"Operation": "delete"}, {"is_active": 0}),
        ({"Email Address": ""}, {}, {"email_address": "296-1@example.org"}),
        ({"Primary Postal Code": ""}, {}, {"postal_code": "99790"}),
        ({"Primary Country Code": ""}, {}, {"country_code": "IN", "city_name": "New York"}),
        ({"Primary Country Code": "GB", "Primary City": ""}, {}, {"city_id": 1157219}),
        ({"Primary Country Code": "CA", "Primary Postal Code": "K1A 0B1"}, {}, {"postal_code": "K1A 0B1"}),
        ({"Date of Birth": "11/29/1979 12:00:00"}, {}, {"date_of_birth": 312681600}),
        ({"Date of Birth": "312724800"}, {}, {"date_of_birth": 312724800}),
        ({"M/F": "F"}, {}, {"gender_id": 1}),
    ],
)
def test_the_mapping(
    sandbox: RunningSandbox, http: httpx.Client, contact: Fields, member: Fields, expected: Fields
) -> None:
    user = run(sandbox, http, message(contact, **member)).json()["user"]

    assert {field: user[field] for field in expected} == expected


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (message({"Contact Last Name": ""}), "Contact Last Name is missing"),
        (message(**{"Member Number": None}), "Member Number is missing"),
        (message({"Date of Birth": "yesterday"}), "Date of Birth is not a date"),
        (
            message({"Primary Country Code": "CA", "Primary Postal Code": "K1A0B1"}),
            "Primary Postal Code is missing or does not have the form of its country",
        ),
        ({"member": {}}, "The request is not a SiebelMessage with a CT LOY Member"),
    ],
)
def test_a_member_that_cannot_be_mapped_is_a_problem(
    sandbox: RunningSandbox, http: httpx.Client, document: Fields, detail: str
) -> None:
    answer = run(sandbox, http, document)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == detail
    assert {"type", "title"} <= set(answer.json())


def test_the_flow_takes_a_token_until_it_is_revoked(sandbox: RunningSandbox, http: httpx.Client) -> None:
    bearer = token(sandbox, http)
    assert http.post(sandbox.oic + FLOW, json=message(), headers=bearer).status_code == 200

    sandbox.control.revoke_tokens()

    assert http.post(sandbox.oic + FLOW, json=message(), headers=bearer).status_code == 401
    assert http.post(sandbox.oic + FLOW, json=message(), headers=token(sandbox, http)).status_code == 200


def test_a_token_expires(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.set("oic", expires_in_s=0)

    assert http.post(sandbox.oic + FLOW, json=message(), headers=token(sandbox, http)).status_code == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (GRANT | {"client_id": "membersync", "client_secret": "secret"}, 200),
        (GRANT | {"client_id": "membersync", "client_secret": "wrong"}, 401),
        (GRANT, 401),
        ({"grant_type": "password", "client_id": "membersync", "client_secret": "secret"}, 400),
    ],
)
def test_the_client_may_name_itself_in_the_form(
    sandbox: RunningSandbox, http: httpx.Client, form: dict[str, str], status: int
) -> None:
    assert http.post(f"{sandbox.oic}/oauth2/v1/token", data=form).status_code == status


def test_an_integration_that_is_not_active_is_404(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.set("oic", active=False)

    assert run(sandbox, http, message()).status_code == 404
    assert http.get(sandbox.oic + STATUS, headers=token(sandbox, http)).json()["status"] == "CONFIGURED"


def test_the_developer_api_takes_tokens_only(sandbox: RunningSandbox, http: httpx.Client) -> None:
    bearer = token(sandbox, http)

    assert http.post(sandbox.oic + TEST, headers=bearer).status_code == 200
    assert http.get(sandbox.oic + STATUS, headers=bearer).json()["status"] == "ACTIVATED"
    assert http.post(sandbox.oic + TEST, auth=BASIC).status_code == 401
    sandbox.control.set("oic", developer_api_basic=True)
    assert http.post(sandbox.oic + TEST, auth=BASIC).status_code == 200


def test_anonymous_callers_are_refused(sandbox: RunningSandbox, http: httpx.Client) -> None:
    assert http.post(sandbox.oic + FLOW, json=message()).status_code == 401

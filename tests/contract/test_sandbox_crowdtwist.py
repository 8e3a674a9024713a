"""The CrowdTwist simulator keeps the rules of domain.md 2."""

from collections.abc import Iterator

import httpx
import pytest

from deploy.sandbox.server import RunningSandbox
from tests.network import TRUSTS_NOBODY

US = {
    "third_party_id": "296-1",
    "first_name": "Andy",
    "last_name": "Cole",
    "email_address": "andy.cole@example.org",
    "postal_code": "10010",
    "country_code": "US",
    "date_of_birth": 312724800,
    "gender_id": 2,
}
GB = {"country_code": "GB", "city_name": "London", "postal_code": "SW1A 1AA"}
CA = {"country_code": "CA", "postal_code": "K1A 0B1"}
Fields = dict[str, object]


@pytest.fixture
def api(sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    key = {"api_key": "sandbox-key"}
    with httpx.Client(base_url=sandbox.crowdtwist, params=key, trust_env=False, verify=TRUSTS_NOBODY) as client:
        yield client


def put(api: httpx.Client, fields: Fields, number: str = "296-1") -> httpx.Response:
    return api.put(f"/v2/users/{number}", params={"id_type": "third_party_id"}, json=fields)


def without(*fields: str) -> Fields:
    return {field: value for field, value in US.items() if field not in fields}


def test_create_answers_200_with_the_whole_user_in_mixed_types(api: httpx.Client) -> None:
    answer = api.post("/v2/users", json=US)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    user = answer.json()
    assert isinstance(user["id"], int)
    assert (user["third_party_id"], user["gender_id"], user["is_active"]) == ("296-1", "2", True)
    assert (user["date_of_birth"], user["postal_code"], user["segments"]) == (312724800, "10010", [])


@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "DELETE"])
def test_a_wrong_key_is_401(sandbox: RunningSandbox, http: httpx.Client, method: str) -> None:
    answer = http.request(method, f"{sandbox.crowdtwist}/v2/users/1?api_key=wrong")

    assert answer.status_code == 401
    assert set(answer.json()) == {"error", "message"}


def test_the_key_may_come_in_the_header(sandbox: RunningSandbox, http: httpx.Client) -> None:
    headers = {"X-CT-Authorization": "CTApiKey sandbox-key"}
    assert http.post(f"{sandbox.crowdtwist}/v2/users", json=US, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"first_name": None}, "param_error", "Missing the first_name parameter"),
        ({"last_name": ""}, "param_error", "Missing the last_name parameter"),
        ({"email_address": None}, "param_error", "Missing the email_address parameter"),
        ({"postal_code": None}, "param_error", "Missing the postal_code parameter"),
        ({"first_name": "Andy<b>"}, "input_error", "First Name is invalid"),
        ({"email_address": "andy.cole"}, "input_error", "Email Address is invalid"),
        ({"date_of_birth": "1979-11-29"}, "input_error", "Date Of Birth is invalid"),
        ({"gender_id": "2"}, "input_error", "Gender is invalid"),
        ({"is_active": True}, "input_error", "Is Active is invalid"),
        ({"third_party_id": 296}, "input_error", "Third Party Id is invalid"),
        ({"postal_code": "1001"}, "input_error", "Postal Code is invalid"),
        ({"city_name": "New York"}, "input_error", "City is not allowed with a US Postal Code"),
        ({"city_id": 12}, "input_error", "City is not allowed with a US Postal Code"),
        ({"country_code": "CA", "postal_code": "K1A0B1"}, "input_error", "Postal Code is invalid"),
        ({"country_code": "CA", "postal_code": None}, "param_error", "Missing the postal_code parameter"),
        ({"country_code": "GB", "postal_code": None}, "param_error", "Missing the city_id parameter"),
    ],
)
def test_create_refuses(api: httpx.Client, changes: Fields, error: str, message: str) -> None:
    answer = api.post("/v2/users", json=US | changes)

    assert answer.status_code == 400
    assert answer.json() == {"error": error, "message": message}


@pytest.mark.parametrize(
    "changes",
    [
        {"postal_code": "100101234"},
        {"postal_code": "10010-1234"},
        {"country_code": None},
        {"first_name": "Ren\u00e9e-Zo\u00eb O\u2019Neil"},
        CA,
        CA | {"city_id": 7},
        GB,
        {"country_code": "DE", "postal_code": "10115", "city_id": 7},
    ],
)
def test_create_takes(api: httpx.Client, changes: Fields) -> None:
    assert api.post("/v2/users", json=US | changes).status_code == 200


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"third_party_id": "296-2", "email_address": "ANDY.Cole@example.org"}, "Email Address is already taken"),
        ({"email_address": "other@example.org"}, "Third Party Id is already taken"),
    ],
)
def test_keys_are_unique(api: httpx.Client, second: Fields, message: str) -> None:
    api.post("/v2/users", json=US)

    answer = api.post("/v2/users", json=US | second)

    assert (answer.status_code, answer.json()["message"]) == (400, message)


def test_an_update_may_not_take_the_email_address_of_another(api: httpx.Client) -> None:
    api.post("/v2/users", json=US)
    api.post("/v2/users", json=US | {"third_party_id": "296-2", "email_address": "b@example.org"})

    answer = put(api, {"email_address": "Andy.Cole@Example.org"}, "296-2")

    assert (answer.status_code, answer.json()["error"]) == (400, "input_error")
    assert put(api, {"email_address": "B@example.org"}, "296-2").status_code == 200


def test_a_partial_update_leaves_the_rest(api: httpx.Client) -> None:
    api.post("/v2/users", json=US)

    user = put(api, {"first_name": "Andrew", "is_active": 0}).json()

    assert (user["first_name"], user["last_name"], user["is_active"]) == ("Andrew", "Cole", False)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ({"postal_code": "94105"}, 200),
        ({"city_name": "Boston"}, 400),
        ({"country_code": "GB"}, 400),
        (GB, 200),
        ({"country_code": "CA"}, 400),
        (CA, 200),
    ],
)
def test_an_update_of_the_address_is_judged_as_it_would_be(api: httpx.Client, address: Fields, status: int) -> None:
    api.post("/v2/users", json=US)

    assert put(api, address).status_code == status


def test_a_member_may_move_to_the_us_without_clearing_the_city(api: httpx.Client) -> None:
    api.post("/v2/users", json=US | GB)

    user = put(api, {"country_code": "US", "postal_code": "10010"}).json()

    assert (user["country"], user["postal_code"], user["city"]) == ("US", "10010", None)


def test_id_type_defaults_to_the_id_of_crowdtwist(api: httpx.Client) -> None:
    user = api.post("/v2/users", json=US).json()

    assert api.get(f"/v2/users/{user['id']}").json()["third_party_id"] == "296-1"
    answer = api.get("/v2/users/296-1")
    assert (answer.status_code, answer.json()) == (404, {"error": "page_not_found", "message": "User does not exist."})


@pytest.mark.parametrize(
    ("id_type", "value"),
    [("third_party_id", "296-1"), ("email", "ANDY.COLE@example.org"), ("username", "andy")],
)
def test_users_are_found_by_each_id_type(api: httpx.Client, id_type: str, value: str) -> None:
    api.post("/v2/users", json=US | {"username": "andy"})

    assert api.get(f"/v2/users/{value}", params={"id_type": id_type}).json()["third_party_id"] == "296-1"


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_call_without_the_id_is_refused(api: httpx.Client, method: str) -> None:
    answer = api.request(method, "/v2/users/", json={})

    assert (answer.status_code, answer.json()["message"]) == (400, "Missing the user_id parameter")


def test_an_unknown_id_type_and_a_body_that_is_not_json_are_refused(api: httpx.Client) -> None:
    api.post("/v2/users", json=US)

    assert api.get("/v2/users/1", params={"id_type": "shoe_size"}).json()["error"] == "param_error"
    assert api.post("/v2/users", content=b"{").json()["error"] == "input_error"


def test_an_update_of_nobody_is_404(api: httpx.Client) -> None:
    answer = put(api, {"first_name": "Andy"})

    assert (answer.status_code, answer.json()["error"]) == (404, "page_not_found")


def test_pii_false_hides_the_person_and_needs_the_right_id_type(api: httpx.Client) -> None:
    api.post("/v2/users", json=US)

    hidden = api.get("/v2/users/296-1", params={"id_type": "third_party_id", "pii": "false"}).json()

    assert (hidden["third_party_id"], hidden["email_address"], hidden["last_name"]) == ("296-1", None, None)
    by_email = api.get("/v2/users/andy.cole@example.org", params={"id_type": "email", "pii": "false"})
    assert by_email.status_code == 400


def test_pii_false_creates_a_user_from_the_third_party_id_alone(api: httpx.Client) -> None:
    user = api.post("/v2/users", params={"pii": "false"}, json={"third_party_id": "296-1"}).json()

    assert (user["first_name"], user["email_address"], user["postal_code"]) == (
        "Customer",
        "296-1@discard.oracle.com",
        "82715",
    )


def test_delete_removes_the_user(api: httpx.Client) -> None:
    user = api.post("/v2/users", json=US).json()

    assert api.delete(f"/v2/users/{user['id']}").status_code == 200
    assert api.get(f"/v2/users/{user['id']}").status_code == 404
    assert api.post("/v2/users", json=US).status_code == 200


def test_search_finds_active_members_unless_told_otherwise(api: httpx.Client) -> None:
    api.post("/v2/users", json=US)
    api.post("/v2/users", json=US | {"third_party_id": "296-2", "email_address": "andy2@example.org", "is_active": 0})

    active = api.post("/v2/members", json={"email_address": "andy"}).json()
    inactive = api.post("/v2/members", params={"is_active": "0"}, json={"email_address": "andy"}).json()

    assert [user["third_party_id"] for user in active] == ["296-1"]
    assert [user["third_party_id"] for user in inactive] == ["296-2"]
    assert api.post("/v2/members", json={"third_party_id": "296"}).json() == []


def test_an_inactive_user_can_be_forbidden_to_update(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("crowdtwist", inactive_is_forbidden=True)
    api.post("/v2/users", json=US | {"is_active": 0})

    answer = put(api, {"first_name": "Andrew"})

    assert (answer.status_code, answer.json()) == (403, {"error": "forbidden", "message": "User is inactive."})
    assert put(api, {"is_active": 1}).status_code == 200


def test_required_fields_may_not_be_cleared(api: httpx.Client) -> None:
    api.post("/v2/users", json=without("gender_id"))

    assert put(api, {"last_name": None}).status_code == 400
    assert put(api, {"middle_name": None}).status_code == 200

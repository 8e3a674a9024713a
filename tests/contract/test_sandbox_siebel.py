"""The Siebel simulator keeps the rules of domain.md 3.1."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.sandbox.server import RunningSandbox
from deploy.sandbox.siebel_members import MemberStore
from tests.network import TRUSTS_NOBODY

MEMBERS = "/siebel/v1.0/data/LOY%20Member/LOY%20Member"
SUCCESS = {"CT Sync Status": "Success", "CT Sync Error": ""}


@pytest.fixture
def api(sandbox: RunningSandbox) -> Iterator[httpx.Client]:
    auth = httpx.BasicAuth("SADMIN", "SADMIN")
    with httpx.Client(base_url=sandbox.siebel, auth=auth, trust_env=False, verify=TRUSTS_NOBODY) as client:
        yield client


def find(api: httpx.Client, member_number: str) -> httpx.Response:
    quoted = member_number.replace("'", "''")
    return api.get(MEMBERS, params={"searchspec": f"([Member Number]='{quoted}')"})


@pytest.mark.parametrize("name", ["LOY%20Member", "LWA%20LOY%20Member", "Loyalty%20Member"])
def test_a_write_answers_the_record_with_its_link(sandbox: RunningSandbox, api: httpx.Client, name: str) -> None:
    answer = api.put(f"/siebel/v1.0/data/{name}/{name}/1-2AB3", json=SUCCESS)

    assert answer.status_code == 200
    items = answer.json()["items"]
    assert (items["Id"], items["CT Sync Status"], items["Link"]["rel"]) == ("1-2AB3", "Success", "self")
    assert sandbox.control.call("GET", "siebel/members", row_id="1-2AB3").json()["status"] == "Success"


@pytest.mark.parametrize("path", ["Account/Account/1", "LOY%20Member/Account/1", "LOY%20Member", ""])
def test_a_wrong_object_name_is_404(api: httpx.Client, path: str) -> None:
    answer = api.put(f"/siebel/v1.0/data/{path}", json=SUCCESS)

    assert answer.status_code == 404
    assert set(answer.json()) == {"ERROR"}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer sandbox-token", 200), ("Bearer stale", 401), ("Basic U0FETUlOOndyb25n", 401), ("", 401)],
)
def test_basic_or_bearer(sandbox: RunningSandbox, http: httpx.Client, authorization: str, status: int) -> None:
    headers = {"Authorization": authorization}
    assert http.put(f"{sandbox.siebel}{MEMBERS}/1-1", json=SUCCESS, headers=headers).status_code == status


@pytest.mark.parametrize("number", ["296-1", "O'Neil's"])
def test_a_seeded_member_is_found_by_its_number(sandbox: RunningSandbox, api: httpx.Client, number: str) -> None:
    sandbox.control.seed({"member_number": number, "row_id": "1-2AB3", "Status": "Active"})

    items = find(api, number).json()["items"]

    assert [(item["Id"], item["Status"]) for item in items] == [("1-2AB3", "Active")]


def test_a_member_that_is_there_already_is_seeded_without_its_row_id(
    sandbox: RunningSandbox, api: httpx.Client
) -> None:
    row_id = find(api, "296-1").json()["items"][0]["Id"]
    sandbox.control.seed({"member_number": "296-1", "Contact First Name": "Ann"})

    items = find(api, "296-1").json()["items"]

    assert [(item["Id"], item["Status"], item["Contact First Name"]) for item in items] == [(row_id, "Active", "Ann")]


def test_an_unknown_member_comes_into_being_when_asked_for(api: httpx.Client) -> None:
    row_id = find(api, "296-1").json()["items"][0]["Id"]

    assert row_id.startswith("1-")
    assert find(api, "296-1").json()["items"][0]["Id"] == row_id


@pytest.mark.parametrize("status", [204, 404])
def test_an_empty_query_answers_as_told(sandbox: RunningSandbox, api: httpx.Client, status: int) -> None:
    sandbox.control.set("siebel", auto_members=False, empty_query=status)

    assert find(api, "296-1").status_code == status


def test_one_found_member_can_come_as_an_object(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("siebel", single_as_object=True)

    assert find(api, "296-1").json()["items"]["Member Number"] == "296-1"


def test_an_upsert_of_an_unknown_row_inserts_and_is_counted(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("siebel", auto_members=False)
    sandbox.control.seed({"member_number": "296-1", "row_id": "1-1"})

    api.put(f"{MEMBERS}/1-1", json=SUCCESS)
    api.put(f"{MEMBERS}/1-WRONG", json=SUCCESS)

    state = sandbox.control.state("siebel")
    assert (state["members"], state["inserted_by_put"]) == (2, 1)


def test_a_write_into_being_is_not_an_insert_with_auto_members(sandbox: RunningSandbox, api: httpx.Client) -> None:
    api.put(f"{MEMBERS}/1-NEW", json=SUCCESS)

    assert sandbox.control.state("siebel")["inserted_by_put"] == 0


def test_many_are_written_at_once_and_answered_as_a_bare_array(sandbox: RunningSandbox, api: httpx.Client) -> None:
    answer = api.put(MEMBERS, json=[{"Id": f"1-{serial}", **SUCCESS} for serial in range(100)])

    assert answer.status_code == 200
    assert [item["Id"] for item in answer.json()] == [f"1-{serial}" for serial in range(100)]
    assert sandbox.control.state("siebel")["members"] == 100


@pytest.mark.parametrize(
    "batch", [[{"Id": f"1-{serial}"} for serial in range(101)], [{"CT Sync Status": "Success"}], {"Id": "1-1"}]
)
def test_a_wrong_batch_is_500_and_writes_nothing(sandbox: RunningSandbox, api: httpx.Client, batch: object) -> None:
    answer = api.put(MEMBERS, json=batch)

    assert (answer.status_code, set(answer.json())) == (500, {"ERROR"})
    assert sandbox.control.state("siebel")["members"] == 0


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, list(range(10))),
        ({"PageSize": "3", "StartRowNum": "10"}, [10, 11]),
        ({"PageSize": "100"}, list(range(12))),
    ],
)
def test_queries_are_paged(
    sandbox: RunningSandbox, api: httpx.Client, query: dict[str, str], numbers: list[int]
) -> None:
    sandbox.control.seed(*({"member_number": str(number)} for number in range(12)))

    query = {"ViewMode": "All", **query}
    found = [int(item["Member Number"]) for item in api.get(MEMBERS, params=query).json()["items"]]

    assert found == numbers


@pytest.mark.parametrize("query", [{"PageSize": "101"}, {"PageSize": "x"}, {"searchspec": "Member Number = 1"}])
def test_a_wrong_query_is_500(api: httpx.Client, query: dict[str, str]) -> None:
    assert api.get(MEMBERS, params=query).status_code == 500


def test_a_row_is_read_by_its_id_or_missing(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.seed({"member_number": "296-1", "row_id": "1-1"})

    assert api.get(f"{MEMBERS}/1-1").json()["items"]["Member Number"] == "296-1"
    assert api.get(f"{MEMBERS}/1-2").status_code == 404


def test_methods_and_content_types_that_are_not_served(api: httpx.Client) -> None:
    assert api.post(f"{MEMBERS}/1-1", json=SUCCESS).status_code == 405
    xml = api.put(f"{MEMBERS}/1-1", content=b"<a/>", headers={"Content-Type": "text/plain"})
    assert xml.status_code == 415


def test_the_history_of_writes_is_kept_up_to_its_limit(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("siebel", history_limit=2)
    row_id = find(api, "296-1").json()["items"][0]["Id"]
    for status in ("OIC Failure", "CT Failure", "Success"):
        api.put(f"{MEMBERS}/{row_id}", json={"CT Sync Status": status, "CT Sync Error": status.lower()})

    member = sandbox.control.member("296-1")

    assert member is not None
    assert (member["status"], member["error"], member["writes"]) == ("Success", "success", 3)
    assert [write["status"] for write in member["history"]] == ["CT Failure", "Success"]


def test_the_workflow_loop_counts_the_modification_up(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("siebel", workflow_loop=True)
    sandbox.control.seed({"member_number": "296-1", "row_id": "1-1", "Mod Id": "7"})

    api.put(f"{MEMBERS}/1-1", json=SUCCESS)

    assert api.get(f"{MEMBERS}/1-1").json()["items"]["Mod Id"] == "8"


ALL = {"ViewMode": "All", "sortspec": "Id:asc", "PageSize": "100", "ExecutionMode": "ForwardOnly"}


def page(api: httpx.Client, spec: str, **details: str) -> list[dict[str, Any]]:
    answer = api.get(MEMBERS, params={**ALL, "searchspec": spec, **details})
    if answer.status_code == 404:
        assert "SBL-EAI-04378" in answer.json()["ERROR"]
        return []
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_members_are_read_by_key_in_order_until_there_are_no_more(sandbox: RunningSandbox, api: httpx.Client) -> None:
    ids = [f"1-{serial:03}" for serial in range(250)]
    sandbox.control.seed(*({"member_number": row_id, "row_id": row_id} for row_id in reversed(ids)))

    read: list[str] = []
    sizes = []
    while items := page(api, f"([Id] > '{read[-1] if read else '0'}')"):
        read += [item["Id"] for item in items]
        sizes.append(len(items))

    assert (read, sizes) == (ids, [100, 100, 50])


def test_comparisons_are_joined_with_and(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.seed(
        {"member_number": "1", "row_id": "1-1", "Updated": "12/31/2025 23:59:59"},
        {"member_number": "2", "row_id": "1-2", "Updated": "01/02/2026 00:00:00"},
        {"member_number": "3", "row_id": "1-3", "Updated": "02/01/2026 00:00:00"},
    )

    assert [item["Id"] for item in page(api, "([Id] > '1-1' AND [Updated] > '01/15/2026 00:00:00')")] == ["1-3"]
    assert [item["Id"] for item in page(api, "[Updated] > '01/01/2026' AND [Updated] <= '01/02/2026 00:00:00'")] == [
        "1-2"
    ]


def test_a_write_and_a_change_by_siebels_people_count_as_updates(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.seed(
        *({"member_number": str(n), "row_id": f"1-{n}", "Updated": "01/01/2020 00:00:00"} for n in range(3))
    )

    api.put(f"{MEMBERS}/1-1", json=SUCCESS)
    sandbox.control.seed({"member_number": "2", "row_id": "1-2", "Contact First Name": "Eve"})

    assert [item["Id"] for item in page(api, "([Id] > '0' AND [Updated] > '01/01/2021 00:00:00')")] == ["1-1", "1-2"]


def test_fields_cut_the_answer_and_childlinks_too(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.seed({"member_number": "1", "row_id": "1-1", "Status": "Active", "Contact First Name": "Eve"})

    (cut,) = page(api, "([Id] > '0')", Fields="Member Number,Status,M/F", Childlinks="None")
    (whole,) = page(api, "([Id] > '0')")

    assert cut.keys() == {"Id", "Member Number", "Status", "Link"}
    assert cut["Link"]["rel"] == "self"
    assert whole["Contact First Name"] == "Eve"
    assert [link["rel"] for link in whole["Link"]] == ["self", "child"]


def test_a_sales_rep_does_not_see_them_all(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("siebel", sales_rep_sees=50)
    sandbox.control.seed(*({"member_number": str(n), "row_id": f"1-{n:02}"} for n in range(60)))
    rows = {view: page(api, "([Id] > '0')", ViewMode=view) for view in ("All", "Organization", "Sales Rep")}
    default = api.get(MEMBERS, params={"searchspec": "([Id] > '0')", "PageSize": "100"}).json()["items"]

    assert (len(rows["All"]), len(rows["Organization"])) == (60, 60)
    assert 0 < len(rows["Sales Rep"]) < 60
    assert {item["Id"] for item in default} == {item["Id"] for item in rows["Sales Rep"]}
    assert api.get(MEMBERS, params={"ViewMode": "Mine"}).status_code == 500


def test_a_query_that_selects_more_than_9900_fails_unless_it_only_reads_forward(
    sandbox: RunningSandbox, api: httpx.Client
) -> None:
    sandbox.control.seed(*({"member_number": str(n), "row_id": f"1-{n:05}"} for n in range(9_901)))
    regular = {name: value for name, value in ALL.items() if name != "ExecutionMode"}

    assert "SBL-DAT-00500" in api.get(MEMBERS, params=regular).text
    assert api.get(MEMBERS, params=ALL).status_code == 200
    sandbox.control.remove("9900")
    counted = api.get(MEMBERS, params={**regular, "recordcountneeded": "true"})
    assert counted.headers["Total-Record-Count"] == "9900"
    assert "Total-Record-Count" not in api.get(MEMBERS, params=regular).headers


def test_a_removed_member_is_not_there(sandbox: RunningSandbox, api: httpx.Client) -> None:
    sandbox.control.set("siebel", auto_members=False)
    sandbox.control.seed(*({"member_number": f"296-{n}", "row_id": f"1-{n}"} for n in range(3)))

    sandbox.control.remove("296-0", "296-2", "296-7")

    assert [item["Id"] for item in page(api, "([Id] > '0')")] == ["1-1"]
    assert find(api, "296-0").status_code == 404


def test_a_member_that_comes_into_being_has_a_row_id_without_blanks_whatever_its_number() -> None:
    members = MemberStore()
    assert [members.free_row_id(number) for number in ("296-1", "296 1", "29\t6")] == ["1-296-1", None, None]

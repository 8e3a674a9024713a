"""All of Siebel's members are read, page by page and by key; what is not the page that was asked for is an error."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from deploy.sandbox.server import RunningSandbox, SandboxControl, running_sandbox
from shared.errors import DataError, StageError, UnavailableError
from shared.settings import SiebelSettings
from shared.systems.siebel import Siebel
from shared.systems.siebel_answers import FIRST_ID, Page, Row

FIELDS = {
    "Id",
    "Member Number",
    "Mod Id",
    "Updated",
    "Status",
    "Contact First Name",
    "Email Address",
    "CT Sync Status",
    "CT Sync Error",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def control(sandbox: RunningSandbox) -> SandboxControl:
    sandbox.control.reset("siebel")
    sandbox.control.set("siebel", auto_members=False)
    return sandbox.control


@pytest.fixture
def settings(sandbox: RunningSandbox) -> SiebelSettings:
    return SiebelSettings.model_validate({"base_url": sandbox.siebel, "username": "SADMIN", "password": "SADMIN"})


def seed(control: SandboxControl, count: int, **fields: str) -> list[str]:
    ids = [f"1-{serial:04}" for serial in range(count)]
    control.seed(*({"member_number": f"296-{row_id}", "row_id": row_id, **fields} for row_id in reversed(ids)))
    return ids


def page(settings: SiebelSettings, after: str = FIRST_ID, since: datetime | None = None) -> Page:
    async def read() -> Page:
        client = Siebel(settings, 1)
        try:
            return await client.page(client.exchange(), after, since)
        finally:
            await client.close()

    return asyncio.run(read())


def member(settings: SiebelSettings, number: str, claimed: str | None = None) -> Row | None:
    async def read() -> Row | None:
        client = Siebel(settings, 1)
        try:
            return await client.read(client.exchange(), number, claimed)
        finally:
            await client.close()

    return asyncio.run(read())


def asked(control: SandboxControl) -> dict[str, str]:
    query = control.calls("siebel")[-1]["path"].partition("?")[2]
    return dict(parse_qsl(query))


@pytest.mark.parametrize("end", [204, 404])
def test_all_are_read_once_and_in_order(control: SandboxControl, settings: SiebelSettings, end: int) -> None:
    control.set("siebel", empty_query=end)
    ids = seed(control, 205)

    async def read() -> list[str]:
        client, found, after = Siebel(settings, 1), list[str](), FIRST_ID
        while last := (one := await client.page(client.exchange(), after)).last_id:
            found += [row.row_id for row in one.rows]
            after = last
        await client.close()
        return found

    assert asyncio.run(read()) == ids


def test_the_query_is_the_one_that_siebel_documents(control: SandboxControl, settings: SiebelSettings) -> None:
    seed(control, 3)

    page(settings, "1-0000", datetime(2026, 11, 23, 9, 5, tzinfo=UTC))

    query = asked(control)
    assert FIELDS.issubset(query.pop("Fields").split(","))
    assert query == {
        "searchspec": "([Id] > '1-0000' AND [Updated] > '11/23/2026 09:00:00')",
        "sortspec": "Id:asc",
        "PageSize": "100",
        "ViewMode": "All",
        "Childlinks": "None",
        "ExecutionMode": "ForwardOnly",
    }


def test_each_parameter_but_the_searchspec_and_the_size_can_be_left_out(
    control: SandboxControl, settings: SiebelSettings
) -> None:
    seed(control, 3)
    without = ("sortspec", "ViewMode", "Fields", "Childlinks", "ExecutionMode", "recordcountneeded")

    with pytest.raises(StageError, match="not in order"):  # this simulator answers the oldest first
        page(settings.model_copy(update={"read_without": without}))

    assert asked(control).keys() == {"searchspec", "PageSize"}


def test_rows_that_a_sales_rep_would_not_see_are_read_and_counted(
    control: SandboxControl, settings: SiebelSettings
) -> None:
    control.set("siebel", sales_rep_sees=50)
    ids = seed(control, 150)

    first = page(settings)

    assert (len(first.rows), first.total, first.last_id) == (100, 150, ids[99])
    assert page(settings, ids[99]).total is None
    assert page(settings.model_copy(update={"read_without": ("ViewMode",)})).total != 150


def test_more_members_than_a_query_may_select_are_read(control: SandboxControl, settings: SiebelSettings) -> None:
    ids = seed(control, 9_950)

    assert [row.row_id for row in page(settings).rows] == ids[:100]
    with pytest.raises(UnavailableError):
        page(settings.model_copy(update={"read_without": ("ExecutionMode",)}))


def test_changes_since_an_instant_are_read_from_a_little_earlier(
    control: SandboxControl, settings: SiebelSettings
) -> None:
    since = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    for serial, updated in enumerate(("08:50:00", "08:55:00", "08:55:01", "09:00:00", "10:00:00")):
        number = f"296-{serial}"
        control.seed({"member_number": number, "row_id": f"1-{serial}", "Updated": f"11/23/2026 {updated}"})

    assert [row.row_id for row in page(settings, since=since).rows] == ["1-2", "1-3", "1-4"]


@pytest.mark.parametrize(
    ("zone", "since", "literal"),
    [
        ("America/New_York", datetime(2026, 7, 1, 12, 0, tzinfo=UTC), "07/01/2026 08:00:00"),
        # The clock goes back at 06:00 UTC: 01:30 comes twice, and a row of the second may be older by the clock.
        ("America/New_York", datetime(2026, 11, 1, 5, 30, tzinfo=UTC), "11/01/2026 00:30:00"),
        ("America/New_York", datetime(2026, 11, 1, 6, 30, tzinfo=UTC), "11/01/2026 00:30:00"),
        ("America/New_York", datetime(2026, 11, 1, 7, 30, tzinfo=UTC), "11/01/2026 02:30:00"),
    ],
)
def test_an_instant_is_told_by_siebels_clock(
    control: SandboxControl, settings: SiebelSettings, zone: str, since: datetime, literal: str
) -> None:
    page(settings.model_copy(update={"timezone": zone, "read_overlap_s": 0}), since=since)

    assert asked(control)["searchspec"].endswith(f"[Updated] > '{literal}')")


A, B, C = ({"Id": row_id, "Member Number": f"296-{row_id}"} for row_id in ("1-A", "1-B", "1-C"))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"items": [A, B]}, "after 1-A"),
        ({"items": [B, B]}, "not in order"),
        ({"items": [C, B]}, "not in order"),
        ({"items": [B, C, A]}, "not in order"),
        ({"items": []}, "no rows, and not that there are no more"),
        ([], "no rows, and not that there are no more"),
        ({"items": [{"Member Number": "296-1-C"}]}, "number 1 of 1 has no Id"),
        ({"items": [None, None]}, "number 1 of 2 is no object"),
        ({"items": [{**B, "Id": "1-B C"}, {**C, "Id": 7}]}, "number 1 of 2 has an Id that is no ROW_ID"),
        ({"items": None}, "not rows"),
        ({}, "not rows"),
        ({"items": [{"Id": f"2-{serial:03}"} for serial in range(101)]}, "101 rows of 100"),
        ({"ERROR": "There is no such field (SBL-DAT-00144)"}, "SBL-DAT-00144"),
    ],
    ids=str,
)
def test_what_is_not_the_page_that_was_asked_for_is_no_data(
    control: SandboxControl, settings: SiebelSettings, body: object, what: str
) -> None:
    control.fault("siebel", "status", status=200, body=body)

    with pytest.raises(StageError, match=what):
        page(settings, "1-A")


@pytest.mark.parametrize(
    "broken", [None, [], {"Member Number": "296-1-C"}, {**C, "Id": 7}, {**C, "Id": "1-C D"}, {**C, "Id": ""}], ids=str
)
def test_one_row_that_cannot_be_told_stops_no_other(
    control: SandboxControl, settings: SiebelSettings, broken: object
) -> None:
    control.fault("siebel", "status", status=200, body={"items": [B, broken, {**C, "Member Number": 7}]})

    found = page(settings, "1-A")

    assert [(row.row_id, row.member_number) for row in found.rows] == [("1-B", "296-1-B"), ("1-C", None)]
    assert found.flawed == (2,)
    assert found.last_id == "1-C"


@pytest.mark.parametrize(("status", "body"), [(404, {"ERROR": "?"}), (404, {}), (200, "<html>"), (500, {"ERROR": "x"})])
def test_only_siebels_own_word_is_the_end(
    control: SandboxControl, settings: SiebelSettings, status: int, body: object
) -> None:
    control.fault("siebel", "status", status=status, body=body)

    with pytest.raises(UnavailableError):
        page(settings, "1-A")


def test_a_row_without_a_number_and_one_that_was_altered_are_kept(
    control: SandboxControl, settings: SiebelSettings
) -> None:
    altered = {**C, "Contact First Name": "Ann\0"}
    control.fault("siebel", "status", status=200, body={"items": [{"Id": "1-B"}, altered, {**C, "Id": "1-D"}]})

    rows = page(settings).rows

    assert [(row.row_id, row.member_number, row.is_altered) for row in rows] == [
        ("1-B", None, False),
        ("1-C", "296-1-C", True),
        ("1-D", "296-1-C", False),
    ]


@pytest.mark.parametrize("number", ["296-1", "O'Neil", "' OR [Id] > '0", "296-1' AND [Id]='1-2"])
def test_one_member_is_read_by_its_number_whatever_signs_it_has(
    control: SandboxControl, settings: SiebelSettings, number: str
) -> None:
    control.seed({"member_number": "296-1", "row_id": "1-1"}, {"member_number": number, "row_id": "1-2"})

    found = member(settings, number)

    assert found is not None
    assert (found.row_id, found.member_number) == ("1-2", number)


def test_who_is_not_there_is_nobody_and_another_is_no_answer(control: SandboxControl, settings: SiebelSettings) -> None:
    assert member(settings, "296-1") is None

    control.fault("siebel", "status", status=200, body={"items": [A]})
    with pytest.raises(UnavailableError, match="not asked for"):
        member(settings, "296-1")


def test_of_several_with_one_number_the_claimed_one_is_read(control: SandboxControl, settings: SiebelSettings) -> None:
    rows: list[dict[str, Any]] = [{**A, "Member Number": "296-1"}, {**B, "Member Number": "296-1"}]
    control.fault("siebel", "status", status=200, body={"items": rows})

    claimed = member(settings, "296-1", "1-B")

    assert claimed is not None
    assert claimed.row_id == "1-B"
    for claim in (None, "1-C"):
        with pytest.raises(DataError, match="several"):
            member(settings, "296-1", claim)


def test_the_test_of_the_connection_selects_few_where_members_are_many(
    control: SandboxControl, settings: SiebelSettings
) -> None:
    seed(control, 9_901)

    async def examine() -> None:
        client = Siebel(settings, 1)
        await client.test()
        await client.close()

    asyncio.run(examine())

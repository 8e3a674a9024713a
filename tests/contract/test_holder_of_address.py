"""Who has an e-mail address in CrowdTwist: by GET, and by a search of the inactive; never on the word of another."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from deploy.sandbox.server import RunningSandbox, SandboxControl
from shared.errors import StageError, UnauthorisedError, UnavailableError
from shared.settings import Settings
from shared.systems.crowdtwist import CrowdTwist, User
from shared.systems.transport import Exchange
from tests.crowdtwist_stage import CREATE, DELETE, NUMBER, done, settings_of

ADDRESS = "andy.cole@example.org"
Look = Callable[[CrowdTwist], Callable[[Exchange, str], Coroutine[Any, Any, User | None]]]
LOOKS = [lambda client: client.find_by_email, lambda client: client.search_inactive]


def looked_up(settings: Settings, look: Look, address: str = ADDRESS) -> User | None:
    async def run() -> User | None:
        client = CrowdTwist(settings.crowdtwist, 1)
        try:
            return await look(client)(client.exchange(), address)
        finally:
            await client.close()

    return asyncio.run(run())


def by_email(settings: Settings, address: str = ADDRESS) -> User | None:
    return looked_up(settings, LOOKS[0], address)


def inactive(settings: Settings, address: str = ADDRESS) -> User | None:
    return looked_up(settings, LOOKS[1], address)


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS.upper()])
def test_the_holder_is_found_whatever_the_case(settings: Settings, address: str) -> None:
    done(settings, CREATE)
    found = by_email(settings, address)
    assert found is not None
    assert (found["third_party_id"], found["is_active"]) == (NUMBER, True)


def test_nobody_is_no_error(settings: Settings) -> None:
    done(settings, CREATE)
    assert by_email(settings, "nobody@example.org") is None
    assert inactive(settings, ADDRESS) is None


@pytest.mark.parametrize("is_shown", [True, False])
def test_an_inactive_holder_is_found_by_one_of_both_ways(
    settings: Settings, control: SandboxControl, *, is_shown: bool
) -> None:
    control.set("crowdtwist", email_finds_inactive=is_shown)
    done(settings, CREATE)
    done(settings, DELETE)
    assert (by_email(settings) is not None) is is_shown
    found = inactive(settings, ADDRESS.upper())
    assert found is not None
    assert (found["third_party_id"], found["is_active"]) == (NUMBER, False)


def test_an_address_that_only_begins_so_is_not_taken(settings: Settings) -> None:
    done(settings, CREATE)
    done(settings, DELETE)
    assert inactive(settings, "andy.cole@example.or") is None


def test_a_plus_and_a_slash_are_the_address_and_no_other_path(settings: Settings, sandbox: RunningSandbox) -> None:
    assert by_email(settings, "a+b/c?d=e#f@example.org") is None
    (call,) = sandbox.control.calls("crowdtwist", limit=1)
    assert "a%2Bb%2Fc%3Fd%3De%23f%40example.org" in str(call)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "body",
    [
        {"error": "none"},
        ["text"],
        {"id": 1, "third_party_id": "296-9", "email_address": "other@example.org"},
        {"id": 1, "third_party_id": "296-9"},
    ],
)
def test_the_answer_about_another_address_is_not_taken(
    settings: Settings, control: SandboxControl, look: Look, body: object
) -> None:
    control.fault("crowdtwist", "status", status=200, body=body)
    with pytest.raises(UnavailableError):
        looked_up(settings, look)


def test_others_that_a_search_finds_are_passed_over(settings: Settings, control: SandboxControl) -> None:
    other = {"id": 1, "third_party_id": "296-9", "email_address": f"x{ADDRESS}"}
    mine = {"id": 2, "third_party_id": None, "email_address": ADDRESS}
    control.fault("crowdtwist", "status", status=200, body=[other, mine])
    found = inactive(settings)
    assert found is not None
    assert found["id"] == 2


def test_a_get_that_is_forbidden_because_the_user_is_inactive_shows_nobody(
    settings: Settings, control: SandboxControl
) -> None:
    body = {"error": "forbidden", "message": "User is inactive."}
    control.fault("crowdtwist", "status", status=403, body=body, method="GET")
    assert by_email(settings) is None


@pytest.mark.parametrize("look", LOOKS)
def test_a_wrong_key_is_said_and_not_taken_for_nobody(sandbox: RunningSandbox, look: Look) -> None:
    with pytest.raises(UnauthorisedError):
        looked_up(settings_of(sandbox, api_key="wrong"), look)


@pytest.mark.parametrize("look", LOOKS)
def test_a_maintenance_page_is_not_taken_for_nobody(settings: Settings, control: SandboxControl, look: Look) -> None:
    control.fault("crowdtwist", "maintenance")
    with pytest.raises(StageError):
        looked_up(settings, look)

"""What the contract tests of the crowdtwist stage share: a member, and one attempt at it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deploy.sandbox.server import RunningSandbox, SandboxControl
from shared.instances import Done, Failed, Result, Work
from shared.pipeline import Stage
from shared.settings import CrowdTwistSettings, Settings
from tests.stages import attempted

NUMBER = "296-1"
USER: dict[str, Any] = {
    "third_party_id": NUMBER,
    "lang_pref": "en",
    "is_active": 1,
    "first_name": "Andy",
    "last_name": "Cole",
    "middle_name": None,
    "date_of_birth": 312681600,
    "email_address": "andy.cole@example.org",
    "gender_id": 2,
    "postal_code": "10010",
    "country_code": None,
    "city_name": None,
    "city_id": None,
}
CREATE = Work(1, 1, 1, NUMBER, "enroll", {}, user=USER)
UPDATE = replace(CREATE, operation="update", known_in_crowdtwist=True)
DELETE = Work(1, 1, 1, NUMBER, "delete", {}, user={"third_party_id": NUMBER, "is_active": 0}, ct_user_id=1)


def settings_of(sandbox: RunningSandbox, **details: Any) -> Settings:  # noqa: ANN401 - settings of many types
    known = {"base_url": sandbox.crowdtwist, "api_key": "sandbox-key", "timeout_s": 0.5}
    return Settings(crowdtwist=CrowdTwistSettings(**(known | details)))


def attempt_all(settings: Settings, works: Sequence[Work]) -> Sequence[Result]:
    return attempted(Stage.CROWDTWIST, settings, works)


def attempt(settings: Settings, work: Work) -> Result:
    return attempt_all(settings, [work])[0]


def done(settings: Settings, work: Work) -> Done:
    result = attempt(settings, work)
    assert isinstance(result, Done), result
    return result


def failed(settings: Settings, work: Work) -> Failed:
    result = attempt(settings, work)
    assert isinstance(result, Failed), result
    return result


def methods(result: Result) -> list[str]:
    return [call.method for call in result.calls]


def stored(control: SandboxControl) -> dict[str, Any]:
    user = control.user(NUMBER)
    assert user is not None
    return user

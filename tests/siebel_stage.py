"""What the contract tests of the siebel stage share: members, and one attempt at telling of them."""

from dataclasses import replace
from typing import Any

from deploy.sandbox.server import RunningSandbox, SandboxControl
from shared.instances import Done, Failed, Result, Work
from shared.pipeline import Stage, SyncStatus
from shared.settings import Settings, SiebelSettings
from tests.stages import attempted

SUCCESS = Work(1, 1, 1, "296-1", "update", {}, row_id="1-R1", status=SyncStatus.SUCCESS)
TAKEN = replace(SUCCESS, instance_id=12, status=SyncStatus.DATA_ERROR, error="Email Address is already taken")


def settings_of(sandbox: RunningSandbox, **details: Any) -> Settings:  # noqa: ANN401 - settings of many types
    known = {"base_url": sandbox.siebel, "username": "SADMIN", "password": "SADMIN", "timeout_s": 0.5}
    return Settings(siebel=SiebelSettings(**(known | details)))


def attempt(settings: Settings, *works: Work) -> list[Result]:
    return attempted(Stage.SIEBEL, settings, works)


def done(settings: Settings, work: Work) -> Done:
    (result,) = attempt(settings, work)
    assert isinstance(result, Done), result
    return result


def failed(settings: Settings, work: Work) -> Failed:
    (result,) = attempt(settings, work)
    assert isinstance(result, Failed), result
    return result


def shown(control: SandboxControl, number: str = "296-1") -> tuple[str, str]:
    member = control.member(number)
    assert member is not None
    return member["status"], member["error"]


def many(count: int, **details: Any) -> list[Work]:  # noqa: ANN401 - fields of many types
    numbers = range(1, count + 1)
    works = [replace(SUCCESS, instance_id=n, member_number=f"296-{n}", row_id=f"1-R{n}") for n in numbers]
    return [replace(work, **details) for work in works]

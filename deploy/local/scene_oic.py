"""The scene `oic`: the flow runs in Oracle Integration, which refuses, is not active, and rejects our token."""

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.scene_downtime import Downtime, play
from deploy.local.scene_theatre import OIC, Face, Scene, Theatre, fault
from deploy.sandbox.client import SandboxControl
from shared.pipeline import Stage

_FLOW = "/ic/api/integration/v1/flows/rest/"
_TOKEN = "/oauth2/v1/token"  # noqa: S105  # a path
_REJECTED = 401
_OK = 200
_ALL = 20_000
_ALLOWED = ([_REJECTED, _REJECTED], [_REJECTED])
"""The calls of an attempt with a rejected token: with the kept one and a fresh one; or there was no fresh one."""


@contextmanager
def _inactive(control: SandboxControl) -> Iterator[None]:
    control.set(OIC, active=False)
    try:
        yield
    finally:
        control.set(OIC, active=True)


@contextmanager
def _other_secret(control: SandboxControl) -> Iterator[None]:
    control.set(OIC, client_secret="rotated")  # noqa: S106  # opens nothing
    control.revoke_tokens()
    try:
        yield
    finally:
        control.set(OIC, client_secret="secret")  # noqa: S106  # opens nothing


_FACES = (
    Face("it refuses connections", fault(OIC, "refuse")),
    Face("its integration is not active (404)", _inactive),
    Face("the integration rejects every token (401)", fault(OIC, "status", status=_REJECTED, path=_FLOW)),
    Face("our client's secret was changed, and all tokens revoked: there are no fresh ones (401)", _other_secret),
)


def scene(outage_s: float = 60.0) -> Scene:
    """Give the scene.  Units: seconds of outage; what depends on it shrinks with it."""
    of = Downtime(Stage.OIC, outage_s, _FACES, path=_FLOW)

    def act(theatre: Theatre) -> None:
        play(theatre, of)
        _check_tokens(theatre)

    return Scene(
        about=(
            "The member sync flow runs in Oracle Integration, and that is away in four ways. No member is to blame for "
            "any of them:\nthey are held, Siebel shows `OIC Failure`, and everything goes on by itself."
        ),
        shortened=of.shortened,
        settings=lambda given: of.settings(given, mode="remote"),
        act=act,
        simulated=frozenset(Stage),
    )


def _check_tokens(theatre: Theatre) -> None:
    """Of each attempt whose token was rejected: one fresh token, tried once, then it is a failure."""
    calls = theatre.control.calls(OIC, limit=_ALL)
    rejected = [one for one in calls if one["path"].startswith(_FLOW) and one["status"] == _REJECTED]
    fetched = sum(one["path"] == _TOKEN and one["status"] == _OK for one in calls)
    attempts = [
        [call["http_status"] for call in line["calls"]]
        for number in {one["key"] for one in rejected}
        for line in theatre.activity(number)
        if line["code"] == "unauthorised" and line["calls"]
    ]
    with_fresh_one = attempts.count([_REJECTED, _REJECTED])
    odd = [f"an attempt's calls were answered {one}" for one in attempts if one not in _ALLOWED]
    theatre.promise(
        f"a rejected token is replaced by a fresh one once, then it is a failure: {with_fresh_one} attempts with a "
        f"fresh one, {fetched} tokens fetched in all",
        odd or ([] if with_fresh_one else ["no fresh token was rejected"]),
    )

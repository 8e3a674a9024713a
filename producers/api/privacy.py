"""Who has what of whom: everything that is kept of one member, and forgetting it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.api.description import answered
from producers.api.reads import MemberNumber, Reader, json_answer, unmasked_reader
from producers.api.watching import PauseBody
from producers.http.auth import Right
from producers.http.operating import body_of, described_body, operates
from producers.http.request import ProblemError, described, ledger_of, settings_of
from producers.operations import privacy
from producers.operations.job_control import Operator
from producers.operations.privacy import FORGET, SEARCHED_WITHIN_S, Forgotten, NotNowError, Person

router = APIRouter(tags=["privacy"])

WAIT_S = 5.0
"""A call that is out ends within this time, as a rule; whoever asks is not kept for longer."""
_PERSON: dict[str, Any] = {
    "member_number": "296-70012345",
    "at": "2026-11-23T10:07:41Z",
    "unmasked": False,
    "rows": {"payload": 1, "member": 1},
    "kept": {
        "payload": [
            {
                "instance_id": 4711,
                "event": None,
                "event_json": {
                    "event_id": "E-1",
                    "operation": "update",
                    "member": {"member_number": "296-70012345", "last_name": "C***"},
                },
            }
        ],
        "member": [{"member_number": "296-70012345", "row_id": "1-2AB3", "email_key": "***", "echoed": None}],
    },
    "elsewhere": [{"table": "activity", "key": {"instance_id": 4690, "id": 18_212}, "columns": ["what"]}],
    "searched": 1.0,
}
_FORGOTTEN: dict[str, Any] = {
    "member_number": "296-70012345",
    "forgotten_at": "2026-11-23T10:07:41Z",
    "deleted": {"activity": 12, "payload": 3, "mapping": 3, "instance": 3, "member": 1},
    "cleared": {"activity": 1, "operator_action": 2},
    "unsent": 0,
}


@router.get(
    "/v1/members/{member_number:number}/person",
    summary="Everything that is kept of one member",
    responses={
        **answered("Its own rows, table by table, and where rows of others name it", Person, _PERSON),
        **described("invalid_parameter", 401, 403, "no_such_member", 503),
    },
)
def show_person(request: Request, who: Reader, member_number: MemberNumber) -> Response:
    """Show everything that any table has of one member; masked, unless the role may see people.

    Where its rows are is known at once; the words of others' instances are searched for it for 5 s, the newest first,
    and `searched` says which part of them that was.  `membersync person` searches all.
    """
    found = privacy.person(
        ledger_of(request), member_number, unmasked_for=unmasked_reader(who), within_s=SEARCHED_WITHIN_S
    )
    if found is None:
        raise _nothing()
    return json_answer(found)


@router.post(
    "/v1/members/{member_number:number}/forget",
    summary="Erase everything that is kept of one member",
    responses={
        **answered("Forgotten", Forgotten, _FORGOTTEN),
        **described("invalid_parameter", 401, 403, "no_such_member", "not_now", "body_too_large", 503),
    },
    openapi_extra=described_body(PauseBody, forget={"reason": "request 4711 of the data protection officer"}),
)
def forget_member(
    request: Request,
    operator: Annotated[Operator, Depends(operates(FORGET, Right.FORGET))],
    member_number: MemberNumber,
    body: Annotated[PauseBody, Depends(body_of(PauseBody))],
) -> Response:
    """Erase a member from every table in one transaction; what is not sent yet is erased with it.

    The audit keeps that it happened.  What occurred before is refused from then on, what occurs later begins anew.
    Siebel and CrowdTwist are not asked: erase the person there first.  The words of others are searched for it for
    `MEMBERSYNC_API__FORGET_WITHIN_S`; in a ledger too large for that nothing is done, and the command line has to.
    """
    of = settings_of(request)
    try:
        found = privacy.forget(
            ledger_of(request),
            operator,
            member_number,
            body.reason,
            of,
            wait_s=WAIT_S,
            within_s=of.api.forget_within_s,
        )
    except NotNowError as error:
        raise ProblemError(409, "not_now", str(error)) from None
    if found is None:
        raise _nothing()
    return json_answer(found)


def _nothing() -> ProblemError:
    return ProblemError(404, "no_such_member", "nothing is kept of such a member")

"""Putting right what CrowdTwist lost, and what differs: resends and repairs.  `dead_letters` lists their jobs."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.api import job_examples as job_example
from producers.api.dead_letters import asked
from producers.api.description import answered
from producers.http.operating import RepairBody, ResendBody, body_of, described_body, operates
from producers.http.request import ProblemError, described, ledger_of
from producers.operations import job_control
from producers.operations.job_control import Operator
from shared.ledger.jobs import Job, Plan

router = APIRouter(tags=["repairing"])


@router.post(
    "/v1/resends",
    status_code=202,
    summary="Send CrowdTwist once more what it acknowledged, since it may have lost it",
    responses={
        **answered("Dry run: what would become of them", Plan, job_example.RESEND_PLAN),
        **answered("The job, which goes on by itself; `Location` is where to look at it", Job, job_example.RESEND, 202),
        **described("invalid_parameter", 401, 403, "nothing_matched", "all_refused", "body_too_large", 503),
    },
    openapi_extra=described_body(
        ResendBody,
        dry_run={"acknowledged_since": "2026-11-22T08:00:00Z", "dry_run": True},
        after_a_restore={
            "acknowledged_since": "2026-11-22T08:00:00Z",
            "acknowledged_until": "2026-11-23T06:30:00Z",
            "reason": "CrowdTwist was restored to 08:00 of yesterday",
        },
        recreating={
            "acknowledged_since": "24h",
            "filter": {"lane": "live"},
            "rate": 2000,
            "recreate": True,
            "reason": "the restore lost new members too",
        },
    ),
)
def post_resend(
    request: Request,
    operator: Annotated[Operator, Depends(operates("resend"))],
    body: Annotated[ResendBody, Depends(body_of(ResendBody))],
) -> Response:
    """Plan, and unless it is a dry run make the job: one PUT of each member's newest acknowledged content.

    Newer events go before it, Siebel is told nothing, and whom CrowdTwist has no longer is counted as `gone`.
    """
    return asked(request, operator, body.ask(), dry_run=body.dry_run)


@router.post(
    "/v1/repairs",
    status_code=202,
    summary="Repair differences that a reconciliation found",
    responses={
        **answered("Dry run: what would become of them", Plan, job_example.REPAIR_PLAN),
        **answered("The job, which goes on by itself; `Location` is where to look at it", Job, job_example.REPAIR, 202),
        **described(
            "invalid_parameter",
            401,
            403,
            "no_such_reconciliation",
            "nothing_matched",
            "all_refused",
            "body_too_large",
            503,
        ),
    },
    openapi_extra=described_body(
        RepairBody,
        dry_run={"run": "12", "dry_run": True},
        of_some_classes={"run": "12", "class": ["never_sent", "missed_event"], "reason": "the workflow was inactive"},
        of_one_member={"run": "12", "filter": {"member": ["296-180296399"]}, "reason": "ticket 77"},
    ),
)
def post_repair(
    request: Request,
    operator: Annotated[Operator, Depends(operates("repair"))],
    body: Annotated[RepairBody, Depends(body_of(RepairBody))],
) -> Response:
    """Plan, and unless it is a dry run make the job: an event of Siebel's row of that moment, or a status told anew.

    An orphan, and whom CrowdTwist has no more, are refused: a person decides.
    """
    ask = body.ask()
    if not job_control.has_run(ledger_of(request), int(body.run)):
        raise ProblemError(404, "no_such_reconciliation", "there is no such reconciliation")
    return asked(request, operator, ask, dry_run=body.dry_run)

"""Putting right what CrowdTwist lost: resends.  The jobs that come of them are listed beside those of dead letters."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from producers.api import job_examples as job_example
from producers.api.dead_letters import asked
from producers.api.description import answered
from producers.http.operating import ResendBody, body_of, described_body, operates
from producers.http.request import described
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

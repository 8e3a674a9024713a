"""Incidents: what went wrong for a while; listed, and one by one."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer
from producers.http.request import Paged, ProblemError, described, ledger_of
from producers.operations import incident_control
from shared.ledger.incident_reads import Incident, IncidentPage

router = APIRouter(tags=["watching"])

IncidentId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]

_INCIDENT: dict[str, Any] = {
    "id": "7",
    "state": "closed",
    "kind": "connection",
    "stage": "crowdtwist",
    "fingerprint": "crowdtwist-5f0c1a9e",
    "cause": "CrowdTwist: answered 503 (HTTP 503)",
    "opened_at": "2026-11-23T08:51:02Z",
    "resolved_at": "2026-11-23T09:03:40Z",
    "closed_at": "2026-11-23T09:18:40Z",
    "windows": {
        "connection": {"from_at": "2026-11-23T08:51:00Z", "to_at": "2026-11-23T09:03:40Z"},
        "impact": {"from_at": "2026-11-23T08:50:59Z", "to_at": "2026-11-23T09:04:21Z"},
    },
    "counts": {
        "instances": 4310,
        "waiting": 0,
        "openings": 3,
        "flaps": 2,
        "first_instance_id": "48211",
        "last_instance_id": "52530",
        "filter": "incident=7",
    },
    "cost": {
        "late_events": 4310,
        "member_minutes_stale": 27344.5,
        "worst_age_s": 802.4,
        "wasted_calls": 19,
        "statuses_told": 6120,
        "dead_letters": 0,
        "live_p95_s": 741.2,
        "live_p95_week_before_s": 0.09,
    },
    "counted_at": "2026-11-23T09:18:41Z",
    "acknowledged_at": "2026-11-23T08:55:10Z",
    "acknowledged_by": "oscar",
    "merged_into": None,
    "same_before": ["3"],
}


@router.get(
    "/v1/incidents",
    summary="Incidents, newest first",
    responses={**answered("A page of incidents", IncidentPage, {"items": [_INCIDENT], "next": None}), **LISTED},
)
def list_incidents(request: Request, _: Reader, page: Paged) -> Response:
    """List what went wrong for a while: a connection that was down, however often, or a cause that many met."""
    return json_answer(incident_control.incidents(ledger_of(request), limit=page.limit, before=page.before))


@router.get(
    "/v1/incidents/{incident_id:int}",
    summary="One incident",
    responses={
        **answered("The incident", Incident, _INCIDENT),
        **described("invalid_parameter", 401, 403, "no_such_incident", 503),
    },
)
def show_incident(request: Request, _: Reader, incident_id: IncidentId) -> Response:
    """Show its windows, its cause, whom it affected by predicate and range, and what it cost.

    `instances?incident=ID` lists those whom it affected.
    """
    found = incident_control.incident(ledger_of(request), incident_id)
    if found is None:
        raise _unknown()
    return json_answer(found)


def _unknown() -> ProblemError:
    return ProblemError(404, "no_such_incident", "there is no such incident")

"""Who may use which route: a row for each that there is, in the group of those who may.

| group       | nobody | producer | viewer | operator | admin |
|-------------|--------|----------|--------|----------|-------|
| `OPEN`      | yes    | yes      | yes    | yes      | yes   |
| `SENDERS`   |        | yes      |        | yes      | yes   |
| `READERS`   |        |          | yes    | yes      | yes   |
| `OPERATORS` |        |          |        | yes      | yes   |
| `ADMINS`    |        |          |        |          | yes   |

Whoever adds a route adds its row.  What `READERS` see is masked; that an operator sends events with force only, and
what an admin sees, is said where events and people are tested.
"""

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

OPEN = """
    GET  /openapi.json
    GET  /healthz
    GET  /readyz
    GET  /login
    POST /logout
"""
SENDERS = """
    POST /v1/member-events
"""
READERS = """
    GET  /v1/instances
    GET  /v1/instances/{instance_id}
    GET  /v1/members/{member_number}
    GET  /v1/members/{member_number}/comparison
    GET  /v1/members/{member_number}/changes
    GET  /v1/members/{member_number}/person
    GET  /v1/export/{what}
    GET  /v1/refusals
    GET  /v1/audit
    GET  /v1/suggestions
    GET  /v1/cases
    GET  /v1/cases.csv
    GET  /v1/cases/{case_id}
    GET  /v1/dead-letters
    GET  /v1/cause-notes
    GET  /v1/requeues
    GET  /v1/requeues/{job_id}
    GET  /v1/discards
    GET  /v1/discards/{job_id}
    GET  /v1/undos
    GET  /v1/undos/{job_id}
    GET  /v1/resends
    GET  /v1/resends/{job_id}
    GET  /v1/repairs
    GET  /v1/repairs/{job_id}
    GET  /v1/incidents
    GET  /v1/incidents/{incident_id}
    GET  /v1/incidents/{incident_id}/export
    GET  /v1/maintenance
    GET  /v1/approvals
    GET  /v1/guards
    GET  /v1/guards/{hold_id}
    GET  /v1/reconciliations
    GET  /v1/reconciliations/{run_id}
    GET  /v1/reconciliations/{run_id}/differences
    GET  /v1/connections
    GET  /v1/status
    GET  /v1/throughput
    GET  /v1/latencies
    GET  /metrics
    POST /login
    POST /saved-filters
    POST /saved-filters/{filter_id}/remove
    GET  /
    GET  /live/overview
    GET  /connections
    GET  /live/connections
    GET  /instances
    GET  /live/instances
    GET  /search
    GET  /suggestions
    GET  /instances/{instance_id}
    GET  /live/instances/{instance_id}
    GET  /instances/{instance_id}/unmask
    GET  /instances.csv
    GET  /dead-letters.csv
    GET  /history
    GET  /outcomes
    GET  /audit
    GET  /live/audit
    GET  /members/{number}/unmask
    GET  /members/{number}/comparison
    GET  /members/{number}/changes
    GET  /members/{number}/person
    GET  /members/{number}
    GET  /live/members/{number}
    GET  /cases
    GET  /cases.csv
    GET  /cases/{case}/unmask
    GET  /cases/{case}
    GET  /dead-letters
    GET  /live/dead-letters
    GET  /refusals
    GET  /approvals
    GET  /guards
    GET  /live/guards
    GET  /incidents
    GET  /live/incidents
    GET  /incidents/{incident_id}
    GET  /live/incidents/{incident_id}
    GET  /incidents/{incident_id}/export/{form}
    GET  /jobs
    GET  /live/jobs
    GET  /jobs/{job_id}
    GET  /live/jobs/{job_id}
    GET  /reconciliations
    GET  /live/reconciliations
    GET  /reconciliations/{run_id}
    GET  /live/reconciliations/{run_id}
    GET  /reconciliations/{run_id}/repair
"""
OPERATORS = """
    POST /v1/cases/{case_id}/acknowledge
    POST /v1/cases/{case_id}/look-up
    POST /v1/cause-notes
    DELETE /v1/cause-notes/{note_id}
    POST /v1/requeues
    POST /v1/requeues/rehearse
    POST /v1/requeues/{job_id}/stop
    POST /v1/discards
    POST /v1/discards/{job_id}/stop
    POST /v1/undos
    POST /v1/undos/{job_id}/stop
    POST /v1/resends
    POST /v1/resends/{job_id}/stop
    POST /v1/repairs
    POST /v1/repairs/{job_id}/stop
    POST /v1/guards/{hold_id}/release
    POST /v1/guards/{hold_id}/discard
    POST /v1/reconciliations
    POST /v1/reconciliations/{run_id}/stop
    POST /v1/connections/{name}/pause
    POST /v1/connections/{name}/resume
    POST /v1/connections/{name}/test
    POST /v1/maintenance
    DELETE /v1/maintenance/{window_id}
    POST /v1/approvals/{approval_id}/approve
    POST /v1/approvals/{approval_id}/refuse
    POST /v1/incidents/{incident_id}/acknowledge
    POST /v1/incidents/{incident_id}/notes
    POST /v1/incidents/{incident_id}/notes/{note_id}
    POST /v1/incidents/{incident_id}/merge
    POST /v1/incidents/{incident_id}/split
    POST /maintenance
    POST /maintenance/{window_id}/remove
    POST /approvals/{approval_id}/approve
    POST /approvals/{approval_id}/refuse
    POST /connections/{name}/test
    POST /connections/{name}/pause
    POST /connections/{name}/resume
    POST /members/{number}/send-again
    POST /cases/{case}/acknowledge
    POST /cases/{case}/look-up
    GET  /dead-letters/plan
    POST /dead-letters/plan
    POST /dead-letters/rehearse
    POST /dead-letters/canary
    POST /guards/{hold_id}/release
    POST /guards/{hold_id}/discard
    POST /incidents/{incident_id}/acknowledge
    POST /incidents/{incident_id}/notes
    POST /incidents/{incident_id}/merge
    POST /incidents/{incident_id}/split
    POST /cause-notes
    POST /cause-notes/{note_id}/remove
    POST /jobs
    POST /jobs/{job_id}/stop
    GET  /reconciliations/plan
    POST /reconciliations
    POST /reconciliations/{run_id}/stop
    POST /reconciliations/{run_id}/repair
    GET  /resends/plan
    POST /resends
"""
ADMINS = """
    POST /v1/members/{member_number}/forget
    POST /instances/{instance_id}/unmask
    POST /members/{number}/unmask
    POST /members/{number}/changes
    POST /members/{number}/comparison
    POST /members/{number}/forget
    POST /cases/{case}/unmask
"""
WHO = {
    OPEN: {"nobody", "producer", "viewer", "operator", "admin"},
    SENDERS: {"producer", "operator", "admin"},
    READERS: {"viewer", "operator", "admin"},
    OPERATORS: {"operator", "admin"},
    ADMINS: {"admin"},
}
ROWS = [(" ".join(line.split()), who) for group, who in WHO.items() for line in group.splitlines() if line.strip()]
"""Each route, `METHOD path`, with those who may use it."""


def routes_of(app: FastAPI) -> Iterator[str]:
    """Iterate over the routes that *app* has, as `METHOD path`; its files, which anybody may have, are none."""
    for route in iter_route_contexts(app.routes):
        yield from (f"{method} {route.path_format}" for method in (route.methods or set()) - {"HEAD"})

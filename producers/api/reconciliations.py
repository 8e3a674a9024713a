"""Reconciliations over HTTP: start one, list them, one with its figures, its differences, stop it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from producers.api import run_examples as example
from producers.api.description import answered
from producers.api.reads import LISTED, Reader, json_answer, unmasked_reader
from producers.http.operating import SAID, body_of, described_body, operates
from producers.http.request import INSTANT, WORD, Paged, ProblemError, described, ledger_of, settings_of
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import INSTANT_SAID, instant_of
from producers.operations.reconcile import reads, runs
from producers.operations.reconcile.runs import MEMBERS_MAX, Ask
from shared.ledger.engine import Ledger, transaction
from shared.ledger.reconciliations import Run, RunPage
from shared.reconciling import DriftClass

router = APIRouter(tags=["reconciling"])

RunId = Annotated[int, Path(ge=0, le=2**53 - 1, description="its `id`")]


class DifferenceJson(BaseModel):
    """A difference as JSON has it."""

    member_number: str
    drift_class: DriftClass = Field(alias="class")
    field: str | None
    siebel: object
    crowdtwist: object
    ledger: object
    first_seen_at: datetime
    seen_at: datetime
    evidence: str
    repairs: int
    repaired_at: datetime | None


class DifferenceListing(BaseModel):
    """Differences in the order in which they were found; *next* is the cursor of the page after this one."""

    items: list[DifferenceJson]
    next: str | None


_FULL_OR_SAMPLE: dict[str, JsonValue] = {
    "not": {"required": ["full", "sample"], "properties": {"full": {"const": True}, "sample": {"type": "integer"}}}
}


class ReconcileBody(BaseModel):
    """What to compare; nothing said: a sample of `MEMBERSYNC_RECONCILE__SAMPLE` members."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_FULL_OR_SAMPLE)

    full: bool = Field(default=False, description="ask CrowdTwist about every member")
    sample: int | None = Field(None, ge=1, le=10**9, description="ask it about so many, drawn by strata")
    since: Annotated[str | None, WithJsonSchema({"anyOf": [INSTANT, {"type": "null"}]})] = Field(
        None, description=f"only members that Siebel changed since then; {INSTANT_SAID}"
    )
    member: list[Annotated[str, WORD, Field(json_schema_extra={"allOf": [SAID]})]] = Field(
        default_factory=list,
        max_length=MEMBERS_MAX,
        validation_alias=AliasChoices("member", "members"),
        description="only these Member Numbers",
    )
    share: float | None = Field(None, gt=0, le=1, description="part of CrowdTwist's budget; null: as the settings say")

    def ask(self) -> Ask:
        """Return what is asked.

        Raises:
            AskError: with the name of the field.
        """
        try:
            since = instant_of("since", self.since, datetime.now(UTC))
        except ValueError as error:
            raise AskError.of(error) from None
        return Ask(self.full, self.sample, since, tuple(self.member), self.share)


@router.post(
    "/v1/reconciliations",
    status_code=202,
    summary="Compare Siebel, CrowdTwist and the ledger",
    responses={
        **answered("The run, which goes on by itself; `Location` is where to look at it", Run, example.RUN_BEGUN, 202),
        **described("invalid_parameter", 401, 403, "body_too_large", 503),
    },
    openapi_extra=described_body(
        ReconcileBody,
        required=False,
        everybody={"full": True, "share": 0.2},
        sample={"sample": 3000},
        some={"member": ["296-180296399"]},
    ),
)
def post_reconciliation(
    request: Request,
    operator: Annotated[Operator, Depends(operates("reconcile"))],
    body: Annotated[ReconcileBody, Depends(body_of(ReconcileBody))],
) -> Response:
    """Make a run; files of members are handed over by `membersync reconcile`, which reads them where they lie."""
    run = runs.start(ledger_of(request), operator, body.ask(), settings_of(request))
    answer = json_answer(run, 202)
    answer.headers["Location"] = f"/v1/reconciliations/{run.id}"
    return answer


@router.get(
    "/v1/reconciliations",
    summary="List reconciliations, newest first",
    responses={**answered("A page of runs with their figures", RunPage, example.RUNS), **LISTED},
)
def list_reconciliations(request: Request, _: Reader, page: Paged) -> Response:
    """List runs; what a run has not looked at it does not call equal."""
    return json_answer(runs.listed(ledger_of(request), limit=page.limit, before=page.before))


@router.get(
    "/v1/reconciliations/{run_id:int}",
    summary="One reconciliation with its figures",
    responses={
        **answered("The run", Run, example.RUN),
        **described("invalid_parameter", 401, 403, "no_such_reconciliation", 503),
    },
)
def show_reconciliation(request: Request, _: Reader, run_id: RunId) -> Response:
    """Show how far a run is, or what it came to: estimates are parts of all members, with a 95 % interval."""
    return json_answer(_run(ledger_of(request), run_id))


@router.get(
    "/v1/reconciliations/{run_id:int}/differences",
    summary="The differences of a reconciliation",
    responses={
        **answered("A page of differences, the three values side by side", DifferenceListing, example.DIFFERENCES),
        **described("invalid_parameter", 401, 403, "no_such_reconciliation", 503),
    },
)
def list_differences(  # noqa: PLR0913  # one parameter each
    *,
    request: Request,
    who: Reader,
    run_id: RunId,
    page: Paged,
    classes: Annotated[Sequence[DriftClass], Query(alias="class", description="of these classes; none: of all")] = (),
    member: Annotated[Sequence[Annotated[str, WORD]], Query(description="of these Member Numbers")] = (),
) -> Response:
    """List what was seen twice, a settle time apart; values are masked unless the role may see people."""
    _run(ledger_of(request), run_id)
    with transaction(ledger_of(request)) as tx:
        found = reads.differences(
            tx,
            run_id,
            classes=classes,
            members=member,
            limit=page.limit,
            after=page.before,
            unmasked_for=unmasked_reader(who),
        )
    return json_answer({"items": [one.shown() for one in found.items], "next": found.next})


@router.post(
    "/v1/reconciliations/{run_id:int}/stop",
    summary="Stop a reconciliation",
    responses={
        **answered("The run, stopped", Run, example.RUN | {"state": "stopped", "why": "stopped by oscar"}),
        **described("invalid_parameter", 401, 403, "no_such_reconciliation", "job_is_over", 503),
    },
)
def stop_reconciliation(
    request: Request, operator: Annotated[Operator, Depends(operates("stop reconcile"))], run_id: RunId
) -> Response:
    """End a run where it is; what it found so far stays."""
    ledger = ledger_of(request)
    _run(ledger, run_id)
    if not runs.stop(ledger, operator, run_id):
        raise ProblemError(409, "job_is_over", "the run has ended or was stopped already")
    return json_answer(_run(ledger, run_id))


def _run(ledger: Ledger, run_id: int) -> Run:
    run = runs.read(ledger, run_id)
    if run is None:
        raise ProblemError(404, "no_such_reconciliation", "there is no such reconciliation")
    return run

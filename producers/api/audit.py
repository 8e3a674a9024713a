"""What operators did, what they were not allowed to do, and who was shown people unmasked; and what to filter by."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from producers.api import example_records as example
from producers.api.description import answered
from producers.api.lists import SuggestionPage
from producers.api.reads import Reader, json_answer
from producers.http.dependencies import ledger_of
from producers.http.parameters import WORD, Before, Limit, action_parameters
from producers.http.problems import described
from producers.operations.filtering import LIMIT_DEFAULT
from shared.ledger import operators, suggestions
from shared.ledger.engine import transaction
from shared.ledger.operators import ActionFilter, ActionPage
from shared.ledger.suggestions import Suggesting

router = APIRouter()

_Beginning = Annotated[
    Annotated[str, WORD], Query(description="what was typed so far; none: the commonest, or the first")
]


@router.get(
    "/v1/audit",
    tags=["audit"],
    summary="List what operators did, newest first",
    responses={
        **answered("A page of actions", ActionPage, example.ACTIONS),
        **described("invalid_parameter", 401, 403, 503),
    },
)
def list_actions(
    request: Request,
    _: Reader,
    where: Annotated[ActionFilter, Depends(action_parameters)],
    before: Before,
    limit: Limit = LIMIT_DEFAULT,
) -> Response:
    """List actions with who, when, why, what they touched and the answer; denied ones too."""
    with transaction(ledger_of(request)) as tx:
        return json_answer(operators.actions(tx, where, limit=limit, before=before))


@router.get(
    "/v1/suggestions",
    tags=["reading"],
    summary="What a beginning may mean",
    responses={
        **answered(
            "Codes and words of the audit, the commonest first; members in order", SuggestionPage, example.SUGGESTIONS
        ),
        **described("invalid_parameter", 401, 403, 503),
    },
)
def list_suggestions(
    request: Request,
    _: Reader,
    field: Annotated[Suggesting, Query(description="of instances: code, member; of the audit: who, what")],
    beginning: _Beginning = "",
    limit: Annotated[int, Query(ge=1, le=100, description="at most so many")] = suggestions.LIMIT_DEFAULT,
) -> Response:
    """Suggest values for a filter, of the newest 20,000 failed instances, or actions, or of all members."""
    with transaction(ledger_of(request)) as tx:
        return json_answer(SuggestionPage(suggestions.suggested(tx, field, beginning, limit=limit)))

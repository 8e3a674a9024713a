"""For machines that watch: alive, ready, and the numbers.

`/healthz` and `/readyz` say nothing about anybody and are open; `/metrics` wants a token that may read, as soon as
there are tokens.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import exposition

from producers.api.auth import Right, needs
from producers.api.problems import described, problem
from shared.ledger import views
from shared.ledger.engine import engine

router = APIRouter(tags=["probes"])


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> JSONResponse:
    """Answer; depends on nothing, so that a ledger that is away does not get the process killed."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Whether it can take events", responses=described(503))
def readyz(request: Request) -> Response:
    """Say whether the ledger answers and has the schema of this version; if not, what is missing."""
    missing = views.missing(engine(request.app.state.settings.ledger_url))
    if missing:
        return problem(503, "not_ready", "; ".join(missing), missing=missing)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics", summary="Prometheus metrics", dependencies=[Depends(needs(Right.READ))], response_class=Response
)
def metrics(request: Request, accept: Annotated[str, Header()] = "") -> Response:
    """Give the metrics in the format that the scraper asks for."""
    encode, media_type = exposition.choose_encoder(accept)
    return Response(encode(request.app.state.metrics), headers={"Content-Type": media_type})

"""The console's composition: its pages, its files, and how it is put into the api's app."""

from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from producers.console import (
    audit,
    connection_pages,
    dead_letters,
    error_pages,
    export,
    history,
    instances,
    jobs,
    login,
    members,
    overview,
    refusal_pages,
)
from producers.console.forms import SentForms
from producers.console.live import Streams
from producers.console.overview import Overviews
from producers.console.rendering import STATIC
from producers.console.session import Sessions

_KEPT_S = 365 * 24 * 3600


def install(app: FastAPI) -> None:
    """Put the console into *app*, beside the api's routes."""
    app.state.sessions = Sessions(app.state.authenticator)
    app.state.overviews = Overviews(app.state.settings)
    app.state.streams = Streams()
    app.state.sent_forms = SentForms()
    router = APIRouter(include_in_schema=False)
    for one in (
        login,
        overview,
        instances,
        export,
        history,
        members,
        dead_letters,
        jobs,
        connection_pages,
        refusal_pages,
        audit,
    ):
        router.include_router(one.router)
    app.include_router(router)
    app.mount("/static", _Files(directory=STATIC), name="static")
    error_pages.install(app)


class _Files(StaticFiles):
    """Files whose address changes with their content, so that browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return one file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = f"public, max-age={_KEPT_S}, immutable"
        return response

"""The routes, one module for each kind of thing, and what they share."""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import Response

from api.lists import Listed, Query
from api.patience import in_time
from api.reads import look
from api.schemas import ProblemDetails
from api.security import caller_of
from jobs.database import transaction
from jobs.errors import OutcomeUnknown

T = TypeVar("T")


class DirectRoute(APIRoute):
    """A route whose endpoint takes (request, caller) and reads the rest itself.

    FastAPI describes it as any other; its resolving of dependencies, which costs a third of a small
    request's time, is left out.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what FastAPI calls with each request."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, await caller_of(request))
            return response

        return handle


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route, for the OpenAPI document: these, and what every route may answer."""
    shown = sorted({401, 429, 503, *statuses})
    return {
        status: {"model": ProblemDetails, "content": {"application/problem+json": {}}, "description": _MEANING[status]}
        for status in shown
    }


_MEANING: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "No valid API key",
    404: "There is no such thing",
    409: "The state of things does not allow this",
    412: "It is not what the client knows; nothing was changed",
    413: "The body is too large",
    415: "The body is not plain JSON",
    422: "Some part of the request is not acceptable; nothing was stored",
    429: "The tenant has made as many requests as it may. Retry-After says when the next one is taken",
    501: "This API was installed without it",
    503: "A dependency is away, or too much is waiting; nothing was stored (`outcome-unknown`: it may have been). "
    "Retry-After says when to come back",
}


async def read_from(request: Request, query: Callable[[Connection], T]) -> T:
    """Return what `query` finds; it runs in a thread."""
    state = request.app.state
    return await in_time(state.desk, partial(look, state.engine, query))


async def page_from(request: Request, query: Query, cursor: str | None) -> Listed:
    """Return a page of the list that `query` finds; from the replica, unless the client accepts nothing stored.

    Cache-Control: no-cache (RFC 9111, section 5.2.1.4) asks for the primary's answer.
    """
    wants_newest = "no-cache" in request.headers.get("cache-control", "").lower()
    listed: Listed = await request.app.state.lists.page(query, cursor, wants_newest=wants_newest)
    return listed


async def write_to(request: Request, change: Callable[[Connection], T]) -> T:
    """Return what `change` returns, once it is committed; it runs in a thread."""

    def run() -> T:
        with transaction(request.app.state.engine, commit="control.commit") as connection:
            return change(connection)

    return await in_time(request.app.state.desk, run, otherwise=OutcomeUnknown)


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `body` as JSON."""
    return Response(body.model_dump_json(), status, headers, "application/json")

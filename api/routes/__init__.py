"""The routes, one module for each kind of thing, and what they share."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.responses import Response

from api.reads import look
from api.schemas import ProblemDetails
from jobs.database import transaction

T = TypeVar("T")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route, for the OpenAPI document: these, and what every route may answer."""
    shown = sorted({401, 503, *statuses})
    return {
        status: {"model": ProblemDetails, "content": {"application/problem+json": {}}, "description": _MEANING[status]}
        for status in shown
    }


_MEANING: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "No valid API key",
    404: "There is no such thing",
    409: "The state of things does not allow this",
    413: "The body is too large",
    415: "The body is not plain JSON",
    422: "Some part of the request is not acceptable; nothing was stored",
    503: "A dependency is away, or too much is waiting; nothing was stored. Retry-After says when to come back",
}


async def read_from(request: Request, query: Callable[[Connection], T]) -> T:
    """Return what `query` finds; it runs in a thread."""
    return await to_thread.run_sync(look, request.app.state.engine, query)


async def write_to(request: Request, change: Callable[[Connection], T]) -> T:
    """Return what `change` returns, once it is committed; it runs in a thread."""

    def run() -> T:
        with transaction(request.app.state.engine) as connection:
            return change(connection)

    return await to_thread.run_sync(run)


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `body` as JSON."""
    return Response(body.model_dump_json(), status, headers, "application/json")

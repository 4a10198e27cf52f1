"""Errors as RFC 9457 problems: one table from the classes of errors to what a client sees."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from api.profiler import ProfilerMissing, ProfileRunning
from jobs import errors
from jobs.calendar.refusal import InvalidTiming
from jobs.database import is_passing
from tasks.catalogue import sentence

MEDIA_TYPE: Final = "application/problem+json"
TYPES: Final = "/problems/"


class Unauthorized(errors.PenstockError):
    """Send a valid API key as `Authorization: Bearer <key>`; `penstock keys create` makes one."""


class MalformedBody(errors.RefusedError):
    """The body is not JSON."""


class InvalidRequest(errors.RefusedError):
    """Some fields are missing, unknown or out of range."""


class BodyTooLarge(errors.RefusedError):
    """The body is larger than the limit."""


class RequestTimeout(errors.RefusedError):
    """The request did not arrive in time."""


class UnsupportedMediaType(errors.RefusedError):
    """Send the body as uncompressed application/json."""


class Overloaded(errors.Unavailable):
    """More is waiting than can be done soon; nothing was stored."""


class BacklogFull(errors.Unavailable):
    """More jobs wait for a worker than PENSTOCK_BACKLOG_LIMIT allows; nothing was stored. More workers are the cure."""


class QuotaExceeded(errors.PenstockError):
    """The tenant has made as many requests as it may; nothing was stored."""

    def __init__(self, retry_after_seconds: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Carry when the next request will be taken, and what the tenant should know."""
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers


class Busy(errors.Unavailable):
    """Somebody else works on the same thing, or PostgreSQL took too long; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a class of errors looks like from outside."""

    slug: str
    status: int
    title: str
    retry_after_seconds: int | None = None
    """The least of what clients are told; the most is three times that."""


#: Every error that a request can meet. A subclass without a row of its own is shown as its parent.
PROBLEMS: Final[Mapping[type[Exception], Problem]] = {
    MalformedBody: Problem("malformed-body", 400, "The body is not JSON"),
    errors.MalformedIdempotencyKey: Problem("malformed-idempotency-key", 400, "The Idempotency-Key is malformed"),
    errors.InvalidCursor: Problem("invalid-cursor", 400, "The cursor does not belong to this list"),
    Unauthorized: Problem("unauthorized", 401, "No valid API key"),
    errors.NotFound: Problem("not-found", 404, "There is no such thing"),
    errors.ReadOnly: Problem("read-only", 409, "This is not edited here"),
    errors.PreconditionFailed: Problem("precondition-failed", 412, "It is not what you know"),
    errors.StaleTransition: Problem("wrong-state", 409, "The job's state does not allow this"),
    ProfileRunning: Problem("profile-running", 409, "A profile is being taken"),
    ProfilerMissing: Problem("not-installed", 501, "The profiler is not installed"),
    errors.UniqueKeyTaken: Problem("unique-key-taken", 409, "An unfinished job holds this unique key"),
    BodyTooLarge: Problem("body-too-large", 413, "The body is too large"),
    RequestTimeout: Problem("request-timeout", 408, "The request took too long to arrive"),
    UnsupportedMediaType: Problem("unsupported-media-type", 415, "The body must be plain application/json"),
    QuotaExceeded: Problem("quota-exceeded", 429, "The quota is used up", 1),
    errors.UnknownTask: Problem("unknown-task", 422, "No task has this name"),
    errors.UnknownQueue: Problem("unknown-queue", 422, "No queue has this name"),
    errors.InvalidPayload: Problem("invalid-payload", 422, "The payload does not fit the task"),
    errors.InvalidJob: Problem("invalid-job", 422, "The job's options do not fit together"),
    InvalidTiming: Problem("invalid-timing", 422, "The timing cannot be kept"),
    errors.IdempotencyKeyReused: Problem("idempotency-key-reused", 422, "The key belongs to a different request"),
    InvalidRequest: Problem("invalid-request", 422, "The request is not valid"),
    errors.RefusedError: Problem("refused", 422, "The request cannot be accepted"),
    errors.OutcomeUnknown: Problem("outcome-unknown", 503, "Whether this was stored is not known", 2),
    errors.DatabaseUnavailable: Problem("database-unavailable", 503, "PostgreSQL is away", 2),
    Overloaded: Problem("overloaded", 503, "Too much is waiting", 1),
    BacklogFull: Problem("backlog-full", 503, "Too many jobs wait for a worker", 10),
    Busy: Problem("busy", 503, "PostgreSQL took too long", 1),
    errors.Unavailable: Problem("unavailable", 503, "A dependency is away", 2),
    errors.PenstockError: Problem("internal-error", 500, "Something went wrong inside Penstock"),
}


def problem_of(error: Exception) -> Problem:
    """Return the row for `error`: that of its nearest class."""
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return PROBLEMS[errors.PenstockError]


def render(error: Exception, *, path: str, request_id: str | None) -> Response:
    """Return the answer for `error`; an unforeseen one tells nothing but the request's id."""
    problem = problem_of(error)
    return _answer(problem.status, document(error, path=path, request_id=request_id), _headers(error))


def document(error: Exception, *, path: str, request_id: str | None) -> dict[str, Any]:
    """Return what the answer for `error` says."""
    problem = problem_of(error)
    known = isinstance(error, errors.PenstockError)
    body: dict[str, Any] = {
        "type": TYPES + problem.slug,
        "title": problem.title,
        "status": problem.status,
        "detail": str(error) if known else "The request id finds this in the logs.",
        "instance": path,
        "request_id": request_id,
    }
    if isinstance(error, errors.RefusedError):
        body |= {"errors": error.errors} if error.errors else {}
        body |= {"index": error.index} if error.index is not None else {}
        body |= {name: value for name, value in error.facts.items() if value is not None}
    if isinstance(error, errors.StaleTransition) and error.state:
        body["state"] = error.state
    if isinstance(error, errors.PreconditionFailed) and error.tag:
        body["etag"] = f'"{error.tag}"'
    return body


def retry_after(problem: Problem) -> int:
    """Return when to come back, in whole seconds; not the same for all, so that they do not come back together."""
    least = problem.retry_after_seconds or 1
    return random.randint(least, 3 * least)  # noqa: S311 - spreads load, keeps no secret


def _headers(error: Exception) -> dict[str, str]:
    problem, headers = problem_of(error), {}
    if isinstance(error, QuotaExceeded):
        headers = {name.decode(): value.decode() for name, value in error.headers}
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(retry_after(problem))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(encoded(body), status, {**headers, "Cache-Control": "no-store"}, MEDIA_TYPE)


def encoded(body: Any) -> bytes:
    """Return a document, or a part of one, as JSON."""
    return json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")


def shown(error: Exception) -> Exception:
    """Return the error as clients may see it; raises one that nobody foresaw."""
    if isinstance(error, errors.PenstockError):
        return error
    if is_passing(error):
        return Busy()
    raise error


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""

    async def on_error(request: Request, error: Exception) -> Response:
        return render(error, path=request.url.path, request_id=request.scope.get("request_id"))

    async def on_database(request: Request, error: Exception) -> Response:
        return await on_error(request, shown(error))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        found = [
            {"field": ".".join(map(str, one["loc"][1:])) or str(one["loc"][0]), "message": sentence(one["msg"])}
            for one in error.errors()
        ]
        return await on_error(request, InvalidRequest(errors=found))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - the same
        status = HTTPStatus(error.status_code)
        body = {
            "type": TYPES + status.phrase.lower().replace(" ", "-"),
            "title": status.phrase,
            "status": status.value,
            "detail": status.description or status.phrase,
            "instance": request.url.path,
            "request_id": request.scope.get("request_id"),
        }
        return _answer(status.value, body, {**(error.headers or {}), **_allowed(app, request.scope, status)})

    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(errors.PenstockError, on_error)
    app.add_exception_handler(DBAPIError, on_database)


def _allowed(app: FastAPI, scope: Scope, status: HTTPStatus) -> dict[str, str]:
    """Return all methods of the path: the router names those of one route alone."""
    path = getattr(scope.get("route"), "path_format", None)
    methods = app.openapi()["paths"].get(path) if status is HTTPStatus.METHOD_NOT_ALLOWED else None
    return {"Allow": ", ".join(sorted(methods)).upper()} if methods else {}

"""The OpenAPI document, made true where the routes read their requests and write their answers themselves."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import schedule_schemas, schemas

_BODIES: Final[dict[str, type[BaseModel]]] = {
    "JobRequest": schemas.JobRequest,
    "BatchRequest": schemas.BatchRequest,
    "ReplayRequest": schemas.ReplayRequest,
    "ScheduleRequest": schedule_schemas.ScheduleRequest,
    "BackfillRequest": schedule_schemas.BackfillRequest,
}
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Two requests with the same key are one: the second gets the first one's answer, for 24 hours. "
        "A structured-field string (RFC 9651) of 1 to 255 characters, with or without its quotes."
    ),
    # In quotes: printable ASCII, a quote or a backslash behind a backslash. Bare: none of these, and no space.
    "schema": {
        "type": "string",
        "pattern": r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-\[\]-~]{1,255})$',
    },
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}


def _header(description: str, *, required: bool = True, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string", **schema}}


_REQUEST_ID: Final = _header("The id of the request: yours where it is well formed, else ours", minLength=1)
_RATE_LIMIT: Final = {
    "RateLimit-Policy": _header("The quota, where there is one: q requests in w seconds", required=False),
    "RateLimit": _header("What is left of it: r requests, and t seconds until all are back", required=False),
}
_REPLAYED: Final = _header("There when this is the answer to an earlier request", required=False, enum=["true"])
_LOCATION: Final = _header("Where the job is", format="uri-reference")
_BY_STATUS: Final[dict[str, dict[str, Any]]] = {
    "401": {"WWW-Authenticate": _header("How to ask with a key", enum=["Bearer"])},
    "429": {"Retry-After": _header("Seconds after which the next request is taken", pattern="^[0-9]+$")},
    "503": {"Retry-After": _header("Seconds after which it may work", pattern="^[0-9]+$")},
}


_ON_A_NEW_JOB: Final = ("job_id", "/id", ("get_job", "get_attempts", "get_events", "cancel"))
_ON_A_SCHEDULE: Final = (
    "name",
    "/name",
    ("get_schedule", "patch_schedule", "delete_schedule", "pause_schedule", "resume_schedule", "trigger_schedule",
     "backfill_schedule", "preview_schedule", "list_occurrences"),
)  # fmt: skip
_ON_A_DEAD_LETTER: Final = ("job_id", "/dead_letters/0/id", ("replay_dead_letter", "discard", "retry", "replay"))
_LINKS: Final[dict[str, dict[str, tuple[str, str, tuple[str, ...]]]]] = {
    "submit": {"202": _ON_A_NEW_JOB},
    "replay": {"201": _ON_A_NEW_JOB},
    "replay_dead_letter": {"201": _ON_A_NEW_JOB},
    "cancel": {"202": ("job_id", "/id", ("retry", "replay", "get_job"))},
    "retry": {"200": ("job_id", "/id", ("cancel", "get_job"))},
    "list_dead_letters": {"200": _ON_A_DEAD_LETTER},
    "put_schedule": {"200": _ON_A_SCHEDULE, "201": _ON_A_SCHEDULE},
}


def install(app: FastAPI) -> None:
    """Have `app` describe itself by `document`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to replace the document


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, found = models_json_schema(
        [(model, "validation") for model in _BODIES.values()], ref_template="#/components/schemas/{model}"
    )
    found["$defs"]["SchedulePatch"] = _patch_of(found["$defs"]["ScheduleRequest"])
    found["$defs"]["BatchRequest"]["properties"]["jobs"]["maxItems"] = app.state.settings.batch_limit_jobs
    document["components"]["schemas"] |= found["$defs"]
    for path in document["paths"].values():
        for operation in path.values():
            _mend_request(operation)
            _mend_responses(operation, _RATE_LIMIT if "security" in operation else {})
            _link(operation)
    return document


def _patch_of(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a merge patch: any part of the whole; null takes a part back to its default."""
    parts = {name: {"anyOf": [part, {"type": "null"}]} for name, part in whole["properties"].items()}
    return {**whole, "title": "SchedulePatch", "properties": parts, "required": []}


def _mend_request(operation: dict[str, Any]) -> None:
    """Put in the body that the route reads, and the key."""
    name = operation.pop("x-body", None)
    optional = operation.pop("x-body-optional", False)
    kinds = operation.pop("x-body-kinds", ["application/json"])
    if name is not None:
        content = {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}} for kind in kinds}
        operation["requestBody"] = {"required": not optional, "content": content}
    if operation.pop("x-idempotency-key", False):
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        for status in ("201", "202"):
            if status in operation["responses"]:
                operation["responses"][status].setdefault("headers", {})["Idempotency-Replayed"] = _REPLAYED


def _mend_responses(operation: dict[str, Any], told: dict[str, Any]) -> None:
    """Have problems be problem+json alone, and name the headers."""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if "application/problem+json" in content or "HTTPValidationError" in str(content):
            response["content"] = _PROBLEM
        always = {"X-Request-ID": _REQUEST_ID, **told}
        response["headers"] = {**always, **_BY_STATUS.get(status, {}), **response.get("headers", {})}


def _link(operation: dict[str, Any]) -> None:
    """Name the operations that an answer leads to, and where in it their parameter is."""
    for status, (parameter, place, targets) in _LINKS.get(operation["operationId"], {}).items():
        found = {parameter: f"$response.body#{place}"}
        operation["responses"][status]["links"] = {
            target: {"operationId": target, "parameters": found} for target in targets
        }


LOCATION: Final = {"headers": {"Location": _LOCATION}}
"""What a route adds to the answer that points to a new job."""
ETAG: Final = {"headers": {"ETag": _header("Changes with the job", pattern='^"[0-9]+"$')}}
"""What a route adds to an answer that can be asked for again by its tag."""
READ_FROM: Final = {
    "headers": {
        "Penstock-Read-From": _header(
            "Where there is a replica: primary, or replica and how old the list is at the most, in seconds",
            required=False,
            pattern=r"^(primary|replica;age=[0-9]+\.[0-9]{3})$",
        )
    }
}
"""What a route adds to a list that may come from a replica."""
SCHEDULE_ETAG: Final = {"headers": {"ETag": _header("Changes with each edit", pattern='^"[0-9a-f]+-[0-9]+"$')}}
"""The same, of a schedule."""

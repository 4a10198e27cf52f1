"""The OpenAPI document, made true where the routes read their bodies themselves."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import schemas

_BODIES: Final[dict[str, type[BaseModel]]] = {
    "JobRequest": schemas.JobRequest,
    "BatchRequest": schemas.BatchRequest,
    "ReplayRequest": schemas.ReplayRequest,
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
    document["components"]["schemas"] |= found["$defs"]
    for path in document["paths"].values():
        for operation in path.values():
            _mend(operation)
    return document


def _mend(operation: dict[str, Any]) -> None:
    """Put in the body that the route reads, and have problems be problem+json alone."""
    name = operation.pop("x-body", None)
    optional = operation.pop("x-body-optional", False)
    if name is not None:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        operation["requestBody"] = {"required": not optional, "content": content}
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if "application/problem+json" in content:
            schema = content.pop("application/json", {}).get("schema")
            content["application/problem+json"] = {"schema": schema or {"$ref": "#/components/schemas/ProblemDetails"}}
        if status == "422" and "HTTPValidationError" in str(content):
            response["content"] = {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
            }

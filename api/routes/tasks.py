"""The catalogue: what can be run, and what it wants to know."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.routes import answer, problems
from api.security import Caller
from tasks.catalogue import Catalogue, TaskSpec

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])


@router.get("", response_model=schemas.Tasks, responses=problems(), summary="List the installed tasks")
async def list_tasks(request: Request, caller: Caller) -> Response:  # noqa: ARG001 - asking for the caller guards the route
    """Return every task with the JSON Schema of its payload."""
    catalogue: Catalogue = request.app.state.intake.catalogue
    return answer(schemas.Tasks(tasks=[_view(spec) for spec in catalogue]))


def _view(spec: TaskSpec) -> schemas.Task:
    return schemas.Task(
        name=spec.name,
        description=spec.description,
        queue=spec.queue,
        priority=spec.priority,
        max_retries=spec.policy.max_retries,
        soft_time_limit_seconds=spec.soft_time_limit_seconds,
        time_limit_seconds=spec.time_limit_seconds,
        payload_schema=spec.payload_schema,
        result_schema=spec.result_schema,
    )

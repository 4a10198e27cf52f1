"""For operators: the queues and the workers, and why a job is not running."""

from functools import partial
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from api import queue_schemas as schemas
from api.routes import answer, problems, read_from, write_to
from api.security import Caller
from api.submission import Intake
from jobs import queues, registry
from jobs.errors import NotFound
from jobs.explain import explain

log = structlog.get_logger()

router = APIRouter(prefix="/api/v1")

QueueName = Annotated[str, Path(max_length=100, description="One of PENSTOCK_QUEUES", examples=["default"])]
MOST_RUNNING = 1000
"""Running jobs that the list of workers names."""


def _names(request: Request) -> tuple[str, ...]:
    checks: Intake = request.app.state.intake
    return checks.queues


@router.get(
    "/queues", response_model=schemas.Queues, responses=problems(), summary="Look at the queues", tags=["queues"]
)
async def list_queues(request: Request, caller: Caller) -> Response:  # noqa: ARG001 - asking for the caller guards the route
    """Return what waits in each queue, how fast it moves, and who works on it. Queues are shared by all tenants."""
    found = await read_from(request, partial(queues.look, names=_names(request)))
    return answer(schemas.Queues(queues=[schemas.Queue.of(queue) for queue in found]))


@router.post(
    "/queues/{name}/pause",
    response_model=schemas.Queue,
    responses=problems(404),
    summary="Pause a queue",
    tags=["queues"],
)
async def pause_queue(request: Request, caller: Caller, name: QueueName) -> Response:
    """Start no job of the queue from now on. It goes on taking jobs in, and what runs goes on."""
    changed = await _change(request, name, partial(queues.pause, queue=name, by=caller.key_id))
    log.info("queue_paused", queue=name)
    return changed


@router.post(
    "/queues/{name}/resume",
    response_model=schemas.Queue,
    responses=problems(404),
    summary="Have a queue go on",
    tags=["queues"],
)
async def resume_queue(request: Request, caller: Caller, name: QueueName) -> Response:  # noqa: ARG001 - as above
    """Let its jobs start again, the most urgent first."""
    changed = await _change(request, name, partial(queues.resume, queue=name))
    log.info("queue_resumed", queue=name)
    return changed


async def _change(request: Request, name: str, change: partial[None]) -> Response:
    names = _names(request)

    def run(connection: Connection) -> queues.Queue:
        known = names if name in names else queues.paused(connection)  # one that is no longer used may be resumed
        if name not in known:
            raise NotFound(f"There is no queue {name}; there are {', '.join(names)}.")
        change(connection)
        return next((queue for queue in queues.look(connection, names) if queue.name == name), queues.Queue(name))

    return answer(schemas.Queue.of(await write_to(request, run)))


@router.get(
    "/workers", response_model=schemas.Workers, responses=problems(), summary="Look at the workers", tags=["workers"]
)
async def list_workers(
    request: Request,
    caller: Caller,
    everybody: Annotated[  # noqa: FBT002 - a parameter of the query
        bool, Query(alias="all", description="Also those that were not seen for an hour, while they are remembered")
    ] = False,
) -> Response:
    """Return the workers of the last hour, those seen last first, with the jobs of the tenant that they run.

    They are told by their own word, and no more than 1,000.
    """
    within = None if everybody else registry.LISTED_WITHIN

    def look(connection: Connection) -> schemas.Workers:
        running = queues.running_of(connection, tenant=caller.tenant, limit=MOST_RUNNING)
        return schemas.Workers.of(registry.listed(connection, seen_within=within), running)

    return answer(await read_from(request, look))


@router.get(
    "/jobs/{job_id:uuid}/explain",
    response_model=schemas.Explanation,
    responses=problems(404),
    summary="Why is it not running?",
    tags=["jobs"],
)
async def explain_job(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Say what holds the job and since when, the first to be cured first; or who runs it, or how it ended."""
    return answer(
        schemas.Explanation.of(await read_from(request, partial(explain, job_id=job_id, tenant=caller.tenant)))
    )

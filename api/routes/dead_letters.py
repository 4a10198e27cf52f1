"""Jobs that failed for good, for people to look at, send again, or let go."""

from functools import partial
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import schemas
from api.openapi import LOCATION, READ_FROM
from api.routes import answer, page_from, problems, write_to
from api.routes.jobs import Asked, replay_job
from api.security import Caller
from jobs import control, search
from jobs.state import Reason

log = structlog.get_logger()

router = APIRouter(prefix="/api/v1/dead-letters", tags=["dead letters"])


@router.get(
    "",
    response_model=schemas.DeadLetterPage,
    responses=problems(400, 422) | {200: READ_FROM},
    summary="Look at dead letters",
)
async def list_dead_letters(
    request: Request,
    caller: Caller,
    task: Asked = None,
    reason: Reason | None = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=search.MAX_PAGE)] = 50,
) -> Response:
    """Return the failed jobs that were neither replayed nor discarded, newest first."""
    query = partial(search.dead_letters, tenant=caller.tenant, task=task, reason=reason, limit=limit)
    page, headers = await page_from(request, query, cursor)
    letters = [schemas.DeadLetter.of(row) for row in page.rows]
    return answer(schemas.DeadLetterPage(dead_letters=letters, next_cursor=page.next_cursor), headers=headers)


@router.post(
    "/{job_id:uuid}/replay",
    status_code=201,
    response_model=schemas.Accepted,
    responses=problems(400, 404, 409, 413, 415, 422) | {201: LOCATION},
    summary="Replay a dead letter",
    openapi_extra={"x-body": "ReplayRequest", "x-body-optional": True, "x-idempotency-key": True},
)
async def replay_dead_letter(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Make a new job of the dead letter, with its payload or another, and take it off the list."""
    return await replay_job(request, caller, job_id, letter=True)


@router.delete("/{job_id:uuid}", status_code=204, responses=problems(404), summary="Discard a dead letter")
async def discard(request: Request, caller: Caller, job_id: UUID) -> Response:
    """Take the dead letter off the list; the job stays readable."""
    await write_to(request, partial(control.close, job_id=job_id, tenant=caller.tenant))
    log.info("dead_letter_discarded", job_id=job_id)
    return Response(status_code=204)

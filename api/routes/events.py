"""What happened to a job: as JSON, or as it happens (server-sent events, WHATWG HTML, section 9.2)."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Header, Request
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from api import schemas
from api.routes import answer, problems, read_from
from api.security import Caller
from api.waiting import Lookout
from jobs import search
from jobs.errors import NotFound, Unavailable
from jobs.search import Row
from jobs.state import FINAL

router = APIRouter(prefix="/api/v1", tags=["jobs"])

AT_ONCE: Final = 500
HEARTBEAT_EVERY: Final = 10.0
"""Seconds of silence after which a comment keeps idle proxies from hanging up."""


class _News(NamedTuple):
    rows: Sequence[Row]
    version: int
    """That of the job when these were looked for."""
    is_over: bool
    """The job has finished, and these are its last events."""


def _news(connection: Connection, *, job_id: UUID, tenant: str, after: int) -> _News:
    # The state first: when it is final, the events that are read after it include the last one.
    version, state = search.versions(connection, [job_id]).get(job_id, (0, None))
    rows = search.events_of(connection, job_id, tenant=tenant, after=after, limit=AT_ONCE)
    return _News(rows, version, is_over=state in FINAL and len(rows) < AT_ONCE)


@router.get(
    "/jobs/{job_id:uuid}/events",
    response_model=schemas.Events,
    responses={
        **problems(404, 422),
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "JSON or a stream",
        },
        204: {"description": "A stream was asked for, and the job has finished: nothing more will happen"},
    },
    summary="Look at what happened to a job",
)
async def get_events(
    request: Request,
    caller: Caller,
    job_id: UUID,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[int, Header(ge=0, le=2**31 - 1, description="Only what came after it")] = 0,
) -> Response:
    """Return the events in order; with `Accept: text/event-stream` as they happen, until the job has finished."""
    look = partial(_news, job_id=job_id, tenant=caller.tenant)
    news = await read_from(request, partial(look, after=last_event_id))
    if "text/event-stream" not in accept.lower():
        return answer(schemas.Events(events=[_view(row) for row in news.rows]))
    if news.is_over and not news.rows:
        return Response(status_code=204)  # tells an EventSource not to come back
    request.app.state.lookout.must_have_room()
    return StreamingResponse(_stream(request, look, news, last_event_id), media_type="text/event-stream")


async def _stream(request: Request, look: "partial[_News]", news: _News, seen: int) -> AsyncIterator[str]:
    """Yield events until the job has finished; whoever is cut off comes back with the id of the last one it saw."""
    lookout: Lookout = request.app.state.lookout
    job_id = look.keywords["job_id"]
    with lookout.seat():
        while True:
            for row in news.rows:
                event = _view(row)
                seen = event.seq
                yield f"id: {event.seq}\nevent: {event.name}\ndata: {event.model_dump_json()}\n\n"
            if news.is_over or lookout.is_closing:
                return
            if len(news.rows) < AT_ONCE:
                await lookout.until_changed(job_id, news.version, HEARTBEAT_EVERY)
            try:
                news = await read_from(request, partial(look, after=seen))
            except (Unavailable, NotFound):
                return
            if not news.rows:
                yield ":\n\n"


def _view(row: Row) -> schemas.Event:
    return schemas.Event.model_validate(dict(row))

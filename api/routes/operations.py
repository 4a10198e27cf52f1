"""For operators and their machines: is it alive, can it serve, what does it count."""

from contextlib import suppress

from anyio import to_thread
from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from api import schemas
from api.patience import in_time
from api.readiness import Readiness
from api.routes import answer
from api.scrape import Scrape
from jobs.errors import DatabaseUnavailable

router = APIRouter(tags=["operations"])

READY_WITHIN = 4.0
"""Seconds after which a probe is told that the dependencies keep silent; the broker alone may take two."""
STORED_WITHIN = 2.0
"""Seconds after which metrics are told without those that only PostgreSQL knows."""


@router.get("/health", response_model=schemas.Health, summary="Is the process alive?")
async def health() -> Response:
    """Answer without looking at anything else."""
    return answer(schemas.Health())


@router.get(
    "/ready",
    response_model=schemas.Readiness,
    responses={503: {"model": schemas.Readiness, "description": "Some dependency that intake needs is away"}},
    summary="Can it serve?",
)
async def ready(request: Request) -> Response:
    """Name each dependency. The broker may be away: jobs are accepted all the same, and run when it is back."""
    looked: Readiness = request.app.state.readiness
    try:
        found = await in_time(request.app.state.aside, looked.look, seconds=READY_WITHIN)
    except DatabaseUnavailable:
        found = looked.silence()
    return answer(found, 200 if found.status == "ready" else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Metrics for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Return the counts of all API processes, and, unless it hangs, those that only PostgreSQL knows."""
    scrape: Scrape = request.app.state.scrape
    content = await to_thread.run_sync(scrape.counts)
    with suppress(DatabaseUnavailable):  # no number is better than an old one
        content += await in_time(request.app.state.aside, scrape.stored, seconds=STORED_WITHIN)
    return Response(content, media_type=CONTENT_TYPE_LATEST)

"""For operators and their machines: is it alive, can it serve, what does it count."""

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import schemas
from api.readiness import Readiness
from api.routes import answer
from api.scrape import Scrape

router = APIRouter(tags=["operations"])


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
    found = await to_thread.run_sync(looked.look)
    return answer(found, 200 if found.status == "ready" else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Metrics for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Return the counts of all API processes, and those that only PostgreSQL knows."""
    scrape: Scrape = request.app.state.scrape
    content, kind = await to_thread.run_sync(scrape.render)
    return Response(content, media_type=kind)

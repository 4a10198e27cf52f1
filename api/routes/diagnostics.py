"""For operators: what the process spends its time on."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.profiler import Form, Profiler
from api.routes import problems
from api.security import Caller
from jobs.errors import NotFound

router = APIRouter(prefix="/diagnostics", tags=["operations"])

LONGEST_SECONDS: Final = 60.0
_MEDIA: Final = {Form.SPEEDSCOPE: "application/json", Form.TEXT: "text/plain"}


@router.get(
    "/profile",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/plain": {"schema": {"type": "string"}},
            }
        },
        **problems(404, 409, 422, 501),
    },
    summary="Take a CPU profile",
)
async def profile(
    request: Request,
    caller: Caller,  # noqa: ARG001 - asking for the caller guards the route
    seconds: Annotated[float, Query(ge=0.1, le=LONGEST_SECONDS, description="How long to look")] = 5.0,
    format: Annotated[Form, Query(description="For speedscope.app, or to be read at once")] = Form.SPEEDSCOPE,  # noqa: A002 - the parameter's name
) -> Response:
    """Return where the threads of the process that answers have spent the processor's time, after so many seconds."""
    if not request.app.state.settings.diagnostics:
        raise NotFound("Diagnostics are off; PENSTOCK_DIAGNOSTICS=true turns them on.")
    profiler: Profiler = request.app.state.profiler
    content = await profiler.take(seconds, format)
    return Response(content, media_type=_MEDIA[format], headers={"Cache-Control": "no-store"})

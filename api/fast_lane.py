"""The busiest routes, served without FastAPI's way to them.

They are ordinary routes: described, documented and tested like all others. But finding a route, resolving
its dependencies and unwinding its stacks costs FastAPI more than such a request costs us.
"""

from collections.abc import Callable, Iterable

from fastapi import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api import problems
from api.routes import DirectRoute
from api.security import caller_of


class FastLane:
    """Sends requests for exactly these paths straight to their endpoints, all others on."""

    def __init__(self, app: ASGIApp, edge: Callable[[ASGIApp], ASGIApp], routes: Iterable[BaseRoute]) -> None:
        """Stand in front of `app`, which has an edge of its own; `edge` wraps what is served here."""
        self._app = app
        self._direct = edge(self._serve)
        direct = [route for route in routes if isinstance(route, DirectRoute)]
        self._routes = {(method, route.path): route for route in direct for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        await self._direct(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope["route"]
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request, await caller_of(request))
        except Exception as error:  # noqa: BLE001 - `shown` raises again what is not for clients
            response = problems.render(problems.shown(error), path=scope["path"], request_id=scope["request_id"])
        await response(scope, receive, send)

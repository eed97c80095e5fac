"""Assembles the sandbox: whose routes there are, and what a path nobody has is answered."""

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from health_pipelines.sandbox import control, dexcare, provider_histories
from health_pipelines.sandbox.answers import OnTheWire
from health_pipelines.sandbox.clock import Clock
from health_pipelines.sandbox.drchrono import endpoints
from health_pipelines.sandbox.gate import ELSEWHERE, NO_ROUTE, as_sent
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.state import Sandbox, sandbox_of


def create_app(settings: Settings, clock: Clock) -> Starlette:
    """A sandbox with nothing in it yet. It must be served over `answers.ConnectionWithTransport`."""
    app = Starlette(
        routes=[
            *control.ROUTES,
            *dexcare.ROUTES,
            *provider_histories.ROUTES,
            *endpoints.ROUTES,
            Route(ELSEWHERE + "/{path:path}", _elsewhere, methods=["GET", "POST"]),
        ],
        # A known path with another method is no route either, where Starlette would say 405.
        exception_handlers={404: _no_route, 405: _no_route, ClientDisconnect: _nobody_listens},
    )
    # Starlette would redirect a path with a slash too many to the right one; a gateway does not.
    app.router.redirect_slashes = False
    app.state.sandbox = Sandbox(settings, clock)
    return app


async def _no_route(request: Request, _: Exception) -> Response:
    sandbox = sandbox_of(request)
    sandbox.calls["no_route"] += 1
    return OnTheWire(as_sent(NO_ROUTE, sandbox, request))


async def _elsewhere(request: Request) -> Response:
    """The other host that a fault redirects to: it only notes who came, and whether with credentials."""
    calls = sandbox_of(request).calls
    calls["elsewhere"] += 1
    calls["elsewhere_with_credentials"] += "authorization" in request.headers
    return JSONResponse({})


async def _nobody_listens(_: Request, __: Exception) -> Response:
    """A caller that was killed while it was sending is no fault of the server's."""
    return Response(status_code=400)

"""Assembles the sandbox: whose routes there are, and what a path nobody has is answered."""

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from health_pipelines.sandbox import control, dexcare, provider_histories
from health_pipelines.sandbox.answers import OnTheWire
from health_pipelines.sandbox.clock import Clock
from health_pipelines.sandbox.gate import NO_ROUTE
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.state import Sandbox, sandbox_of


def create_app(settings: Settings, clock: Clock) -> Starlette:
    """A sandbox with nothing in it yet. It must be served over `answers.ConnectionWithTransport`."""
    app = Starlette(
        routes=[*control.ROUTES, *dexcare.ROUTES, *provider_histories.ROUTES],
        # A known path with another method is no route either, where Starlette would say 405.
        exception_handlers={404: _no_route, 405: _no_route, ClientDisconnect: _nobody_listens},
    )
    # Starlette would redirect a path with a slash too many to the right one; a gateway does not.
    app.router.redirect_slashes = False
    app.state.sandbox = Sandbox(settings, clock)
    return app


async def _no_route(request: Request, _: Exception) -> Response:
    sandbox_of(request).calls["no_route"] += 1
    return OnTheWire(NO_ROUTE)


async def _nobody_listens(_: Request, __: Exception) -> Response:
    """A caller that was killed while it was sending is no fault of the server's."""
    return Response(status_code=400)

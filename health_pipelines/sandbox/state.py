"""What one running sandbox remembers. The routes share it; it decides nothing."""

from collections import Counter
from dataclasses import dataclass, field

from starlette.requests import Request

from health_pipelines.sandbox.clock import Clock
from health_pipelines.sandbox.drchrono.state import DrChrono
from health_pipelines.sandbox.faults import FaultRules
from health_pipelines.sandbox.reports import ReportQueue
from health_pipelines.sandbox.settings import Settings


@dataclass
class Sandbox:
    """The sandbox behind the routes."""

    settings: Settings
    clock: Clock
    reports: ReportQueue = field(default_factory=ReportQueue)
    faults: FaultRules = field(default_factory=FaultRules)
    calls: Counter[str] = field(default_factory=Counter)
    """Vendor calls by operation, refused ones included; `no_route` are those to paths no vendor has.

    `elsewhere` are those that followed a redirect to another host, `elsewhere_with_credentials` those of them
    that brought the token along.
    """
    drchrono: DrChrono = field(init=False)

    def __post_init__(self) -> None:
        self.drchrono = DrChrono.of(self.settings, self.clock.now())


def sandbox_of(request: Request) -> Sandbox:
    """The sandbox a request came to."""
    sandbox = request.app.state.sandbox
    assert isinstance(sandbox, Sandbox)
    return sandbox

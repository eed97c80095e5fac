"""The connections to one vendor: how many are kept, for how long, and whom they believe.

Belongs here: a pool of httpx, made as all pools here are. Does not belong here: what is sent through one
(`client.py`).
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING

from health_pipelines.http.bodies import ACCEPTED_ENCODING
from health_pipelines.libraries import loaded_when_used

if TYPE_CHECKING:
    import httpx
else:
    httpx = loaded_when_used("httpx")

# httpx looks through all connections of a pool for every call, so that one large pool costs several times
# the CPU of small ones (benchmarks/sensor_tick.py).
CONNECTIONS_IN_POOL = 5
# Many servers close an idle connection after five seconds. A call on one that is being closed at that moment
# is lost, and may have been carried out.
IDLE_SECONDS = 3.0


def new_pool(base_url: str, timeout_seconds: float) -> httpx.AsyncClient:
    """To be closed. `timeout_seconds`: the longest silence."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"Accept-Encoding": ACCEPTED_ENCODING},
        verify=certificates(),
        timeout=timeout_seconds,
        follow_redirects=False,
        # No proxy or .netrc of the environment may see the key or replace it.
        trust_env=False,
        limits=httpx.Limits(
            max_connections=CONNECTIONS_IN_POOL,
            max_keepalive_connections=CONNECTIONS_IN_POOL,
            keepalive_expiry=IDLE_SECONDS,
        ),
    )


@cache
def certificates() -> ssl.SSLContext:
    """Whom to believe. Made once in a process: it takes a tenth of a second, and every pool needs it."""
    return httpx.create_ssl_context(trust_env=False)

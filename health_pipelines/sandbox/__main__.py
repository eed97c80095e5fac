"""`python -m health_pipelines.sandbox`: serve the sandbox on loopback until a signal ends it."""

import argparse
import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

import uvicorn

from health_pipelines.sandbox.answers import ConnectionWithTransport
from health_pipelines.sandbox.app import create_app
from health_pipelines.sandbox.clock import Clock
from health_pipelines.sandbox.settings import Settings
from health_pipelines.sandbox.windows import read_instant

LOOPBACK = "127.0.0.1"


class AnnouncedServer(uvicorn.Server):
    """Says on stdout, in one line, that it answers from now on, and where."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()
            print(f"Sandbox listening on http://{host}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave at once: whoever is still being answered is cut off, which is no error to report."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.force_exit = True
        # Since Python 3.12 a server that closes waits for its callers.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then leave with exit code 0, whoever is still connected."""
    options = _parser().parse_args(arguments)
    settings = Settings(**{one.name: getattr(options, one.name) for one in fields(Settings)})
    app = create_app(settings, Clock(options.now))
    config = uvicorn.Config(
        app,
        host=LOOPBACK,
        port=options.port,
        http=ConnectionWithTransport,
        # The same loop everywhere, whatever else is installed: a cut connection has to look the same.
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        # The sandbox says its own clock's date.
        date_header=False,
    )
    # uvicorn raises the signal once more when it has stopped; being told to stop is no failure here.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    AnnouncedServer(config).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m health_pipelines.sandbox",
        description="A stand-in for DexCare and DrChrono on 127.0.0.1: synthetic patients, faults on demand.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 = any free port")
    parser.add_argument(
        "--now", type=_instant, help="the clock's first reading, ISO 8601 with zone; None = now"
    )
    for one in fields(Settings):
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=one.metadata["read"],
            default=one.default,
            help=one.metadata["meaning"],
        )
    return parser


def _instant(text: str) -> datetime:
    return read_instant("now", text)


if __name__ == "__main__":
    main()

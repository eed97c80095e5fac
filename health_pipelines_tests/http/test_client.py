"""The way out of the house, where the sandbox cannot show it: how many calls go out at once."""

import asyncio

import pytest

from health_pipelines.http import VendorHttp
from health_pipelines.http.fan_out import for_each
from health_pipelines.settings import HttpPolicy, Secret

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class CountingServer:
    """Answers every request after a while, and remembers how many it was working on at the most."""

    def __init__(self, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds
        self._now = 0
        self.answered = 0
        self.most_at_once = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            await asyncio.sleep(self._slow_seconds)
            self._now -= 1
            self.answered += 1
            writer.write(ANSWER)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("concurrency", [1, 5, 7, 20])
def test_as_many_calls_go_out_at_once_as_the_policy_allows_and_no_more(concurrency: int) -> None:
    counting = CountingServer(slow_seconds=0.05)

    async def call_many() -> None:
        server = await asyncio.start_server(counting.serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        http = VendorHttp(
            vendor="Vendor",
            base_url=f"http://{host}:{port}",
            authorization=Secret("key"),
            policy=HttpPolicy(concurrency=concurrency),
            url_setting="URL",
            key_setting="KEY",
        )

        async def call(number: int) -> None:
            await http.json("GET", f"/{number}", on_lost=lambda: None)

        await for_each(range(concurrency * 4), call, at_once=concurrency * 2)
        await http.close()
        server.close()

    asyncio.run(call_many())
    assert counting.answered == concurrency * 4
    assert counting.most_at_once == concurrency

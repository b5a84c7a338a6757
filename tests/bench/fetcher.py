"""The reference: bare fetches at the daemon's rate, as a process, with decoding if asked for.

Usage: `python -m tests.bench.fetcher URL CONNECTIONS INTERVAL_S PREFIX fetch|decode`.
"""

import asyncio
import sys
from typing import Any

import httpx_aiohttp
import msgspec

from monitor.voicelink.wire import WireAnswer, WireDrift, WireReadiness
from tests.bench.child import answer_commands


class Fetcher:
    """Fetches each of many connections once an interval, spread evenly over it."""

    def __init__(self, url: str, connections: int, interval_s: float, prefix: str, *, decode: bool) -> None:
        self.fetched = 0
        self._url = f"{url}/api/v2/voicelink/sync"
        self._connections = connections
        self._interval_s = interval_s
        self._prefix = prefix
        self._decoder = msgspec.json.Decoder(WireAnswer[WireReadiness, WireDrift]) if decode else None

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with httpx_aiohttp.HttpxAiohttpClient(timeout=30) as client:
            await asyncio.gather(*(self._fetch_often(client, each) for each in range(self._connections)))

    async def _fetch_often(self, client: httpx_aiohttp.HttpxAiohttpClient, position: int) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._interval_s * position / self._connections
        request = {"connection_id": f"{self._prefix}{position}", "import_dids": False}
        while True:
            await asyncio.sleep(due_s - loop.time())
            answer = await client.post(self._url, json=request, headers={"Authorization": "Bearer rg_live_x"})
            if self._decoder is not None:
                self._decoder.decode(answer.content)
            self.fetched += 1
            due_s += self._interval_s


async def _main(url: str, connections: str, interval_s: str, prefix: str, mode: str) -> None:
    fetcher = Fetcher(url, int(connections), float(interval_s), prefix, decode=mode == "decode")

    async def fetched(_: dict[str, Any]) -> int:
        return fetcher.fetched

    task = asyncio.create_task(fetcher.run())
    await answer_commands({"fetched": fetched})
    task.cancel()
    await asyncio.wait([task])


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

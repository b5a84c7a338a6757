"""The reference: bare fetches, with decoding if asked for, each begun when it is told to.

Usage: `python -m tests.bench.fetcher URL PREFIX fetch|decode [CA_FILE]`.
"""

import asyncio
import itertools
import ssl
import sys
from collections.abc import Sequence
from typing import Any

import httpx_aiohttp
import msgspec

from monitor.voicelink.wire import WireAnswer, WireDrift, WireReadiness
from tests.bench.child import answer_commands


class Fetcher:
    """Fetches in the pattern that it is given: how requests are bunched is worth a factor of two."""

    def __init__(self, url: str, prefix: str, *, decode: bool, ca_file: str | None) -> None:
        self.fetched = 0
        self._url = f"{url}/api/v2/voicelink/sync"
        self._prefix = prefix
        answer = WireAnswer[WireReadiness, WireDrift, msgspec.Raw]
        self._decoder = msgspec.json.Decoder(answer) if decode else None
        self._verify = ssl.create_default_context(cafile=ca_file)

    async def run(self, bunches: Sequence[tuple[float, int]], cycle_s: float) -> None:
        """Fetch until cancelled: in each cycle these bunches, so many seconds after it begins."""
        loop = asyncio.get_running_loop()
        async with (
            httpx_aiohttp.HttpxAiohttpClient(timeout=30, verify=self._verify) as client,
            asyncio.TaskGroup() as group,
        ):
            began_s = loop.time()
            for turn in itertools.count():
                after_s, many = bunches[turn % len(bunches)]
                await asyncio.sleep(began_s + turn // len(bunches) * cycle_s + after_s - loop.time())
                for position in range(many):
                    group.create_task(self._fetch(client, position))

    async def _fetch(self, client: httpx_aiohttp.HttpxAiohttpClient, position: int) -> None:
        request = {"connection_id": f"{self._prefix}{position}", "import_dids": False}
        answer = await client.post(self._url, json=request, headers={"Authorization": "Bearer rg_live_x"})
        if self._decoder is not None:
            self._decoder.decode(answer.content)
        self.fetched += 1


async def _main(url: str, prefix: str, mode: str, ca_file: str | None = None) -> None:
    fetcher = Fetcher(url, prefix, decode=mode == "decode", ca_file=ca_file)
    tasks = []

    async def begin(command: dict[str, Any]) -> None:
        tasks.append(asyncio.create_task(fetcher.run(command["bunches"], command["cycle_s"])))

    async def fetched(_: dict[str, Any]) -> int:
        return fetcher.fetched

    await answer_commands({"begin": begin, "fetched": fetched})
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

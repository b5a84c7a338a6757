"""What people write themselves: polls connections and exports how many numbers are in which state.

Usage: `python -m tests.bench.script URL IDS EVERY_S PORT`; IDS is a JSON file, ids by name.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import httpx
from prometheus_client import Gauge, start_http_server

_NUMBERS = Gauge("numbers", "Numbers by state.", ["connection", "state"])
_UP = Gauge("up", "Whether the last poll was answered.", ["connection"])


async def _poll(client: httpx.AsyncClient, url: str, name: str, identity: str, seen: set[str]) -> None:
    try:
        answer = await client.post(url, json={"connection_id": identity, "import_dids": False})
        numbers = answer.raise_for_status().json()["data"]["readiness"]
    except (httpx.HTTPError, ValueError, KeyError):
        _UP.labels(name).set(0)
        return
    _UP.labels(name).set(1)
    counts = Counter(number["state"] for number in numbers)
    seen |= counts.keys()
    for state in seen:
        _NUMBERS.labels(name, state).set(counts[state])


async def _main(url: str, ids: dict[str, str], every_s: float) -> None:
    headers = {"Authorization": "Bearer rg_live_x"}
    states: dict[str, set[str]] = {name: set() for name in ids}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client, asyncio.TaskGroup() as group:
        while True:
            for name, identity in ids.items():
                group.create_task(_poll(client, url, name, identity, states[name]))
                await asyncio.sleep(every_s / len(ids))


if __name__ == "__main__":
    start_http_server(int(sys.argv[4]), "127.0.0.1")
    asyncio.run(_main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), float(sys.argv[3])))

"""The provider and the webhook receiver, as a process: answers made beforehand by the simulator.

A thousand connections share one body, so that this process costs little and two bodies are told apart by the
daemon alone. Usage: `python -m tests.bench.provider NUMBERS CHANGED TLS_FOLDER [PREFIX=NUMBERS]…`; without
TLS where the folder is empty, else its `ca.pem` is the authority.
"""

import asyncio
import re
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import msgspec

from monitor.simulator import build_world
from monitor.simulator.answer import envelope, render
from tests.bench.child import answer_commands, freeze_garbage
from tests.servers.tls import issued

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CONNECTION = re.compile(rb'"connection_id": *"([^"]+)"')
_HEAD_END = b"\r\n\r\n"
_APART_S = 0.03
"""Requests of one bunch follow each other sooner: the daemon begins at most ten bunches a second."""


class Provider:
    """What is answered to whom.

    Args:
        numbers: Of each connection, unless its id begins with a key of `sizes`.
        changed: Numbers in which the second body differs: their routing is missing.
        sizes: Numbers of connections by the beginning of their id.
    """

    def __init__(self, numbers: int, changed: int, sizes: dict[str, int]) -> None:
        self.asked: Counter[str] = Counter()
        self.times_s: deque[tuple[str, float]] = deque(maxlen=10_000)
        """Who asked when, lately."""
        self.broken: set[str] = set()
        self.alternating: tuple[str, ...] = ()
        self.alerts: list[tuple[str, float]] = []
        self._bodies = _bodies(numbers, changed)
        self._large = {prefix: _bodies(size, changed) for prefix, size in sizes.items()}

    def answer(self, request: bytes) -> bytes:
        """Return the whole response to a request."""
        if request.startswith(b"POST /hook"):
            body = msgspec.json.decode(request.partition(_HEAD_END)[2])
            self.alerts.append((body["data"]["connection"], time.monotonic()))
            return _response(b"{}")
        found = _CONNECTION.search(request)
        identity = found[1].decode() if found else ""
        self.asked[identity] += 1
        self.times_s.append((identity, time.monotonic()))
        return self._bodies_of(identity)[self._turn(identity)]

    def bunches(self, prefix: str, cycle_s: float) -> list[tuple[float, int]]:
        """Return how the requests of the last so many seconds came: when each bunch began, and its size."""
        since_s, last_s = time.monotonic() - cycle_s, 0.0
        found: list[tuple[float, int]] = []
        for identity, at_s in self.times_s:
            if at_s < since_s or not identity.startswith(prefix):
                continue
            if at_s - last_s > _APART_S:
                found.append((at_s - since_s, 0))
            began_s, many = found[-1]
            found[-1], last_s = (began_s, many + 1), at_s
        return found

    def _bodies_of(self, identity: str) -> tuple[bytes, bytes]:
        for prefix, bodies in self._large.items():
            if identity.startswith(prefix):
                return bodies
        return self._bodies

    def _turn(self, identity: str) -> int:
        if identity.startswith(self.alternating):
            return self.asked[identity] % 2
        return int(identity in self.broken)


class _Http(asyncio.Protocol):
    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_HEAD_END)) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            size = end + len(_HEAD_END) + (int(length[1]) if length else 0)
            if len(self._buffer) < size or self._transport is None:
                return
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._transport.write(self._provider.answer(request))


def _bodies(numbers: int, changed: int) -> tuple[bytes, bytes]:
    """Return the response about healthy numbers, and the one in which some are not."""
    connection = next(build_world(1, numbers).connections())
    healthy = envelope(render(connection))
    inventory = connection.edit()
    for key in connection.keys(changed):
        inventory.numbers[key].routed = False
    return _response(healthy), _response(envelope(render(connection)))


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


async def _main(numbers: int, changed: int, tls_folder: str, sizes: dict[str, int]) -> None:
    provider = Provider(numbers, changed, sizes)
    freeze_garbage()
    tls = issued(Path(tls_folder)).context if tls_folder else None
    server = await asyncio.get_running_loop().create_server(lambda: _Http(provider), "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]

    async def url(_: dict[str, Any]) -> str:
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    async def asked(command: dict[str, Any]) -> dict[str, int]:
        prefix = command["prefix"]
        counts = [count for identity, count in provider.asked.items() if identity.startswith(prefix)]
        return {"total": sum(counts), "least": min(counts, default=0), "connections": len(counts)}

    async def bunches(command: dict[str, Any]) -> list[tuple[float, int]]:
        return provider.bunches(command["prefix"], command["cycle_s"])

    async def alternate(command: dict[str, Any]) -> None:
        provider.alternating = tuple(command["prefixes"])

    async def break_one(command: dict[str, Any]) -> float:
        provider.broken.add(command["connection"])
        return time.monotonic()

    async def alerts(_: dict[str, Any]) -> list[tuple[str, float]]:
        return provider.alerts

    handlers = {"url": url, "asked": asked, "bunches": bunches, "alternate": alternate}
    await answer_commands({**handlers, "break": break_one, "alerts": alerts})
    server.close()


if __name__ == "__main__":
    given = {prefix: int(size) for prefix, size in (argument.split("=") for argument in sys.argv[4:])}
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], given))

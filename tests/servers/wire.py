"""A wire between a client and a server that can be made to carry nothing, without being cut."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Wire:
    """Listens on a free port of 127.0.0.1 and carries bytes to and from another one while `flows` is set."""

    def __init__(self, to: int) -> None:
        self.port, self._to = 0, to
        self.accepted = 0
        """Connections so far."""
        self.flows = asyncio.Event()
        self.flows.set()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        with contextlib.suppress(asyncio.CancelledError, OSError), contextlib.closing(writer):
            await self.flows.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            with contextlib.closing(back):
                one, other = self._carry(reader, back), self._carry(there, writer)
                await asyncio.gather(one, other)
        self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.flows.wait()
            sink.write(data)
            await sink.drain()
        sink.close()

"""The simulator as a whole, and its real socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from monitor.clock import Clock, SystemClock
from monitor.errors import StartError
from monitor.simulator.api import BASE_PATH, SimulatedApi
from monitor.simulator.reply import HANG_UP
from monitor.simulator.scenario import Control, Scenario
from monitor.simulator.world import World


class Simulator(SimulatedApi):
    """A double of the VoiceLink API; an ASGI application, for a transport without a socket too.

    Args:
        source: A scenario, or a world without a story.
        clock: Drives the story, faults, delays and rate limits.
        on_step: Called with each step's words when it is taken.
    """

    def __init__(
        self,
        source: Scenario | World,
        *,
        clock: Clock | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        scenario = source if isinstance(source, Scenario) else None
        clock = clock or SystemClock()
        world = source if isinstance(source, World) else source.world()
        super().__init__(world, clock, Control(world, scenario, clock, on_step))

    def do(self, step: Mapping[str, Any] | str, **keys: Any) -> None:
        """Take one step now: `do("deactivate_bot", bot=93)`, or a mapping like a scenario's step.

        Raises:
            ScenarioError: It is not a step, or names something that does not exist.
        """
        self.control.do({"do": step, **keys} if isinstance(step, str) else step)

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listen, play the story, and give the API's base URL, like `http://127.0.0.1:4711/api/v2`.

        Port 0 takes a free one. Leaving closes the socket and whatever is still being answered.

        Raises:
            StartError: The address cannot be listened on.
        """
        listener = _listener(host, port)
        state = ServerState()
        config = uvicorn.Config(
            self, log_config=None, access_log=False, lifespan="off", ws="none", timeout_keep_alive=75
        )
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Protocol(config, state, {}), sock=listener, backlog=2048)
        story = asyncio.create_task(self.control.run(), name="simulator-story")
        try:
            bound_host, bound_port = listener.getsockname()[:2]
            shown = f"[{bound_host}]" if ":" in bound_host else bound_host
            yield f"http://{shown}:{bound_port}{BASE_PATH}"
        finally:
            await _close(server, state, story)


class _Protocol(H11Protocol):
    """uvicorn's HTTP protocol, which lets the application hang up, and requests be cancelled quietly."""

    def __init__(self, config: uvicorn.Config, state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, state, app_state)
        self._inner = self.app
        self.app = self._call

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[HANG_UP] = self._hang_up
        # A request still being answered when the server closes is cancelled; its socket is gone by then.
        with contextlib.suppress(asyncio.CancelledError):
            await self._inner(scope, receive, send)

    def _hang_up(self, flush: bool) -> None:
        if flush:
            self.transport.close()
        else:
            self.transport.abort()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named: without, each small answer would
    # wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    listener.setblocking(False)
    return listener


async def _close(server: asyncio.Server, state: ServerState, story: asyncio.Task[None]) -> None:
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    tasks = [story, *state.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()

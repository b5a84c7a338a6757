"""Accepts connections to the web port, and lets none of them stay longer than it has reason to.

    accept -> TLS handshake -> headers -> body -> answer -> idle -> headers -> …

Each step has its deadline, which no trickle of bytes extends: strangers can reach this port, and what they
hold open takes descriptors from the syncs. At the cap, the oldest connection that has not sent its headers
makes room for a new one.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from socket import socket
from typing import Any, Protocol

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from monitor.errors import out_of_resources

_BACKLOG = 1024
_AT_ONCE = 32
"""Accepted between two turns of the event loop, at most."""
_PAUSE_S = 1.0
_LOGGER = logging.getLogger("uvicorn.error.visits")
"""uvicorn warns of what a client sends that is no HTTP: the client's affair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many connections may be open, and for how many seconds each step of one may take.

    `body_s` and `answer_s` count from the end of the headers. `unread_s` is for how long a client may read
    nothing of an answer that waits for it.
    """

    connections: int = 200
    handshake_s: float = 5.0
    headers_s: float = 10.0
    body_s: float = 10.0
    answer_s: float = 300.0
    unread_s: float = 30.0
    idle_s: int = 60


class ConnectionMetrics(Protocol):
    """What the listener counts."""

    def web_connections(self, now: int) -> None:
        """Show how many connections are open."""
        ...

    def web_connection_rejected(self) -> None:
        """Count a connection that was closed for the cap."""
        ...


class _Step(Enum):
    HEADERS = auto()
    BODY = auto()
    ANSWER = auto()
    UNREAD = auto()
    IDLE = auto()
    CLOSING = auto()


_READING = {_Step.UNREAD, _Step.CLOSING}


class Visit(H11Protocol):
    """One connection: uvicorn's protocol, with deadlines.

    Args:
        config: uvicorn's, with the application.
        state: uvicorn's.
        limits: The deadlines.
        on_gone: Called when it has ended.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, limits: Limits, on_gone: Callable[["Visit"], None]
    ) -> None:
        super().__init__(config, state, {})
        self.logger = _LOGGER
        self._limits = limits
        self._on_gone = on_gone
        self._at: tuple[_Step, object] | None = None
        self._since_s = self._asked_s = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether its handshake is done."""
        return self._at is not None

    @property
    def is_silent(self) -> bool:
        """Whether it has not sent its headers, of its first request or of a later one that it has begun."""
        return self._at is None or self._at[0] is _Step.HEADERS

    @property
    def is_slow(self) -> bool:
        """Whether its client has let the monitor wait for as long as headers may take, for whatever it is."""
        waiting = self._at is not None and self._at[0] is not _Step.ANSWER
        return waiting and self.loop.time() - self._since_s >= self._limits.headers_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the headers."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        """Notice that the client is not reading."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """Notice that the client reads again."""
        super().resume_writing()
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look()

    def timeout_keep_alive_handler(self) -> None:
        """Do nothing: uvicorn counts from the answer, though the client may still be reading it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves it after an error
        self._set_deadline(None)
        self._on_gone(self)

    def _look(self) -> None:
        """Give a step that begins its deadline; one that goes on keeps its own."""
        at = self._step(), self.cycle
        if at == self._at:
            return
        if self._at is None or self._at[1] is not self.cycle:
            self._asked_s = self.loop.time()
        self._at = at
        self._begin(at[0])

    def _begin(self, step: _Step) -> None:
        self._since_s = self.loop.time()
        self._unread_bytes = _unsent_bytes(self.transport)
        self._set_deadline(self._ends_s(step))

    def _step(self) -> _Step:
        if self.transport.is_closing():
            return _Step.CLOSING
        asked = self.cycle is not None
        if asked and self.conn.their_state is h11.SEND_BODY:
            return _Step.BODY
        answered = asked and self.cycle.response_complete
        if self.flow.write_paused or (answered and _unsent_bytes(self.transport)):
            return _Step.UNREAD
        if asked and not answered:
            return _Step.ANSWER
        return _Step.IDLE if asked and not self.conn.trailing_data[0] else _Step.HEADERS

    def _ends_s(self, step: _Step) -> float:
        """Return when a step that begins now must be over, on the loop's clock."""
        limits, now_s, asked_s = self._limits, self._since_s, self._asked_s
        match step:
            case _Step.HEADERS:
                return now_s + limits.headers_s
            case _Step.BODY:
                return asked_s + limits.body_s
            case _Step.ANSWER:
                return asked_s + limits.answer_s
            case _Step.UNREAD | _Step.CLOSING:
                return min(now_s + limits.unread_s, asked_s + limits.answer_s)
            case _Step.IDLE:
                return now_s + limits.idle_s

    def _set_deadline(self, at_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if at_s is None else self.loop.call_at(at_s, self._expire)

    def _expire(self) -> None:
        before, unread_bytes = self._at, self._unread_bytes
        self._look()  # the application may have ended the connection without a word to its protocol
        if before is None or self._at != before:
            return
        # Other steps wait for what the client sends, whatever it reads: over TLS, the end of the handshake.
        reads_on = before[0] in _READING and _unsent_bytes(self.transport) < unread_bytes
        if reads_on and self.loop.time() < self._asked_s + self._limits.answer_s:
            self._begin(before[0])
        else:
            self.transport.abort()


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how much of what was written waits for the client to read."""
    # TLS hands on at once what it gets: what waits is in the transport below, which has no public name.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (below.get_write_buffer_size() if below is not None else 0)


class Listener:
    """Accepts on a socket until closed; takes the place of an asyncio server in uvicorn's.

    Args:
        sock: Bound; closed by its owner.
        config: uvicorn's, with the application and, for https, its TLS context.
        state: uvicorn's.
        limits: The cap and the deadlines.
        metrics: Counts connections.
        on_error: Called with what it was doing, and an error that is not a client's.
    """

    def __init__(
        self,
        sock: socket,
        *,
        config: uvicorn.Config,
        state: ServerState,
        limits: Limits,
        metrics: ConnectionMetrics,
        on_error: Callable[[str, BaseException], None],
    ) -> None:
        self._sock = sock
        self._config = config
        self._state = state
        self._limits = limits
        self._metrics = metrics
        self._on_error = on_error
        _LOGGER.setLevel(logging.ERROR)
        self._loop = asyncio.get_running_loop()
        self._visits: dict[Visit, asyncio.Task[Any]] = {}  # the oldest first
        self._resuming: asyncio.TimerHandle | None = None
        # Whoever sent headers while waiting to be accepted must be read before others take the place.
        self._at_once = max(1, min(_AT_ONCE, limits.connections // 4))
        self._tls: dict[str, Any] = {}
        if config.ssl is not None:
            self._tls = {
                "ssl": config.ssl,
                "ssl_handshake_timeout": limits.handshake_s,
                "ssl_shutdown_timeout": limits.unread_s,
            }

    def start(self) -> None:
        """Begin to accept."""
        self._sock.listen(_BACKLOG)
        self._resume()

    def close(self) -> None:
        """Accept no more; connections whose handshake is not done end."""
        self._pause()
        for visit, opening in self._visits.items():
            if not visit.is_open:
                opening.cancel()

    async def wait_closed(self) -> None:
        """Return: nothing is left to wait for. uvicorn calls it."""

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _pause(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        if self._resuming is not None:
            self._resuming.cancel()

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                # The next would fail too, and the socket stays readable: going on would keep a core busy.
                self._pause()
                self._resuming = self._loop.call_later(_PAUSE_S, self._resume)
                # All but a lack of our own pass by themselves: accept(2), "Error handling".
                if out_of_resources(exc) is not None:
                    self._on_error("accepting connections", exc)
                return
            self._receive(sock)

    def _receive(self, sock: socket) -> None:
        if len(self._visits) >= self._limits.connections:
            self._metrics.web_connection_rejected()
            if not self._make_room():
                sock.close()
                return
        visit = Visit(self._config, self._state, self._limits, self._gone)
        opening = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: visit, sock, **self._tls), name="web connection"
        )
        opening.add_done_callback(partial(self._opened, visit, sock))
        self._visits[visit] = opening
        self._metrics.web_connections(len(self._visits))

    def _make_room(self) -> bool:
        """Close the oldest connection that has not sent its headers, else the oldest that is slow, if any."""
        silent = (visit for visit in self._visits if visit.is_silent)
        slow = (visit for visit in self._visits if visit.is_slow)
        visit = next(silent, None) or next(slow, None)
        if visit is None:
            return False
        opening = self._visits.pop(visit)
        if visit.is_open:
            visit.transport.abort()
        else:
            opening.cancel()
        return True

    def _opened(self, visit: Visit, sock: socket, opening: asyncio.Task[Any]) -> None:
        """Clear up after a handshake that failed or was cut short."""
        exc = None if opening.cancelled() else opening.exception()
        if exc is None and not opening.cancelled():
            return
        sock.close()
        self._gone(visit)
        if exc is not None and (not isinstance(exc, OSError) or out_of_resources(exc) is not None):
            self._on_error("accepting a connection", exc)  # any other is the client's

    def _gone(self, visit: Visit) -> None:
        self._visits.pop(visit, None)
        self._metrics.web_connections(len(self._visits))
